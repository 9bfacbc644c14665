# SPDX-License-Identifier: Apache-2.0
"""The process behind a socket, as /proc shows it: executable, arguments, owner, mount namespace."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

SECONDS = 2.0
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # systemd's PATH
LISTENS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix
DELETED = " (deleted)"
LONGEST_COMM = 15  # proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process: ``program`` is what to execute to have the same program once more.

    ``is_ours`` says that this is a file of this machine that root or our own user runs; anything
    else, such as a container's, must not be executed here.  ``view`` is the root of what the
    process sees, "" where that is what we see.  ``began`` is when, in seconds of the clock.
    """

    pid: int
    executable: str
    words: tuple[str, ...]
    folder: str
    owner: int
    program: str
    is_ours: bool
    view: str
    began: float = 0.0


def behind(path: str, name: str, proc: str = "/proc") -> Iterator[Process]:
    """Find the process of a name that listens on a socket.

    The peer is the process that called listen(2): with systemd's socket activation that is systemd,
    and only the open files of processes tell to which of them it handed the socket.
    """
    if not os.path.exists(path):
        return
    for ask in (_peers, holders, _owners):
        for pid in ask(path, proc):
            process = read(pid, proc)
            if process and name in _names(process):
                yield process
                return


def _peers(path: str, _proc: str) -> list[int]:
    return [peer(path)]


def _owners(path: str, proc: str) -> list[int]:
    """List the processes of a socket's owner, where we may not call it: one of them listens."""
    if os.access(path, os.W_OK):
        return []
    owner = os.stat(path).st_uid
    return [pid for pid in _pids(proc) if _owner(f"{proc}/{pid}") == owner]


def _owner(folder: str) -> int:
    try:
        return os.stat(folder).st_uid
    except OSError:  # it has ended
        return -1


def _names(process: Process) -> set[str]:
    """Return the names of a process: its file may be many programs in one, as k3s is."""
    return {os.path.basename(word) for word in (process.executable, *process.words[:1])}


def peer(path: str) -> int:
    """Ask the kernel for the pid of the process that listens on a socket, 0 where it is unknown."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(path)
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except (OSError, ValueError):  # also a path that is too long for a socket
            return 0
    pid: int = struct.unpack("iII", credentials)[0]
    return pid


def holders(path: str, proc: str = "/proc") -> list[int]:
    """List the processes that hold a listening socket open; root sees those of all users."""
    links = {f"socket:[{inode}]" for inode in _inodes(path, proc)}
    if not links:
        return []
    return [pid for pid in _pids(proc) if links & _descriptors(f"{proc}/{pid}/fd")]


def _inodes(path: str, proc: str) -> set[str]:
    """Read the inodes of the sockets that listen at a path from /proc/net/unix."""
    paths = {path, os.path.realpath(path)}
    # /run and /var/run are one folder; the table has the path that the daemon used.
    paths |= {f"/var{name}" for name in paths if name.startswith("/run/")}
    try:
        with open(f"{proc}/net/unix", encoding="utf-8", errors="surrogateescape") as table:
            rows = [line.rstrip("\n").split(None, 7) for line in table]
    except OSError:
        return set()
    return {
        row[6]
        for row in rows[1:]
        if len(row) == 8 and row[7] in paths and int(row[3], 16) & LISTENS
    }


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdecimal())


def _descriptors(folder: str) -> set[str]:
    links = set()
    try:
        for name in os.listdir(folder):
            links.add(os.readlink(os.path.join(folder, name)))
    except OSError:  # it has ended, or is another user's
        return links
    return links


def read(pid: int, proc: str = "/proc") -> Process | None:
    """Read what /proc has of a process; None where it has ended, or is hidden from us."""
    folder = f"{proc}/{pid}"
    try:
        with open(f"{folder}/cmdline", "rb") as file:
            words = os.fsdecode(file.read()).rstrip("\0").split("\0")
        owner = os.stat(folder).st_uid
        executable, current = _link(f"{folder}/exe"), _link(f"{folder}/cwd")
    except OSError:
        return None
    # What may not be read, of another user's process, is taken to be as usual.
    is_foreign = bool(executable) and not _is_same(f"{folder}/ns/mnt", f"{proc}/self/ns/mnt")
    is_here = bool(executable) and (not is_foreign or _is_same(f"{folder}/exe", executable))
    return Process(
        pid=pid,
        executable=executable.removesuffix(DELETED) or (words[0] if words[0][:1] == "/" else ""),
        words=tuple(words),
        folder=current or "/",
        owner=owner,
        program=f"{folder}/exe",
        is_ours=owner in (0, os.geteuid()) and is_here,
        view=f"{folder}/root" if is_foreign else "",
        began=began(folder),
    )


def began(folder: str) -> float:
    """Return when a process was started, 0 where it is not known: see proc(5), stat."""
    try:
        with open(f"{folder}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b") ")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def _link(path: str) -> str:
    """Read a link of /proc, "" where only its owner may."""
    try:
        return os.readlink(path)
    except PermissionError:
        return ""


def named(name: str, proc: str = "/proc") -> list[int]:
    """List the processes of a name that see the files which we see."""
    pids = []
    for pid in _pids(proc):
        try:
            with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
                is_named = file.read(64).rstrip("\n") == name[:LONGEST_COMM]
        except OSError:  # it has ended
            continue
        if is_named and _is_same(f"{proc}/{pid}/ns/mnt", f"{proc}/self/ns/mnt"):
            pids.append(pid)
    return pids


def search_path(pid: int) -> str:
    """Return the PATH of a process as far as it may be read, else that of systemd's services."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return FOLDERS
    return dict(entry.partition("=")[::2] for entry in entries).get("PATH", FOLDERS)


def sees(process: Process, path: str) -> bool:
    """Whether a process means by a path the file that we mean; an absent one by its folder."""
    if not process.view:
        return True
    while not os.path.lexists(path) and not os.path.lexists(process.view + path) and path != "/":
        path = os.path.dirname(path)
    return _is_same(process.view + path, path)


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False
