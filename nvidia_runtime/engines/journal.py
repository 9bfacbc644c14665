# SPDX-License-Identifier: Apache-2.0
"""The journal of what we changed in engines' files: texts before and after, and dated backups.

It is kept in ``/var/lib/nvidia-container-runtime`` (a user's in ``$XDG_STATE_HOME``), readable by
its owner only, since engines' files may contain passwords of registries.  Backups are not beside
the files: cri-o reads every file of its drop-in folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from dataclasses import asdict, dataclass

from nvidia_runtime.engines import home
from nvidia_runtime.engines.write import MARK
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy
from nvidia_runtime.store import files

FOLDER = "/var/lib/nvidia-container-runtime"
NAME = "engines.json"
ASIDE = ".unusable"  # the end of the name of a journal that could not be used
VERSION = 1
BACKUPS = "backups"
STAMP = "20260101T000000.000000000Z"
MOST_BACKUPS = 5  # of one file
MOST_BACKUPS_IN_ALL = 50
MOST_ENTRIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of an engine: its text without our runtime, the one that we wrote, and its runtimes.

    ``before`` is None for a file that we made, ``folders`` are those made with it.  Once the change
    is undone, ``after`` is the text that was left.
    """

    engine: str
    before: str | None
    after: str | None
    runtimes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    is_undone: bool = False


def folder() -> str:
    """Return the folder of the journal, which survives a reboot; systemd may name another one."""
    named = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if named.startswith("/"):
        return named
    if os.geteuid() == 0:
        return FOLDER
    own = os.environ.get("XDG_STATE_HOME") or f"{home.folder()}/.local/state"
    return os.path.join(own, "nvidia-container-runtime")


def entries() -> dict[str, Entry]:
    """Return the entries by the files' real paths; nothing where the journal cannot be used.

    Raises `NvidiaRuntimeError` where it cannot be read: what it says may be right.
    """
    return _loaded()[0]


def problem() -> str:
    """Return why the journal cannot be used, "" if it can or if it is missing."""
    return _loaded()[1]


def _loaded() -> tuple[dict[str, Entry], str]:
    path = os.path.join(folder(), NAME)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as file:
            status = os.fstat(descriptor)
            is_ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
            if not is_ours or not stat.S_ISREG(status.st_mode):
                return {}, "others may have written it"
            document = json.load(file)
        if document["version"] != VERSION:
            return {}, "another version of nvidia-ctk wrote it"
        return {path: _entry(file) for path, file in document["files"].items()}, ""
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, "it is damaged"
    except OSError as error:
        hint = remedy(error) or "move it away to go on without what it says"
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path, hint) from None


def _entry(document: dict[str, object]) -> Entry:
    texts = (document["before"], document["after"])
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError
    before, after = (None if text is None else str(text) for text in texts)
    lists = {}
    for name in ("runtimes", "folders"):
        names = document.get(name, [])
        if not isinstance(names, list):
            raise TypeError
        lists[name] = tuple(map(str, names))
    return Entry(
        engine=str(document["engine"]),
        before=before,
        after=after,
        is_undone=document.get("is_undone") is True,
        **lists,
    )


def write(changed: dict[str, Entry | None]) -> None:
    """Put entries into the journal, or remove them, also those of files that exist no more."""
    kept = {path: entry for path, entry in entries().items() if os.path.exists(path)}
    present = {path: entry for path, entry in (kept | changed).items() if entry}
    newest = dict(list(present.items())[-MOST_ENTRIES:])
    document = {
        "version": VERSION,
        "files": {path: asdict(entry) for path, entry in newest.items()},
    }
    _make(folder())
    text = json.dumps(document, indent=1) + "\n"
    path = os.path.join(folder(), NAME)
    if problem():
        with contextlib.suppress(OSError):
            os.replace(path, path + ASIDE)
    _write(path, text)


def back_up(path: str, text: str) -> str:
    """Keep a file's text in a backup that is named after the time; return its path."""
    where = os.path.join(folder(), BACKUPS)
    _make(where)
    name = path.strip("/").replace("/", "%")[-200:]
    seconds, rest = divmod(time.time_ns(), 10**9)  # one reading, for both parts
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    backup = os.path.join(where, f"{name}.{now}.{rest:09}Z")
    _write(backup, text)
    _prune(path)
    return backup


def _prune(path: str) -> None:
    where = os.path.join(folder(), BACKUPS)
    # The time ends the name.  Without this, backups of files that are gone would stay for ever.
    everything = sorted(os.listdir(where), key=lambda name: name[-len(STAMP) :])
    oldest = [os.path.join(where, name) for name in everything[:-MOST_BACKUPS_IN_ALL]]
    for old in {*backups(path)[:-MOST_BACKUPS], *oldest}:
        with contextlib.suppress(OSError):
            os.unlink(old)


def backups(path: str) -> list[str]:
    """List the backups of a file, the oldest first."""
    where = os.path.join(folder(), BACKUPS)
    start = path.strip("/").replace("/", "%")[-200:] + "."
    try:
        names = sorted(os.listdir(where))
    except OSError:
        return []
    return [
        os.path.join(where, name)
        for name in names
        if name.startswith(start) and len(name) == len(start) + len(STAMP)
    ]


def _write(path: str, text: str) -> None:
    """Write a file of ours; it is on the disk before an engine's file changes."""
    try:
        files.replace(os.path.realpath(path), text.encode(), sync=True, mark=MARK)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None


def _make(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be made: {os_reason(error)}", path) from None
