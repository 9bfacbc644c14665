# SPDX-License-Identifier: Apache-2.0
"""cri-o: crio.conf(5) and its drop-ins.  CDI is always on there.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.engines import toml_engine, toml_file, wanted, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.wanted import Found, Places, Plan, Wanted

PLACES = Places(
    runtimes=("crio", "runtime", "runtimes"),
    default=("crio", "runtime", "default_runtime"),
    program=("runtime_path",),
)
parse = toml_file.parse
edited = toml_engine.edited


def places_in(_document: Document, _path: str) -> Places:
    """Say where a document has what we change."""
    return PLACES


def configure(ask: Wanted) -> Plan:
    """Add our runtime in a drop-in, or in crio.conf itself where there is no drop-in."""
    warnings = ["cri-o has CDI always on; the flag changes nothing"] if ask.cdi else []
    own = write.read(ask.config)
    document = _source(ask, own)
    entry = toml_engine.options(document, PLACES, ask.name, ask.config)
    if entry is None:
        warnings.append("no runtime runc or crun is configured; ours gets no options of theirs")
    entry = {**(entry or {}), "runtime_path": ask.program, "runtime_type": "oci"}
    if ask.drop_in:
        new = wanted.with_runtime({}, PLACES, entry, ask)
        change = toml_engine.drop_in(new, PLACES, ask)
    else:
        new = wanted.with_runtime(toml_file.parse(own or "", ask.config), PLACES, entry, ask)
        change = toml_engine.in_place(ask.config, own, new)
    return Plan(changes=(change,), warnings=tuple(warnings))


def _source(ask: Wanted, own: str | None) -> Document:
    """Read what cri-o runs with: from its file, or from itself."""
    if not ask.by_command:
        return _whole(ask.config, own, ask.drop_in)
    program = ask.executable or "crio"
    text, name = toml_engine.asked([program, "status", "config"], ["crio-status", "config"])
    return toml_file.parse(text, name)


def describe(path: str) -> Found:
    """Say what crio.conf and its drop-ins have of us."""
    return wanted.found(_whole(path, write.read(path), ""), PLACES)


def _whole(path: str, own: str | None, skipped: str) -> Document:
    """Put the drop-ins over crio.conf; cri-o's packages have their runtimes in one."""
    document = toml_file.parse(own or "", path)
    for file in toml_engine.listed(f"{path}.d", ""):
        if file != skipped:
            document = toml_engine.merged(document, toml_file.parse(write.read(file) or "", file))
    return document
