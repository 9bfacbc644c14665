# SPDX-License-Identifier: Apache-2.0
"""Which CDI spec files this program wrote, and with which options: so that it may write them anew.

A file is ours as long as its digest is the one that was remembered; whoever edits it makes it
theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import output
from nvidia_runtime.generate.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "/var/lib/nvidia-container-runtime/generated.json"
MOST = 64
OTHERS_WRITE = 0o022


def remember(path: str, data: bytes, options: Options) -> None:
    """Note that a spec file is ours; where no note can be kept it is a file like any other."""
    entries = {name: entry for name, entry in _read().items() if os.path.exists(name)}
    entries.pop(os.path.realpath(path), None)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "options": _dump(options)}
    entries[os.path.realpath(path)] = entry
    kept = dict(list(entries.items())[-MOST:])
    with contextlib.suppress(NvidiaRuntimeError):
        output.write(FILE, json.dumps(kept, indent=1).encode())


def recall(path: str, sha256: str) -> Options | None:
    """Return the options by which a spec file was made, ``None`` unless it is unchanged since."""
    entry = _read().get(os.path.realpath(path))
    if not isinstance(entry, dict) or not sha256 or entry.get("sha256") != sha256:
        return None
    options = entry.get("options")
    return _load(options) if isinstance(options, dict) else None


def _read() -> dict[str, Any]:
    try:
        with open(FILE, encoding="utf-8", opener=_open) as file:
            status = os.fstat(file.fileno())
            # It says what is run as us.
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & OTHERS_WRITE:
                return {}
            entries = json.load(file)
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would be waited for


def _dump(options: Options) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name in Options.__slots__}
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in fields.items()
    }


def _load(fields: dict[str, Any]) -> Options | None:
    options = Options()
    for name in Options.__slots__:
        if name not in fields:
            return None  # of another version
        kind = type(getattr(options, name))
        try:
            setattr(options, name, kind(fields[name]))
        except (TypeError, ValueError):
            return None
    return options
