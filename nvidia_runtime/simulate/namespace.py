# SPDX-License-Identifier: Apache-2.0
"""A mount namespace in which this process is on a simulated machine.

Nothing outside changes: all files are on a tmpfs that ends with the namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import mount
from nvidia_runtime.simulate import build, cache, kernel_files, ldcache, overlay
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File, Folder, Tree

# Folders that stay the host's.  Those in /run have sockets, which an overlay does not pass on.
REAL = ("/tmp", "/var/tmp", "/home", "/root", "/run/dbus", "/run/systemd", "/run/user")
# While the root is built, its tmpfs is mounted here: a folder that exists everywhere, and of which
# the machine has its own.
STAGE = "/dev"
ROOT = f"{STAGE}/root"
# The nodes of the host that the machine has too.
NODES = tuple(
    f"/dev/{name}"
    for name in (
        *("null", "zero", "full", "random", "urandom", "tty", "console", "kmsg"),
        *("fuse", "net/tun", "loop-control"),
    )
)
SHARED = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages")
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
LINKS |= {"ptmx": "pts/ptmx", "core": "/proc/kcore"}


def enter(machine: SimulatedMachine, real: Iterable[str] = ()) -> None:
    """Move this process to the machine; ``real`` are more folders that stay the host's."""
    files, kernel = _prepared(machine)
    files |= build.marks(machine)
    try:
        _enter(files, kernel, tuple(map(os.path.realpath, real)))
    except OSError as error:
        raise failed(error) from error


def enter_kernel(machine: SimulatedMachine, folder: str) -> None:
    """Write the machine's driver into a folder, and move this process to its /proc and /sys."""
    files, kernel = _prepared(machine)
    trees.create(files, folder)
    try:
        _unshare()
        mount.mount("tmpfs", STAGE, "mode=755")
        bind_kernel_files(kernel, "")
        mount.detach(STAGE)
    except OSError as error:
        raise failed(error) from error


def _prepared(machine: SimulatedMachine) -> tuple[Tree, Tree]:
    if os.geteuid() != 0:
        what = "root is missing: the mounts and device nodes of a simulated machine need it"
        raise NvidiaRuntimeError(what, hint="try it with sudo")
    return build.driver_root(machine), build.kernel(machine)


def failed(error: OSError) -> NvidiaRuntimeError:
    """Say why a machine cannot be set up."""
    what = f"the simulated machine cannot be set up: {os_reason(error)}"
    hint = "it needs CAP_SYS_ADMIN and CAP_MKNOD, which a container has when it is privileged"
    if (
        error.filename
        and error.filename.startswith(ROOT)
        and not isinstance(error, PermissionError)
    ):
        what = f"an overlay over {error.filename[len(ROOT) :] or '/'} cannot be mounted"
        what += f": {os_reason(error)}"
        hint = "overlayfs is missing, or this is an overlay over another one already; "
        hint += "--write DIR makes the machine without one, for --driver-root=DIR"
    return NvidiaRuntimeError(what, hint=hint)


def _unshare() -> None:
    mount.unshare(mount.CLONE_NEWNS)
    mount.make_private("/")


def _enter(files: Tree, kernel: Tree, real: tuple[str, ...]) -> None:
    here = os.getcwd()
    files = overlay.resolved(files)
    kept_as = ldcache.name(files)
    loader = ldcache.kept(kept_as)
    _unshare()
    points = overlay.mount_points()
    usual = _usual_nodes()
    usually = map(os.path.realpath, (*REAL, cache.folder()))
    kept = _kept_real([*usually, here], files) + _admitted(real, files)
    doors = overlay.Doors({*points, *kept, *SHARED})
    mount.mount("tmpfs", STAGE, "mode=755")
    os.mkdir(ROOT)
    layers = overlay.make(trees.outside(files, "/dev") | loader, build.PRIVATE, points, STAGE)
    overlay.bind_rest({*points, *kept} - {*layers}, doors, ROOT)
    _make_dev(usual | trees.below(files, "/dev"), doors)
    mount.bind("/proc", f"{ROOT}/proc")
    mount.bind("/sys", f"{ROOT}/sys")
    bind_kernel_files(kernel, ROOT)
    mount.become_root(ROOT)
    if not loader:
        ldcache.write(kept_as)
    overlay.settle(files)
    with suppress(OSError):
        os.chdir(here)


def _kept_real(folders: Iterable[str], files: Tree) -> list[str]:
    """Return the folders that hold nothing of the machine, unlike / and /usr."""
    return [folder for folder in folders if not _holds(folder, files)]


def _admitted(folders: tuple[str, ...], files: Tree) -> list[str]:
    for folder in folders:
        if not os.path.isdir(folder) or _holds(folder, files):
            what = "is not a folder" if not os.path.isdir(folder) else "holds a part of the machine"
            raise NvidiaRuntimeError(f"--real {folder}: {what}")
    return list(folders)


def _holds(folder: str, files: Tree) -> bool:
    machine = (*overlay.KERNEL, *build.PRIVATE)
    return overlay.is_in(folder, machine) or any(
        overlay.is_in(path, [folder]) for path in (*files, *machine)
    )


def _usual_nodes() -> Tree:
    """List the nodes that any program needs, as the host has them."""
    nodes: Tree = {f"/dev/{name}": trees.Symlink(target) for name, target in LINKS.items()}
    for path in NODES:
        with suppress(FileNotFoundError):
            status = os.stat(path)
            number, mode = status.st_rdev, stat.S_IMODE(status.st_mode)
            nodes[path] = trees.CharacterDevice(
                os.major(number), os.minor(number), mode, status.st_gid
            )
    return nodes


def _make_dev(nodes: Tree, doors: overlay.Doors) -> None:
    """Make the machine's /dev."""
    mount.mount("tmpfs", f"{ROOT}/dev", "mode=755")
    trees.write(nodes, ROOT)
    for path in SHARED:
        os.mkdir(ROOT + path)
        doors.bind(path, ROOT + path)


def bind_kernel_files(kernel: Tree, root: str) -> None:
    """Cover what /proc and /sys say of the host; each file can still be changed."""
    folder = f"{STAGE}/kernel"
    os.mkdir(folder)
    trees.write(kernel, folder)
    _keep_whole(root + kernel_files.MODULE)
    if os.path.isdir(folder + kernel_files.MERGED):
        _merge(kernel_files.MERGED, folder + kernel_files.MERGED)
        mount.bind(folder + kernel_files.MERGED, root + kernel_files.MERGED)
    for path in (*kernel_files.FOLDERS, *kernel_files.FILES):
        mount.bind(folder + path, root + path)


def _merge(host: str, own: str) -> None:
    """Show in a folder of the machine what the host has beside it.

    A folder of the machine in which files are, such as that of a device, stays its own.
    """
    with os.scandir(own) as entries:
        kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    if not all(kinds.values()):
        return
    for name in os.listdir(host):
        source, target = f"{host}/{name}", f"{own}/{name}"
        if name in kinds:
            _merge(source, target)
        elif os.path.islink(source):
            os.symlink(os.readlink(source), target)
        else:
            trees.write({f"/{name}": Folder() if os.path.isdir(source) else File()}, own)
            mount.bind(source, target)


def _keep_whole(place: str) -> None:
    """Mount /proc and /sys once more, with nothing over them, in a place that is covered next.

    A user namespace may mount its own only where a whole one is in its mount namespace, wherever
    that is (mount_too_revealing in fs/namespace.c): rootless containers need it.
    """
    mount.mount("tmpfs", place, "mode=700")
    for path in ("/proc", "/sys"):
        os.mkdir(place + path)
        with suppress(OSError):  # there is no whole one here either
            mount.bind(path, place + path, alone=True)
