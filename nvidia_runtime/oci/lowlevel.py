# SPDX-License-Identifier: Apache-2.0
"""The low-level runtime (runc, crun): where it is, and how this process becomes it.

The runtime must notice no difference to a direct call: undo what CPython does to a process at
start, keep everything else.
"""

import posix

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# Searched after $PATH; podman calls `kill` and `delete` without a PATH.
DEFAULT_PATH = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)
MOST_LINKS = 8
# Names of our launcher's variables begin so: a script that has one near its top is the launcher.  A
# part of a path is none.
LAUNCHER_MARKS = (b" nvcr_", b"\nnvcr_")


def find(candidates: list[str], path: str, launcher: str) -> str:
    """Return the path of the first candidate that can be executed and is not this program.

    A candidate with a slash is a path, any other a name that is looked up in ``path`` and the
    default folders; relative entries of ``path`` are ignored.  Raises with exit code 127.
    """
    ourselves = []
    for candidate in candidates:
        for file in _places(candidate, path):
            if not is_executable(file):
                continue
            if not is_launcher(file, launcher):
                return file
            ourselves.append(file)
    what = "no low-level runtime found among " + (", ".join(map(repr, candidates)) or "[]")
    if ourselves:
        what += f"; skipped because it is this program itself: {', '.join(ourselves)}"
    raise NvidiaRuntimeError(
        what,
        hint="install runc or crun, or name it in nvidia-container-runtime.runtimes of config.toml",
        exit_code=127,
    )


def _places(candidate: str, path: str) -> list[str]:
    if "/" in candidate:
        return [candidate]
    if not candidate:
        return []
    folders = [folder for folder in path.split(":") if folder[:1] == "/"]
    folders += [folder for folder in DEFAULT_PATH if folder not in folders]
    return [f"{folder}/{candidate}" for folder in folders]


def executable(program: str, default: str, path: str) -> str:
    """Return the path of a program: an absolute one, one of ours, of ``path``, or of /usr/bin."""
    if program[:1] == "/":
        return program
    if program and "/" not in program:
        if file := beside(start.launcher(), program):
            return file
        for file in _places(program, path):
            if is_executable(file):
                return file
    return f"/usr/bin/{default}"


def beside(path: str, name: str) -> str:
    """Return the path of a program beside another one, or beside what that leads to, or ""."""
    for _ in range(MOST_LINKS):
        folder = path.rpartition("/")[0]
        file = f"{folder}/{name}"
        if file[:1] == "/" and is_executable(file):
            return file
        try:
            target = posix.readlink(path)
        except (OSError, ValueError):
            break
        path = target if target[:1] == "/" else f"{folder}/{target}"
    return ""


def is_executable(file: str) -> bool:
    """Whether somebody may execute a file."""
    try:
        mode = posix.stat(file).st_mode
    except (OSError, ValueError):
        return False
    return mode & 0o170000 == 0o100000 and mode & 0o111 != 0


def is_launcher(file: str, launcher: str) -> bool:
    """Whether a file is the launcher that called us, or a copy of it: that would be a loop."""
    try:
        it, us = posix.stat(file), posix.stat(launcher)
        if it.st_ino == us.st_ino and it.st_dev == us.st_dev:
            return True
        descriptor = posix.open(file, posix.O_RDONLY)
    except OSError:
        return False
    try:
        head = posix.read(descriptor, 1024)
    finally:
        posix.close(descriptor)
    return head[:2] == b"#!" and any(mark in head for mark in LAUNCHER_MARKS)


def become(runtime: str, words: list[str], ignored: str) -> None:
    """Replace this process by the runtime, or raise."""
    undo_start(ignored)
    try:
        # Without an environment argument: order, duplicates and invalid entries stay as they are.
        posix.execv(runtime, [runtime, *words])
    except OSError as error:
        raise NvidiaRuntimeError(
            f"cannot execute the low-level runtime: {os_reason(error)}",
            where=runtime,
            hint="reinstall it, or name another in nvidia-container-runtime.runtimes",
        ) from None


def undo_start(ignored: str) -> None:
    """Undo what CPython did to this process at its start.

    ``ignored`` names the signals ("pipe", "xfsz") that the caller ignored already, as the launcher
    saw it before CPython ignored both.
    """
    _undo_locale_coercion()
    if "xfsz" not in ignored:
        start.reset_signal("SIGXFSZ")
    if "pipe" not in ignored:
        start.reset_signal("SIGPIPE")


def _undo_locale_coercion() -> None:
    """Restore LC_CTYPE, which CPython sets in a C locale (PEP 538), also under -I."""
    if posix.environ.get(b"LC_ALL") or posix.environ.get(b"LC_CTYPE") not in (
        b"C.UTF-8",
        b"C.utf8",
        b"UTF-8",
    ):
        return
    try:
        descriptor = posix.open("/proc/self/environ", posix.O_RDONLY)
    except OSError:
        posix.unsetenv(b"LC_CTYPE")
        return
    block = b""
    while part := posix.read(descriptor, 1 << 16):
        block += part
    posix.close(descriptor)
    for entry in block.split(b"\0"):
        if entry[:9] == b"LC_CTYPE=":
            posix.putenv(b"LC_CTYPE", entry[9:])
            return
    posix.unsetenv(b"LC_CTYPE")
