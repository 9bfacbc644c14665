# SPDX-License-Identifier: Apache-2.0
"""What we changed in engines' files: the text before and after, and backups by time.

It lies in ``/var/lib/nvidia-container-runtime`` (a user's in ``$XDG_STATE_HOME``), readable by its
owner only, since engines' files may hold passwords of registries.  Backups are not beside the
files: cri-o reads whatever lies in its drop-in folder.  Ring: elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from dataclasses import asdict, dataclass

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

FOLDER = "/var/lib/nvidia-container-runtime"
NAME = "engines.json"
ASIDE = ".unusable"  # what the name of a journal ends in that could not be used
VERSION = 1
BACKUPS = "backups"
STAMP = "20260101T000000.000000000Z"
MOST_BACKUPS = 5  # of one file
MOST_BACKUPS_IN_ALL = 50
MOST_ENTRIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of an engine: its text without us, the one that we gave it, and how it was undone.

    ``before`` is None for a file that we made, ``folders`` are those made with it.  Once undone,
    ``after`` is the text that was left.
    """

    engine: str
    before: str | None
    after: str | None
    runtimes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    is_undone: bool = False


def folder() -> str:
    """Return the folder that survives a restart; systemd's variable names another one."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return given
    if os.geteuid() == 0:
        return FOLDER
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "nvidia-container-runtime")


def entries() -> dict[str, Entry]:
    """Read the journal by the files' real paths; one that is damaged or foreign is none."""
    return _loaded()[0]


def problem() -> str:
    """Say why the journal is none although there is one, "" if that is not so."""
    return _loaded()[1]


def _loaded() -> tuple[dict[str, Entry], str]:
    path = os.path.join(folder(), NAME)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as file:
            found = os.fstat(descriptor)
            is_ours = found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022
            if not is_ours or not stat.S_ISREG(found.st_mode):
                return {}, "others may have written it"
            document = json.load(file)
        if document["version"] != VERSION:
            return {}, "another version of nvidia-ctk wrote it"
        return {path: _entry(each) for path, each in document["files"].items()}, ""
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        return {}, os_reason(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, "it is damaged"


def _entry(document: dict[str, object]) -> Entry:
    texts = (document["before"], document["after"])
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError
    before, after = (None if text is None else str(text) for text in texts)
    lists = {}
    for name in ("runtimes", "folders"):
        found = document.get(name, [])
        if not isinstance(found, list):
            raise TypeError
        lists[name] = tuple(map(str, found))
    return Entry(
        engine=str(document["engine"]),
        before=before,
        after=after,
        is_undone=document.get("is_undone") is True,
        **lists,
    )


def write(changed: dict[str, Entry | None]) -> None:
    """Put entries into the journal, or take them out; those of files that are gone since go."""
    kept = {path: entry for path, entry in entries().items() if os.path.exists(path)}
    known = {path: entry for path, entry in (kept | changed).items() if entry}
    newest = dict(list(known.items())[-MOST_ENTRIES:])
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
    """Keep a file's text under the time of day; return the backup's path."""
    where = os.path.join(folder(), BACKUPS)
    _make(where)
    name = path.strip("/").replace("/", "%")[-200:]
    seconds, rest = divmod(time.time_ns(), 10**9)  # read once: the second could be the next one's
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    backup = os.path.join(where, f"{name}.{now}.{rest:09}Z")
    _write(backup, text)
    _prune(path)
    return backup


def _prune(path: str) -> None:
    where = os.path.join(folder(), BACKUPS)
    # The time is at the end of the name; whose files are gone would else stay for ever.
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
    """Write a file of ours so that it is on the disk before an engine's file changes."""
    try:
        files.replace(os.path.realpath(path), text.encode(), sync=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None


def _make(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be made: {os_reason(error)}", path) from None
