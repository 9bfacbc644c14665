# SPDX-License-Identifier: Apache-2.0
"""Carry out the work: the container's links, its loader's cache, our files to mount.

When all is decided, before config.json is replaced: a create that is refused leaves nothing.
Whatever is right already is not written, so that a container that starts again does not grow.
"""

import posix
import time

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy
from nvidia_runtime.prepare import update_ldcache
from nvidia_runtime.prepare.verbs import TimeLimit
from nvidia_runtime.prepare.work import open_root
from nvidia_runtime.rootfs import files, links, resolver
from nvidia_runtime.rootfs.loader import Loader
from nvidia_runtime.store import files as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.work import Work

# Of all containers; more than run on most machines.
MOST_FILES = 256
# Seconds: by then a container has mounted its own.
OLD = 3600
HINT = "mend that place in the image, or take the hook that wants it out of the CDI spec"
STATE_HINT = "make it writable, or remove the folder above it: it is made anew"


def carry_out(work: "Work") -> list[str]:
    """Do what was planned; say what was done, and what could not be.

    What could not be, and the container can do without, is among ``work.warnings``, too.
    Raises `NvidiaRuntimeError` where the container would lack what its devices need.
    """
    done: list[str] = []
    with TimeLimit(work.root):
        for path, content in work.files.items():
            _write_file(path, content)
        if work.links or work.folders or work.compat:
            _prepare_root(work, done)
    return done + work.warnings


def _prepare_root(work: "Work", done: list[str]) -> None:
    try:
        with open_root(work.root) as root:
            count = links.make_all(root, work.links, work.warnings)
            if count:
                done.append(f"made {count} links")
            if work.folders or work.compat:
                _update_loader(root, work, done)
    except NvidiaRuntimeError as error:
        error.hint = error.hint or HINT
        raise
    except (OSError, ValueError) as error:
        what = f"the container's root cannot be prepared: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=work.root, hint=remedy(error) or HINT) from None


def _write_file(path: str, content: "bytes | dict[str, str]") -> None:
    """Write a file, or a folder of links, into our state folder, for a container to mount."""
    try:
        try:
            _fill(path, content)
        except FileNotFoundError:  # somebody has removed the folder meanwhile
            store.state_folder(make=True)
            _fill(path, content)
    except OSError as error:
        what = f"cannot be written: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=path, hint=remedy(error) or STATE_HINT) from None


def _fill(path: str, content: "bytes | dict[str, str]") -> None:
    folder, _, name = path.rpartition("/")
    state, _, below = folder.rpartition("/")
    with resolver.open_root(state) as top, resolver.walk(top, below, make=True) as place:
        if isinstance(content, bytes):
            is_new = files.replace(place, name, content, 0o444)
        else:
            with resolver.walk(place, name, make=True) as links_folder:
                is_linked = [files.link(links_folder, link, to) for link, to in content.items()]
            is_new = any(is_linked)
        posix.utime(name, dir_fd=place.descriptor)
        if is_new:
            _forget_old(place)


def _forget_old(place: resolver.Place) -> None:
    """Remove files that were mounted long ago: containers that run keep theirs."""
    names = place.names()
    for name in names if len(names) > MOST_FILES else ():
        try:
            status = posix.stat(name, dir_fd=place.descriptor, follow_symlinks=False)
            if status.st_mtime > time.time() - OLD:
                continue
            if status.st_mode & 0o170000 != 0o040000:
                posix.unlink(name, dir_fd=place.descriptor)
                continue
            with resolver.walk(place, name) as folder:
                for link in folder.names():
                    posix.unlink(link, dir_fd=folder.descriptor)
            posix.rmdir(name, dir_fd=place.descriptor)
        except OSError:  # another create is as far
            continue


def _update_loader(root: resolver.Place, work: "Work", done: list[str]) -> None:
    """Let the loader find the driver's libraries, and in front of them CUDA's newer ones."""
    loader = Loader(root, done, work.warnings, work.state)
    gone: list[bytes] = []
    rows = []
    if work.compat:
        from nvidia_runtime.prepare import enable_cuda_compat  # only for specs with this verb

        rows += enable_cuda_compat.rows(loader, work.compat, gone)
    rows += update_ldcache.rows(loader, work)
    others = None
    if work.folders and (work.suspects or loader.is_new()):
        view = resolver.Place(root.descriptor, "/", work.coming)
        others = loader.others(view, work.suspects, rows)
        if not (others.rows or others.gone or loader.is_new()):
            others = None  # the usual case: mounts in folders of no interest to the loader
    loader.update(work.folders, rows, gone, others=others)
