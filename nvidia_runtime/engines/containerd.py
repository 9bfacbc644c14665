# SPDX-License-Identifier: Apache-2.0
"""containerd: config.toml of version 1, 2 and 3, and a drop-in that it imports.

A drop-in repeats the whole table of the CRI plugin, since containerd before 2.1 takes such a table
from the last file that has one.  Version 1 is edited in place.  Ring: elsewhere.
"""

from __future__ import annotations

import copy
import fnmatch
import glob
import os
from dataclasses import replace
from typing import Any

from nvidia_runtime.engines import difference, toml_engine, toml_file, wanted, write
from nvidia_runtime.engines.difference import ABSENT, Document, Edit, Steps
from nvidia_runtime.engines.wanted import Found, Places, Plan, Wanted
from nvidia_runtime.engines.write import Change

DEFAULT_VERSION = 2  # which every containerd since 1.3 reads
NEWEST = (3, (2,))  # the version that containerd 2 writes
CRI = {1: "cri", 2: "io.containerd.grpc.v1.cri"}
STOCK = "runc"
NEW_CRI = "io.containerd.cri.v1.runtime"
RUNTIME: Document = {
    "runtime_type": "io.containerd.runc.v2",
    "runtime_root": "",
    "runtime_engine": "",
    "privileged_without_host_devices": False,
}
parse = toml_file.parse
edited = toml_engine.edited


def places(version: int) -> Places:
    """Say where a file of a version has what we change."""
    cri = ("plugins", CRI.get(version, NEW_CRI))
    return Places(
        runtimes=(*cri, "containerd", "runtimes"),
        default=(*cri, "containerd", "default_runtime_name"),
        cdi=(*cri, "enable_cdi"),
        program=("options", "BinaryName"),
    )


def version_of(document: Document, where: str, newest: int = DEFAULT_VERSION) -> int:
    """Return a file's version: without a key it is 1, and an empty file may have any."""
    if not document:
        return newest
    version = document.get("version", 1)
    if type(version) is not int:
        raise wanted.wrong(("version",), "an integer", version, where)
    return version


def places_in(document: Document, path: str) -> Places:
    """Say where a document has what we change."""
    return places(version_of(document, path))


def configure(ask: Wanted) -> Plan:
    """Add our runtime in a drop-in that the file imports, or in the file itself."""
    own = write.read(ask.config)
    document = toml_file.parse(own or "", ask.config)
    newest = NEWEST[0] if ask.version >= NEWEST[1] else DEFAULT_VERSION
    source, where = _source(ask, document)
    version = version_of(source, where, newest)
    known = places(version)
    warnings = []
    entry = toml_engine.options(source, known, ask.name, where)
    if entry is None:
        warnings.append("no runtime runc or crun is configured; ours gets containerd's defaults")
    if {"cri", known.runtimes[1]} & set(_strings(document.get("disabled_plugins"))):
        warnings.append("disabled_plugins has CRI, by which kubernetes asks for runtimes")
    entry = _runtime(RUNTIME if entry is None else entry, ask.program, version, where)
    beside, warning = _beside(source, known, ask, version)
    warnings += filter(None, [warning])
    if version == 1 or not ask.drop_in:
        if version == 1 and ask.drop_in:
            warnings.append("a file of version 1 is edited in place, without a drop-in")
        if not document and version != 1:
            document = {"version": version}
        at = places(version_of(document, ask.config))
        document = difference.carried_out(beside, document)
        new = _with_runtime(document, at, entry, ask)
        return Plan(changes=(toml_engine.in_place(ask.config, own, new),), warnings=tuple(warnings))
    if ask.is_merged:
        content = {"version": version, **wanted.with_runtime({}, known, entry, ask)}
        change = toml_engine.drop_in(content, known, ask)
        return Plan(changes=(change,), warnings=tuple(warnings))
    cri = known.runtimes[:2]
    wanted.table(source, cri, where)
    content = difference.carried_out([Edit(cri, copy.deepcopy(_or_empty(source, cri)))], {})
    content = difference.carried_out(beside, content)
    content = {"version": version, **_with_runtime(content, known, entry, ask)}
    importing = _importing(ask, own, document, version)
    warnings += _later(ask, toml_file.parse(importing.after or "", ask.config), version)
    return Plan(
        changes=(toml_engine.drop_in(content, known, ask), importing),
        warnings=tuple(warnings),
    )


def _beside(source: Document, known: Places, ask: Wanted, version: int) -> tuple[list[Edit], str]:
    """Say runc where files are silent of it, since a table of runtimes replaces the built-in one.

    containerd 1 then lacks the runtime that is its default, and starts without CRI.
    """
    default = difference.at(source, known.default)
    stock = difference.at(source, (*known.runtimes, STOCK))
    is_silent = default in (ABSENT, "", STOCK) and stock is ABSENT
    if version > DEFAULT_VERSION or ask.version >= NEWEST[1] or not is_silent:
        return [], ""
    if ask.is_own:
        return [Edit((*known.runtimes, STOCK), dict(RUNTIME))], ""
    said = "containerd 1 starts without CRI when its files name runtimes, but not runc"
    return [], f"{said}: give {ask.config} one"


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _or_empty(document: Document, path: Steps) -> Any:
    found = difference.at(document, path)
    return {} if found is ABSENT else found


def _runtime(options: Document, program: str, version: int, where: str) -> Document:
    """Make the table of our runtime from that of another one."""
    inner = options.get("options", {})
    if not isinstance(inner, dict):
        raise wanted.wrong(("options",), "a table", inner, where)
    paths = {"BinaryName": program, **({"Runtime": program} if version == 1 else {})}
    entry = {"runtime_type": RUNTIME["runtime_type"], **options}
    return {**entry, "options": {**inner, **paths}}


def _with_runtime(document: Document, known: Places, entry: Document, ask: Wanted) -> Document:
    where = ask.config
    wanted.table(document, known.runtimes, where)
    default = wanted.text(document, known.default, where)
    if default == ask.name and not ask.is_default:
        # Whoever asks for the runtime without the flag does not want it to be the default.
        document = difference.carried_out([Edit(known.default, ABSENT)], document)
    return wanted.with_runtime(document, known, entry, ask)


def _source(ask: Wanted, document: Document) -> tuple[Document, str]:
    """Return what containerd runs with, from itself or from its files, and where that was read."""
    if ask.by_command:
        # A version is known of the engine that was found, and then the file is its own.
        file = ["--config", ask.config] if ask.version and os.path.exists(ask.config) else []
        words = [ask.executable or "containerd", *file, "config", "dump"]
        text, name = toml_engine.asked(words)
        return toml_file.parse(text, name), name
    if not document:
        return document, ask.config
    version = version_of(document, ask.config)
    return _imported(document, version, ask.config, ask.drop_in), ask.config


def _imported(document: Document, version: int, path: str, skipped: str) -> Document:
    """Put the CRI plugin's table of the imported files over that of a file, as containerd does.

    The last table wins, as a whole up to version 2; only containerd 2 may merge it.
    """
    cri = places(version).runtimes[:2]
    for file in _imports(document, path):
        if os.path.realpath(file) == os.path.realpath(skipped or path):
            continue
        other = toml_file.parse(write.read(file) or "", file)
        if version_of(other, file, version) != version or not wanted.table(other, cri, file):
            continue
        table = wanted.table(other, cri, file)
        if version > DEFAULT_VERSION:
            table = toml_engine.merged(wanted.table(document, cri, path), table)
        document = difference.carried_out([Edit(cri, table)], document)
    return document


def _later(ask: Wanted, document: Document, version: int) -> list[str]:
    """Warn of files that are imported behind the drop-in and have a table that replaces its own."""
    if version > DEFAULT_VERSION:
        return []
    files: list[str] = []
    for each in _patterns(document):
        own = [ask.drop_in] if _covers(each, ask) else []
        files += sorted({*own, *_imports({"imports": [each]}, ask.config)})
    behind = files[files.index(ask.drop_in) + 1 :] if ask.drop_in in files else []
    return [
        f"{file} is read after {ask.drop_in} and replaces it: import it before, or add ours there"
        for file in behind
        if difference.at(
            toml_file.parse(write.read(file) or "", file), places(version).runtimes[:2]
        )
        is not ABSENT
    ]


def _patterns(document: Document) -> list[Any]:
    imports = document.get("imports", [])
    return imports if isinstance(imports, list) else [imports]


def _imports(document: Document, path: str) -> list[str]:
    """List the files that a file imports."""
    folder = os.path.dirname(path)
    names = [name for name in _patterns(document) if isinstance(name, str) and "\0" not in name]
    return [file for name in names for file in sorted(glob.glob(os.path.join(folder, name)))]


def _importing(ask: Wanted, own: str | None, document: Document, version: int) -> Change:
    """Have a file import the drop-in, if it does not yet."""
    pattern = os.path.join(os.path.dirname(ask.drop_in), "*.toml")
    patterns = _patterns(document)
    for each in patterns:
        if not isinstance(each, str):
            raise wanted.wrong(("imports",), "a list of strings", patterns, ask.config)
    if any(_covers(each, ask) for each in patterns) and isinstance(document.get("imports"), list):
        return Change(ask.config, own, own)
    new = {**document, "imports": [*patterns, pattern]}
    if not document:
        new["version"] = version
    return toml_engine.in_place(ask.config, own, new)


def _covers(pattern: str, ask: Wanted) -> bool:
    """Whether an import is that of our drop-in; a star does not cross folders.

    containerd 1 looks for a relative name with a star in the folder that it was started in.
    """
    if "*" in pattern and not os.path.isabs(pattern):
        return False
    parts = os.path.join(os.path.dirname(ask.config), pattern).split("/")
    wanted_parts = ask.drop_in.split("/")
    return len(parts) == len(wanted_parts) and all(
        fnmatch.fnmatchcase(part, each) for part, each in zip(wanted_parts, parts, strict=True)
    )


def describe(path: str) -> Found:
    """Say what config.toml and what it imports have of us."""
    document = toml_file.parse(write.read(path) or "", path)
    version = version_of(document, path)
    if not document:
        return Found()
    whole = _imported(document, version, path, "")
    return replace(wanted.found(whole, places(version)), version=version)
