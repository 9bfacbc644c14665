# SPDX-License-Identifier: Apache-2.0
"""The program of the trial's container: it says what a container sees of its GPUs, line by line.

It stands alone: the container has this file, an interpreter and what that needs.  With ``--files``
it says what that is, by what it has loaded itself.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What the driver's libraries need of the C library, which the interpreter may not.
COMPANIONS = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1")
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
NODES = ("nvidia", "nvhost", "nvmap", "nvgpu", "dxg")
# These may be read only.
CAPABILITIES = "/dev/nvidia-caps/"
KERNEL = ("/dev", "/proc", "/sys")


def say(*fields: object) -> None:
    """Write a line, at once: what follows may hang or crash."""
    os.write(1, ascii(list(fields)).encode() + b"\n")


def files() -> Iterator[tuple[str, ...]]:
    """Return what this program has loaded: the interpreter, modules by their names, libraries."""
    for name in COMPANIONS:
        try:
            ctypes.CDLL(name)
        except OSError:  # another C library has them in one
            continue
    yield "program", os.readlink("/proc/self/exe")
    for module in list(sys.modules.values()):
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        # One that is frozen has a file where the interpreter was made, and does without.
        if spec and file and os.path.exists(file):
            parts = spec.name.split(".")
            is_package = hasattr(module, "__path__")
            yield "module", file, "/".join(parts if is_package else parts[:-1])
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.rstrip("\n").split(None, 5) for line in file]
    for path in sorted({row[5] for row in rows if len(row) == 6 and "x" in row[1]}):
        if path[0] == "/":
            yield "library", path


def nodes() -> Iterator[tuple[str, int, int, int]]:
    """Return the device nodes of GPUs, each with its numbers and the error of opening it, or 0."""
    for folder, folders, names in os.walk("/dev"):
        folders.sort()
        for name in sorted(names):
            path = f"{folder}/{name}"
            if not path.removeprefix("/dev/").startswith(NODES):
                continue
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode):
                number = status.st_rdev
                yield path, os.major(number), os.minor(number), opening(path)


def opening(path: str) -> int:
    """Return the error of opening a node, 0 for none."""
    mode = os.O_RDONLY if path.startswith(CAPABILITIES) else os.O_RDWR
    try:
        os.close(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or 0
    return 0


def load(name: str) -> ctypes.CDLL | None:
    """Load a library as a program does, and say which file that was, or why there is none."""
    say("step", f"loading {name}")
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        say("library", name, "", str(error), *present(name))
        return None
    say("library", name, loaded(name), "")
    return library


def loaded(name: str) -> str:
    """Return the file that a library was loaded from."""
    stem = name.removesuffix("1")
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").split(None, 5)[-1]
            if path.rpartition("/")[2].startswith(stem):
                return path
    return name


def present(name: str) -> Iterator[str]:
    """Return the files of a library's name that are in the container, but links to nowhere."""
    stem = name.removesuffix("1")
    for folder, folders, names in os.walk("/"):
        folders[:] = sorted(one for one in folders if f"{folder}{one}" not in KERNEL)
        paths = (os.path.join(folder, one) for one in sorted(names) if one.startswith(stem))
        yield from filter(os.path.exists, paths)


def start(cuda: ctypes.CDLL) -> None:
    """Start CUDA, and say what came of it and how many GPUs it has."""
    say("step", "cuInit")
    try:
        result, count = cuda.cuInit(0), ctypes.c_int(0)
        if result == 0:
            cuda.cuDeviceGetCount(ctypes.byref(count))
    except AttributeError as error:
        say("odd", str(error))
        return
    say("cuda", result, count.value)


def main() -> None:
    """Look at nodes first, then at libraries."""
    if sys.argv[1:] == ["--files"]:
        for row in files():
            say(*row)
        return
    say("step", "its device nodes")
    for node in nodes():
        say("node", *node)
    libraries = [load(name) for name in LIBRARIES]
    if libraries[0]:
        start(libraries[0])
    say("end")


if __name__ == "__main__":
    main()
