# SPDX-License-Identifier: Apache-2.0
"""The verb update-ldcache: let the container's loader find the libraries in some folders.

In a hook they are in the container's folders; before, the host has the files to be mounted there.
"""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, library_names, loader_config, resolver
from nvidia_runtime.rootfs.loader import Loader, update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning, Work
    from nvidia_runtime.rootfs.ldcache import Row
    from nvidia_runtime.store.libraries import Fact

# Its libraries come first in the cache.
BEFORE = "enable-cuda-compat"


def plan(planning: "Planning", step: "Step") -> None:
    """Plan rows for the libraries that will be mounted: the host has them now."""
    if any(other.verb == BEFORE for other in planning.left):
        planning.leave(step, f"it has to come after {BEFORE}")
        return
    folders = loader_config.clean_all(step.all("folder"))
    places = loader_config.CACHE, f"{loader_config.FOLDER}/", loader_config.MAIN
    if planning.leave_covered(step, (*places, *[f"{folder}/" for folder in folders])):
        return
    work = planning.work
    own = [planning.survey.follow(folder) for folder in folders]
    work.suspects = planning.survey.coming.suspects(own)
    work.folders += [folder for folder in folders if folder not in work.folders]
    for mount in planning.survey.mounts:
        destination, source = mount.get("destination"), mount.get("source")
        if type(destination) is not str or type(source) is not str:
            continue
        folder, _, name = destination.rpartition("/")
        if folder in folders and library_names.is_library(name):
            work.libraries[folder, name] = source


def rows(loader: Loader, work: "Work") -> "list[Row]":
    """Return the rows of the libraries that will be mounted, after making the links by soname."""
    from nvidia_runtime.store import libraries  # on the host only

    result: list[Row] = []
    facts = libraries.Facts(work.state)
    for folder in work.folders:
        present = [
            (name, facts.identify(source))
            for (place, name), source in work.libraries.items()
            if place == folder
        ]
        result += _rows_of(loader, folder, present, work.links)
    facts.write()
    return result


def _rows_of(
    loader: Loader,
    folder: str,
    present: "list[tuple[str, Fact | None]]",
    links: list[tuple[str, str]],
) -> "list[Row]":
    """Return the rows of a folder's libraries; of two of one soname the higher version counts."""
    path = resolver.encode(folder)
    chosen: dict[bytes, bytes] = {}
    flags_of: dict[bytes, int] = {}
    order = library_names.order
    for text, fact in present:
        if fact is None:
            continue
        name = resolver.encode(text)
        soname = fact[0] or name
        flags_of[name] = fact[1]
        if library_names.is_soname(soname):
            flags_of[soname] = fact[1]
            if soname not in chosen or order(name) > order(chosen[soname]):
                chosen[soname] = name
    result = [
        (soname, flags_of[name], b"%s/%s" % (path, soname)) for soname, name in chosen.items()
    ]
    _link_sonames(loader, folder, chosen)
    for text, target in links:  # libcuda.so, say, for ldconfig a library of its own
        place, _, link = text.rpartition("/")
        name = resolver.encode(link)
        base = resolver.encode(target.rpartition("/")[2])
        flags = flags_of.get(base)
        # As ldconfig has it: libcuda.so is one beside libcuda.so.1, any other link is only a link.
        is_one = name.endswith(b".so") and base.startswith(name)
        if place == folder and flags and is_one and name not in chosen:
            result.append((name, flags, b"%s/%s" % (path, name)))
    return result


def _link_sonames(loader: Loader, folder: str, chosen: dict[bytes, bytes]) -> None:
    """Make the links by which the loader knows the files; a file of the image's is left there."""
    names = set(chosen.values())
    with resolver.walk(loader.root, folder, make=True) as place:
        for soname, name in chosen.items():
            link = soname.decode("utf-8", "surrogateescape")
            if soname in names or files.read_link(place, link) == name:
                continue
            if files.is_free(place, link):
                files.link(place, link, name.decode("utf-8", "surrogateescape"))
            else:
                loader.done.append(f"{folder}/{link} is a file of the image's")


def run(container: "Container", step: "Step") -> None:
    """Do what ldconfig would for the folders as they are now."""
    _check_ldconfig(step)
    root = container.root(step)
    container.done += update(root, step.all("folder"), container.warnings)


def _check_ldconfig(step: "Step") -> None:
    """Refuse an ldconfig that is missing, as the toolkit's hook does; it is never executed."""
    path = step.texts.get("ldconfig-path")
    if path is None:
        return
    where = "--ldconfig-path"
    if not path:
        raise NvidiaRuntimeError("must not be empty", where=where)
    try:
        posix.stat(path)
    except (OSError, ValueError):
        raise NvidiaRuntimeError(f"there is no {path} on this host", where=where) from None
