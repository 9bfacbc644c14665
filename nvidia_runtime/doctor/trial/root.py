# SPDX-License-Identifier: Apache-2.0
"""The root of the trial's container: this interpreter, what it has loaded, and a program to run.

All is in one folder, with a loader of its own that looks there first, so that the driver's
libraries are looked for as in any container: by /etc/ld.so.cache and the usual folders.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from typing import Any

from nvidia_runtime.doctor.trial import look as trial_look
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import elf

HOME = "/nvidia-doctor"
FLAGS = ("-S", "-s", "-B", "-X", "utf8")
LOADING = (f"{HOME}/loader", "--library-path", f"{HOME}/lib")
WORDS = (*LOADING, f"{HOME}/python", *FLAGS, f"{HOME}/look.py")
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONHOME": HOME,
    "PYTHONPATH": f"{HOME}/modules",
}
ASKED = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}
FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "usr")
LOADER = re.compile(r"ld(-|64\.|\.so)")
SECONDS = 10
SELINUX, LABEL = "/sys/fs/selinux/enforce", b"system_u:object_r:container_file_t:s0"
Rows = list[list[str]]


def rows() -> Rows:
    """Return what the program says that it has loaded here.

    Raises `NvidiaRuntimeError` where this interpreter cannot be asked.
    """
    words = [os.path.realpath(sys.executable), *FLAGS, trial_look.__file__, "--files"]
    # As in the container, but for the folder in which an interpreter may have its libraries.
    env = {key: value for key, value in os.environ.items() if key == "LD_LIBRARY_PATH"}
    try:
        done = subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
            check=True,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise _unfit(str(error)) from None
    listed = lines(done.stdout.decode(errors="replace"))
    if not any(row[0] == "library" and LOADER.match(os.path.basename(row[1])) for row in listed):
        raise _unfit("it has no loader of its own")
    return listed


def lines(text: str) -> list[list[Any]]:
    """Return the whole lines that the program has written, each a list with a name first."""
    listed = []
    for line in text.split("\n")[:-1]:
        try:
            row = ast.literal_eval(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(row, list) and row and isinstance(row[0], str):
            listed.append(row)
    return listed


def build(root: str, listed: Rows) -> None:
    """Make the root in a new folder; any user may read it.

    Raises `NvidiaRuntimeError` where it cannot be written.
    """
    home = root + HOME
    try:
        for folder in (*FOLDERS, f"{HOME[1:]}/lib", f"{HOME[1:]}/modules"):
            os.makedirs(f"{root}/{folder}")
        _copy(trial_look.__file__, f"{home}/look.py")
        for kind, path, *place in listed:
            if kind == "program":
                _copy(path, f"{home}/python", 0o755)
            elif kind == "module":
                _copy(path, f"{home}/modules/{place[0]}/{os.path.basename(path)}")
            else:
                _add_library(path, home)
        if os.path.exists(SELINUX):
            _label(root)
    except OSError as error:
        hint = "the trial needs 30 MB there; TMPDIR names another folder"
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", root, hint) from None


def place() -> str:
    """Return a folder in which a container's root may be: programs can be run there.

    Raises `NvidiaRuntimeError` where there is none.
    """
    for folder in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/var/lib"):
        if folder.startswith("/") and os.access(folder, os.W_OK):
            flags = os.statvfs(folder).f_flag
            if not flags & (os.ST_NOEXEC | os.ST_RDONLY):
                return folder
    what = "no folder for temporary files lets programs be run"
    raise NvidiaRuntimeError(what, hint="TMPDIR names one that is not mounted noexec")


def _add_library(path: str, home: str) -> None:
    """Copy a library to the name by which others need it; the loader is a program."""
    if LOADER.match(os.path.basename(path)):
        _copy(path, f"{home}/loader", 0o755)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        library = elf.identify(descriptor)
    finally:
        os.close(descriptor)
    if library:
        name = os.fsdecode(os.path.basename(library.soname)) or os.path.basename(path)
        _copy(path, f"{home}/lib/{name}", 0o755)


def _copy(path: str, target: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(path, target)
    os.chmod(target, mode)


def _label(root: str) -> None:
    """Label all files as a container's, or SELinux would keep the container from them."""
    for folder, _, names in os.walk(root):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            os.setxattr(path, "security.selinux", LABEL, follow_symlinks=False)


def _unfit(why: str) -> NvidiaRuntimeError:
    what = f"this interpreter cannot be put into a container: {why}"
    return NvidiaRuntimeError(what, sys.executable or "sys.executable")
