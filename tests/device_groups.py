# SPDX-License-Identifier: Apache-2.0
"""A control group with a process in it that tries device nodes: what the kernel itself decides."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvidia_runtime.linux import bpf, control_groups
from nvidia_runtime.linux.device_rules import ACCESSES, Rule

KINDS = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}
# Documentation/admin-guide/devices.txt keeps it for local use, for both kinds: no driver has it.
MAJOR = 120
# It answers each line, a path or what to make, by the name of an error.
TRIES = """
import errno, os, sys
def tried(words):
    try:
        if words[0] == "make":
            os.mknod(words[1], int(words[2]), int(words[3]))
            os.unlink(words[1])
        else:
            os.close(os.open(words[1], int(words[0]) | os.O_NONBLOCK))
        return ""
    except OSError as error:
        return errno.errorcode[error.errno]
for line in sys.stdin:
    print(tried(line.split()), flush=True)
"""
FLAGS = {
    ACCESSES["r"]: os.O_RDONLY,
    ACCESSES["w"]: os.O_WRONLY,
    ACCESSES["r"] | ACCESSES["w"]: os.O_RDWR,
}
# What a node without a driver answers who may open it.
GRANTED, REFUSED = ("", "ENXIO", "ENODEV"), ("EPERM",)


class Member:
    """A process in a group, and the folder of the nodes that it tries."""

    def __init__(self, group: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRIES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        Path(group, "cgroup.procs").write_text(str(self.process.pid))

    def may(self, question: int, rule: Rule) -> bool:
        """Whether the kernel allows an access to a device."""
        kind, number = KINDS[rule.kind], os.makedev(rule.major, rule.minor)
        path = self.folder / f"{rule.kind}-{rule.major}-{rule.minor}"
        if question == ACCESSES["m"]:
            answer = self.ask(f"make {path}-made {kind} {number}")
        else:
            if not path.exists():
                os.mknod(path, kind | 0o666, number)
            answer = self.ask(f"{FLAGS[question]} {path}")
        assert answer in (*GRANTED, *REFUSED), answer
        return answer in GRANTED

    def ask(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def group(hierarchy: str, *names: str, denied: bool = False) -> Iterator[str]:
    """Make a group, and those in it of further names; return the folder of the first.

    With ``denied`` it denies all, as runtimes do before they allow some; on cgroup v1 that is done
    while it has no other group in it.  A test is skipped where this machine cannot.
    """
    if os.geteuid() != 0:
        pytest.skip("not root")
    tops = [one.top for one in control_groups.of_process(os.getpid()) if one.hierarchy == hierarchy]
    if not tops:
        pytest.skip(f"no control groups of version {'1' if hierarchy else '2'} that judge devices")
    path = Path(tempfile.mkdtemp(prefix="nvcr-", dir=tops[0]))
    folders = [path]
    try:
        if denied:
            (path / "devices.deny").write_text("a")
        for name in names:
            folders.append(folders[-1] / name)
            folders[-1].mkdir()
        yield os.fspath(path)
    finally:
        for folder in reversed(folders):
            folder.rmdir()


@contextmanager
def member(folder: str, nodes: Path) -> Iterator[Member]:
    """Put a process into a group."""
    process = Member(folder, nodes)
    try:
        yield process
    finally:
        process.end()


@contextmanager
def opened(folder: str) -> Iterator[int]:
    """Open a group's folder; a test is skipped where the kernel has no device programs."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            bpf.query(descriptor)
        except OSError as error:
            pytest.skip(f"no device programs here: {errno.errorcode[error.errno or 0]}")
        yield descriptor
    finally:
        os.close(descriptor)
