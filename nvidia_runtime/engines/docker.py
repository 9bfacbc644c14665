# SPDX-License-Identifier: Apache-2.0
"""docker: daemon.json, https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file.

Ring: elsewhere.
"""

from __future__ import annotations

from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.engines import difference, json_file, wanted, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.wanted import Found, Places, Plan, Wanted
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

PLACES = Places(
    runtimes=("runtimes",),
    default=("default-runtime",),
    cdi=("features", "cdi"),
    program=("path",),
    fallback="runc",
)
RESERVED = "runc"
SCHEMA = "docker-daemon"


def parse(text: str, path: str) -> Document:
    """Read daemon.json; what we would change, and what it needs, must have the right types."""
    document = json_file.parse(text, path)
    wrong = schemas.violations(SCHEMA, _plain(document))
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        where = ": ".join(filter(None, (path, wrong[0].path)))
        raise NvidiaRuntimeError(
            wrong[0].what + others, where, "mend it by hand; nothing was changed"
        )
    return document


def _plain(value: Any) -> Any:
    """Return a document for the schema: a number, which is kept as it is written, becomes one."""
    if isinstance(value, json_file.Number):
        return 0
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return list(map(_plain, value)) if isinstance(value, list) else value


def places_in(_document: Document, _path: str) -> Places:
    """Say where daemon.json has what we change."""
    return PLACES


def configure(ask: Wanted) -> Plan:
    """Add our runtime to daemon.json; an entry of its name is replaced, all others stay."""
    if ask.name == RESERVED:
        what = "docker keeps the name runc to itself, and would not start again"
        raise NvidiaRuntimeError(what, hint="leave --nvidia-runtime-name out, or take another")
    before = write.read(ask.config)
    document = parse(before or "", ask.config)
    entry: Document = {"args": [], "path": ask.program}
    new = wanted.with_runtime(document, PLACES, entry, ask)
    edits = difference.between(document, new)
    after = json_file.edit(before or "", edits) if edits else before
    return Plan(changes=(Change(ask.config, before, after),))


def edited(text: str, document: Document, path: str) -> str:
    """Return a text that says what another document does."""
    return json_file.edit(text, difference.between(json_file.parse(text, path), document))


def describe(path: str) -> Found:
    """Say what daemon.json has of us."""
    return wanted.found(parse(write.read(path) or "", path), PLACES)
