# SPDX-License-Identifier: Apache-2.0
"""podman: containers.conf(5) and its drop-ins.  CDI is always on there.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.engines import toml_engine, toml_file, wanted, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.wanted import Found, Places, Plan, Wanted
from nvidia_runtime.errors import NvidiaRuntimeError

PLACES = Places(runtimes=("engine", "runtimes"), default=("engine", "runtime"))
SUFFIX = ".conf"
parse = toml_file.parse
edited = toml_engine.edited


def places_in(_document: Document, _path: str) -> Places:
    """Say where a document has what we change."""
    return PLACES


def configure(ask: Wanted) -> Plan:
    """Add our runtime in a drop-in, or in containers.conf itself where there is no drop-in."""
    path = ask.drop_in or ask.config
    if not path.endswith(SUFFIX):
        raise NvidiaRuntimeError(
            "podman reads files only whose name ends in .conf",
            path,
            "such as /etc/containers/containers.conf.d/99-nvidia.conf",
        )
    warnings = ("podman has CDI always on; the flag changes nothing",) if ask.cdi else ()
    edits: Document = {"engine": {"runtimes": {ask.name: [ask.program]}}}
    if ask.is_default:
        edits["engine"]["runtime"] = ask.name
    before = write.read(ask.config)
    document = toml_file.parse(before or "", ask.config)
    wanted.table(document, PLACES.runtimes, ask.config)
    wanted.text(document, PLACES.default, ask.config)
    if ask.drop_in:
        change = toml_engine.drop_in(edits, PLACES, ask)
        return Plan(changes=(change,), warnings=warnings)
    new = toml_engine.merged(document, edits)
    return Plan(changes=(toml_engine.in_place(path, before, new),), warnings=warnings)


def describe(path: str) -> Found:
    """Say what containers.conf and its drop-ins have of us."""
    document: Document = {}
    for file in (path, *toml_engine.listed(f"{path}.d", SUFFIX)):
        document = toml_engine.merged(document, toml_file.parse(write.read(file) or "", file))
    return wanted.found(document, PLACES)
