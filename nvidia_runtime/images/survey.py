# SPDX-License-Identifier: Apache-2.0
"""What matters to a driver among an image's files: its C library, a driver's own files, CUDA's.

By names, sizes and the beginnings of programs; nothing of an image is run.
"""

from __future__ import annotations

import posix
from dataclasses import dataclass

from nvidia_runtime.images.layers import FILE, FOLDER, LINK, Entry
from nvidia_runtime.images.tree import Tree
from nvidia_runtime.rootfs import cuda_compat, elf
from nvidia_runtime.rootfs.resolver import decode
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GLIBC, MUSL, NONE = "glibc", "musl", "none"
SHELL = "/bin/sh"
# Of the loaders, by folder; multiarch folders have the libraries, and old ones the loader, too.
LOADER_FOLDERS = ("/lib64", "/lib", "/usr/lib64", "/usr/lib")
LOADERS = {"ld-linux": GLIBC, "ld-musl-": MUSL}
# Where loaders look, and where distributions put a driver's files.
TRIPLES = (
    *("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "powerpc64le-linux-gnu"),
    "i386-linux-gnu",
)
FOLDERS = (
    *(f"/usr/lib/{triple}" for triple in TRIPLES),
    *(f"/lib/{triple}" for triple in TRIPLES),
    *(
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
        "/lib",
        "/usr/lib32",
        "/usr/local/lib",
        "/usr/local/lib64",
    ),
    *("/usr/local/nvidia/lib", "/usr/local/nvidia/lib64"),
)
PROGRAM_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin")
MOST_FOLDERS = 64
# A driver's libraries have its name; the second are those of our own trade, which are no driver's.
DRIVERS = (
    *("libcuda.so", "libcudadebugger.so", "libnvidia-", "libnvcuvid.so", "libnvoptix.so"),
    *("libGLX_nvidia.so", "libEGL_nvidia.so", "libGLESv1_CM_nvidia.so", "libGLESv2_nvidia.so"),
    "libvdpau_nvidia.so",
)
NOT_DRIVERS = ("libnvidia-container.", "libnvidia-container-go.")
PROGRAMS = (
    *("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control"),
    "nvidia-cuda-mps-server",
)
STUBS, EMPTY = "stubs", "empty"


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library of an image's programs: which, and the loader or what else tells."""

    name: str
    loader: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baked:
    """A file of a driver's in an image: what it is, and whether the driver's own hides it.

    What is mounted does, and links to that take the place of empty files.
    """

    path: str
    what: str
    is_hidden: bool


def libc(tree: Tree) -> Libc:
    """Tell the C library by the shell's loader, else by the loaders that are there."""
    present = {path: name for folder in LOADER_FOLDERS for path, name in _loaders(tree, folder)}
    loader = decode(_interpreter(tree, SHELL))
    by_shell = next((name for start, name in LOADERS.items() if f"/{start}" in loader), "")
    if by_shell:
        others = {name for name in present.values() if name != by_shell}
        return Libc(by_shell, loader, tuple(sorted(others)))
    for own in (GLIBC, MUSL):  # programs of the first are what matters
        for path, name in present.items():
            if name == own:
                return Libc(own, path, tuple(sorted({*present.values()} - {own})))
    return Libc(NONE)


def _loaders(tree: Tree, folder: str) -> list[tuple[str, str]]:
    return [
        (f"{folder}/{name}", kind)
        for name, entry in sorted(tree.names(folder).items())
        for start, kind in LOADERS.items()
        if name.startswith(start) and ".so" in name and entry.kind in (FILE, LINK)
    ]


def _interpreter(tree: Tree, path: str) -> bytes:
    try:
        descriptor = tree.open(path)
    except (OSError, ValueError):
        return b""
    try:
        return elf.interpreter(descriptor)
    finally:
        posix.close(descriptor)


def baked(tree: Tree, library_path: list[str], mounted: list[str]) -> list[Baked]:
    """Return a driver's files in an image, which a build or a commit with a GPU has left there.

    ``library_path`` are folders of LD_LIBRARY_PATH, ``mounted`` what the driver's files will be
    mounted at.
    """
    own = {_own(tree, path) for path in mounted}
    beside = dict.fromkeys(path.rpartition("/")[0] or "/" for path in mounted)
    folders = [*FOLDERS, *[path for path in library_path if not is_stubs(path)], *beside]
    result: dict[str, Baked] = {}
    for folder in _resolved(tree, folders[: len(FOLDERS) + MOST_FOLDERS]):
        _collect(tree, folder, _is_drivers, own, result)
    for folder in _resolved(tree, PROGRAM_FOLDERS):
        _collect(tree, folder, PROGRAMS.__contains__, own, result)
    return list(result.values())


def _resolved(tree: Tree, folders: Iterable[str]) -> list[str]:
    """Return folders that are there, each once, by their own paths."""
    resolved = [tree.resolve(folder) for folder in folders]
    return list(dict.fromkeys(one[0] for one in resolved if one and one[1].kind == FOLDER))


def is_stubs(folder: str) -> bool:
    """Whether a folder is CUDA's for linking: its libcuda only says that it is a stub."""
    return folder.rstrip("/").endswith(f"/{STUBS}")


def _collect(
    tree: Tree,
    folder: str,
    wanted: Callable[[str], bool],
    mounted: set[str],
    result: dict[str, Baked],
) -> None:
    own = folder.rstrip("/")
    for name, entry in sorted(tree.names(folder).items()):
        path = f"{own}/{name}"
        if wanted(name) and path not in result and (what := _what(tree, path, name, entry)):
            is_hidden = path in mounted or (what == EMPTY and _is_linked(own, name, mounted))
            result[path] = Baked(path, what, is_hidden)


def _is_linked(folder: str, name: str, mounted: set[str]) -> bool:
    """Whether a file has the name of a link to a library that is mounted beside it."""
    stem, _, version = name.partition(".so")
    is_link = not files.is_driver_version(version[1:])
    return is_link and any(path.startswith(f"{folder}/{stem}.so.") for path in mounted)


def _own(tree: Tree, path: str) -> str:
    """Return a path whose folder is resolved, as a mount's destination is."""
    folder, _, name = path.rpartition("/")
    resolved = tree.resolve(folder or "/")
    return f"{resolved[0].rstrip('/')}/{name}" if resolved else path


def _is_drivers(name: str) -> bool:
    return name.startswith(DRIVERS) and not name.startswith(NOT_DRIVERS) and ".so" in name


def _what(tree: Tree, path: str, name: str, entry: Entry) -> str:
    """Say what a file is; "" for a link to another one, which is said itself."""
    if entry.kind == LINK:
        return "" if tree.resolve(path) else "a link to nothing"
    if entry.kind != FILE:
        return f"a {entry.kind}" if entry.kind == FOLDER else "not a file"
    if not entry.size:
        return EMPTY
    version = name.partition(".so.")[2]
    return f"of driver {version}" if files.is_driver_version(version) else "a file"


def compat(tree: Tree, folder: str, driver: str, cuda: str) -> cuda_compat.Compatible | None:
    """Say whether CUDA's compatibility libraries would be used; None where there are none."""
    resolved = tree.resolve(folder)
    if resolved is None or resolved[1].kind != FOLDER:
        return None
    libraries: list[tuple[str, int]] = []
    for name in sorted(tree.names(folder)):
        version = name.removeprefix(cuda_compat.PREFIX)
        entry = tree.resolve(f"{resolved[0]}/{name}", follow=False)
        if version == name or "." not in version or entry is None or entry[1].kind != FILE:
            continue
        if len(libraries) < 2:
            try:
                libraries.append((version, tree.open(f"{resolved[0]}/{name}")))
            except OSError:
                continue
    return cuda_compat.judge(resolved[0], libraries, driver, cuda)
