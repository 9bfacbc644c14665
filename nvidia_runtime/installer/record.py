# SPDX-License-Identifier: Apache-2.0
"""What an installation has done on the host, beside the tree: it survives us, and a reboot.

The journal of engines' files lies beside it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nvidia_runtime.engines import supported, write
from nvidia_runtime.installer import tree
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from nvidia_runtime.installer.options import Engine, Installation

# What has to be known of an engine to take back what it was told.
KEYS = ("name", "config", "drop_in", "drop_in_there", "mode")
FOLDER = ".toolkit-state"
NAME = "state.json"


@dataclass(slots=True, kw_only=True)
class Record:
    """What was done; all of it is optional.

    ``engine`` says how the engine was told, ``unread`` since when it has still to read its files,
    0 if it has.  ``spec`` is the CDI spec that we wrote, with its digest, ``hook`` an OCI hook's
    file, ``settings`` are those that flags made, ``folders`` those that were made for it all,
    ``aside`` is a file that says something else for a moment: its path, what it says, its own text.
    """

    engine: dict[str, Any] = field(default_factory=dict)
    unread: float = 0.0
    spec: list[str] = field(default_factory=list)
    hook: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)


def folder(installation: Installation) -> str:
    """Return the folder of the record."""
    return f"{installation.folder.rstrip('/')}/{FOLDER}"


def load(installation: Installation) -> Record:
    """Read the record; an empty one where there is none, or one that cannot be used."""
    return _read(installation)[0]


def is_damaged(installation: Installation) -> bool:
    """Whether there is a record of which not all can be used."""
    return _read(installation)[1]


def _read(installation: Installation) -> tuple[Record, bool]:
    """Return what can be used of the record, and whether something of it cannot."""
    file = f"{folder(installation)}/{NAME}"
    try:
        record = Record(**json.loads(files.read_own(file)))
    except (OSError, ValueError, TypeError):
        return Record(folders=_new_folders(installation.folder)), os.path.lexists(file)
    for name, default in asdict(Record()).items():
        value = getattr(record, name)
        if not isinstance(value, (type(default), int) if name == "unread" else type(default)):
            return Record(), True
    lists = (record.spec, record.hook, record.folders, record.aside)
    if not all(isinstance(text, str) for texts in lists for text in texts):
        return Record(), True
    if record.engine and not _is_engine(record.engine):
        record.engine = {}
        return record, True
    return record, False


def _is_engine(document: dict[str, Any]) -> bool:
    """Whether what is known of an engine is of one that we know."""
    drop_in = document.get("drop_in")
    texts = {name: value for name, value in document.items() if name != "drop_in"}
    return (
        document.keys() <= set(KEYS)
        and document.get("name") in supported.NAMES
        and (drop_in is None or isinstance(drop_in, str))
        and all(isinstance(value, str) for value in texts.values())
    )


def _new_folders(place: str) -> list[str]:
    """List the folders that are made for an installation, also by one that was killed at once."""
    try:
        if os.listdir(place) == [FOLDER]:
            return [place]
    except OSError:  # it is missing
        pass
    return write.missing_folders(f"{place}/toolkit")


def save(installation: Installation, record: Record) -> None:
    """Write the record."""
    where = folder(installation)
    try:
        os.makedirs(where, 0o700, exist_ok=True)
        data = json.dumps(asdict(record), indent=1).encode() + b"\n"
        files.replace(f"{where}/{NAME}", data, sync=True, mark="new")
    except OSError as error:
        raise tree.failed(error, where) from None


def of_engine(engine: Engine) -> dict[str, Any]:
    """Return what has to be known of an engine to take back what it was told."""
    document = asdict(engine)
    return {name: document[name] for name in KEYS}
