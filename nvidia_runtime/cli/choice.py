# SPDX-License-Identifier: Apache-2.0
"""The container that is meant by an id, the beginning of one, or a name."""

from __future__ import annotations

import os

from nvidia_runtime.cli.parse import suggestion
from nvidia_runtime.containers.records import FAILED, Entry, Records
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lifecycle

MOST = 4
SHORT = 12
ABSENT = (lifecycle.GONE, FAILED)


def choose(word: str, records: Records) -> str:
    """Return the id of a container: by an id, else by a name, else by the beginning of an id.

    A name may have been given to several, one after the other: one that is gone does not count
    beside one that is not, nor does one that failed, and of these the youngest is meant.
    Raises `NvidiaRuntimeError` for a word that means several containers, or none.
    """
    if word in records.ids:
        return word
    entries = records.entries()
    named = [entry for entry in entries if word in entry.names]
    if named:
        present = [entry for entry in named if entry.state not in ABSENT] or named[:1]
        if len(present) == 1:
            return present[0].container
        what = f"{len(present)} containers are called {word!r}: {_some(present)}"
        raise NvidiaRuntimeError(what, hint="name one by its id")
    begun = [entry for entry in entries if entry.container.startswith(word)]
    if len(begun) == 1:
        return begun[0].container
    if begun:
        what = f"{word!r} is the beginning of {len(begun)} ids: {_some(begun)}"
        raise NvidiaRuntimeError(what, hint="add more of the id")
    raise _unknown(word, records, entries)


def _some(entries: list[Entry]) -> str:
    shown = ", ".join(_short(entry.container, entries) for entry in entries[:MOST])
    return shown + (f" and {len(entries) - MOST} more" if len(entries) > MOST else "")


def _short(container: str, entries: list[Entry]) -> str:
    """Return the beginning of an id that tells it from others."""
    length = SHORT
    others = [entry.container for entry in entries if entry.container != container]
    while any(other.startswith(container[:length]) for other in others):
        length += 1
    return container[:length]


def _unknown(word: str, records: Records, entries: list[Entry]) -> NvidiaRuntimeError:
    names = [name for entry in entries for name in (*entry.names, entry.container)]
    hint = "a container that requested nothing has none; 'nvidia-ctk explain' lists all records"
    if os.geteuid():
        hint = f"these are the records of user {os.geteuid()}; run it as root for those of root"
    what = f"there is no record of a container {word!r}"
    if without := _of_docker(word, records):
        what = f"docker's container {word!r} ({without[:SHORT]}) has no record"
    return NvidiaRuntimeError(what, hint=suggestion(word, names) + hint)


def _of_docker(word: str, records: Records) -> str:
    """Return the id of a container of docker's that has no record, "" if it knows none either."""
    for container in (records.docker or {}).values():
        if container.name == word or container.id.startswith(word):
            return container.id
    return ""
