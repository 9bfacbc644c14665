# SPDX-License-Identifier: Apache-2.0
"""containerd's files of version 1, 2 and 3: the places of what we change there, and imports."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from nvidia_runtime.engines import difference, runtimes, toml_engine, toml_file, write
from nvidia_runtime.engines.difference import ABSENT, Document, Edit
from nvidia_runtime.engines.engine import ChangeSet, Intent, Layer, Places, Version
from nvidia_runtime.engines.view import View, covers
from nvidia_runtime.engines.write import Change

DEFAULT_VERSION = 2  # which every containerd since 1.3 reads
NEWEST = (3, (2,))  # the version that containerd 2 writes
CRI = {1: "cri", 2: "io.containerd.grpc.v1.cri"}
NEW_CRI = "io.containerd.cri.v1.runtime"
STOCK = "runc"
PROGRAMS = ("BinaryName", "Runtime")  # the latter in version 1
RUNTIME: Document = {
    "runtime_type": "io.containerd.runc.v2",
    "runtime_root": "",
    "runtime_engine": "",
    "privileged_without_host_devices": False,
}
BEFORE_3 = ("runtime_root", "runtime_engine")  # containerd 2 knows them no more


def places(version: int) -> Places:
    """Return where a file of a version has what we change."""
    cri = ("plugins", CRI.get(version, NEW_CRI))
    return Places(
        runtimes=(*cri, "containerd", "runtimes"),
        default=(*cri, "containerd", "default_runtime_name"),
        default_table=(*cri, "containerd", "default_runtime") if version in CRI else (),
        cdi=(*cri, "enable_cdi"),
        program=("options", "BinaryName"),
        version="version",
        spec_dirs=(*cri, "cdi_spec_dirs"),
    )


def builtin(version: int) -> Document:
    """Return the table of a runtime for files of a version that have none to copy from."""
    return {key: value for key, value in RUNTIME.items() if version in CRI or key not in BEFORE_3}


def version_of(document: Document, where: str, newest: int = DEFAULT_VERSION) -> int:
    """Return a file's version: without a key it is 1, and an empty file may have any."""
    if not document:
        return newest
    version = document.get("version", 1)
    if type(version) is not int:
        raise runtimes.wrong_type(("version",), "an integer", version, where)
    return version


def places_in(document: Document, path: str) -> Places:
    """Return where a document has what we change."""
    return places(version_of(document, path))


def has_no_cri(document: Document) -> bool:
    """Whether a file switches CRI off, by which kubernetes asks for runtimes."""
    disabled = document.get("disabled_plugins")
    return isinstance(disabled, list) and any(name in disabled for name in (*CRI.values(), NEW_CRI))


def layers(path: str, view: View) -> list[Layer]:
    """Read config.toml and what it imports, and what that imports, in containerd's order."""
    listing: dict[str, Document] = {}
    pending = [path]
    while pending:
        file = os.path.normpath(pending.pop(0))
        if file not in listing:
            listing[file] = toml_file.parse(view.read(file), file)
            pending += _imports(listing[file], file, view)
    return list(listing.items())


def combined(files: list[Layer], engine: Version = ()) -> Document:
    """Put the CRI plugin's table of the imported files over that of a file, as containerd does.

    The last table wins, as a whole up to version 2; only containerd 2 may merge it, and it reads
    each file by the version of that.
    """
    if engine >= NEWEST[1]:
        files = [(path, _migrated(document, path)) for path, document in files]
    (path, document), *others = files
    version = version_of(document, path)
    cri = places(version).runtimes[:2]
    for file, other in others:
        if version_of(other, file, version) != version or not runtimes.table(other, cri, file):
            continue
        table = runtimes.table(other, cri, file)
        if version > DEFAULT_VERSION:
            table = difference.merged(runtimes.table(document, cri, path), table)
        document = difference.carried_out([Edit(cri, table)], document)
    return document


def _migrated(document: Document, path: str) -> Document:
    """Return what containerd 2 takes over of a file: nothing from the CRI table of version 1."""
    version = version_of(document, path, NEWEST[0])
    if version == NEWEST[0]:
        return document or {"version": version}
    old = places(version).runtimes[:2]
    table = {} if version == 1 else runtimes.table(document, old, path)
    new = {key: value for key, value in document.items() if key != "plugins"}
    new["version"] = NEWEST[0]
    cri = places(NEWEST[0]).runtimes[:2]
    return difference.carried_out([Edit(cri, table)], new) if table else new


def _patterns(document: Document) -> list[Any]:
    imports = document.get("imports", [])
    return imports if isinstance(imports, list) else [imports]


def _imports(document: Document, path: str, view: View) -> list[str]:
    """List the files that a file imports."""
    folder = os.path.dirname(path)
    names = [name for name in _patterns(document) if isinstance(name, str) and "\0" not in name]
    names = [name for name in names if name]  # "" would be the folder
    return [file for name in names for file in view.imported(name, folder)]


def missed(files: list[Layer], started_in: str) -> set[str]:
    """Return the imports that containerd 1 misses, by the folder that it was started in.

    There it looks for a relative name with a star, not beside the file that has it.
    """
    lost: set[str] = set()
    for path, document in files:
        folder = os.path.dirname(path)
        for name in _patterns(document):
            if isinstance(name, str) and "*" in name and not os.path.isabs(name):
                beside, there = (View().matching(f"{one}/{name}") for one in (folder, started_in))
                lost |= {*beside} - {*there}
    return lost


def importing(intent: Intent, own: str | None, document: Document, version: int) -> Change:
    """Have a file import the drop-in, if it does not yet."""
    patterns = _patterns(document)
    for pattern in patterns:
        if not isinstance(pattern, str):
            what = "a list of strings"
            raise runtimes.wrong_type(("imports",), what, patterns, intent.config)
    if not any(_covers(pattern, intent) for pattern in patterns):
        patterns = [*patterns, _import_of(intent)]
    elif isinstance(document.get("imports"), list):
        return Change(intent.config, own, own)
    new = {**document, "imports": patterns}
    if not document:
        new["version"] = version
    return toml_engine.in_place(intent.config, own, new)


def _import_of(intent: Intent) -> str:
    """Return the pattern by which a file of ours imports the drop-in."""
    return os.path.join(os.path.dirname(intent.import_path), "*.toml")


def _covers(pattern: str, intent: Intent) -> bool:
    """Whether an import is that of our drop-in, also for a containerd 1: see `missed`."""
    if "*" in pattern and not os.path.isabs(pattern):
        return False
    if os.path.isabs(pattern):
        return covers(pattern, intent.import_path)
    return covers(os.path.join(os.path.dirname(intent.config), pattern), intent.drop_in)


def undone(intent: Intent, plan: ChangeSet, created: set[str]) -> ChangeSet:
    """Have the import of the drop-in stay with it, or the file go that had nothing else."""
    drop_in = next((change for change in plan.changes if change.path == intent.drop_in), None)
    if drop_in and drop_in.path in created and drop_in.after is not None:
        return _with_import(intent, plan)
    if drop_in and not created and drop_in.is_needed and drop_in.after is None:
        changes = tuple(
            replace(change, after=None)
            if change.path == intent.config and _only_imports(change, intent)
            else change
            for change in plan.changes
        )
        return replace(plan, changes=changes)
    return plan


def _with_import(intent: Intent, plan: ChangeSet) -> ChangeSet:
    """Keep the import of a drop-in of ours that stays, since others put something there."""
    changes = tuple(
        replace(change, after=change.before)
        if change.path == intent.config and _rest(change.before) == _rest(change.after)
        else change
        for change in plan.changes
    )
    if changes == plan.changes:
        return plan
    what = f"{intent.drop_in} has other settings, too, and stays, as does its import"
    return ChangeSet(changes=changes, warnings=(*plan.warnings, what))


def _rest(text: str | None) -> Document:
    """Return what a file says beside its imports."""
    document = toml_file.parse(text or "", "")
    return {key: value for key, value in document.items() if key not in ("version", "imports")}


def _only_imports(change: Change, intent: Intent) -> bool:
    if change.after is None or "#" in change.after:
        return False
    document = toml_file.parse(change.after, change.path)
    return not _rest(change.after) and document.get("imports") == [_import_of(intent)]


def stock(document: Document, at: Places, intent: Intent) -> Document:
    """Make the table of runc for files without one: with the options that its neighbours have."""
    entry = toml_engine.options(document, at, intent.name, intent.config) or RUNTIME
    programs = [Edit(("options", name), ABSENT) for name in PROGRAMS]
    table = {**difference.carried_out(programs, entry), "runtime_type": RUNTIME["runtime_type"]}
    return {key: value for key, value in table.items() if (key, value) != ("options", {})}


def completed(left: Document, before: Document, intent: Intent) -> Document:
    """Name runc in what is left without ours, if that was the default and others stay.

    As where ours is added: containerd 1 has no runc of its own beside a table of runtimes.
    """
    version = version_of(before, intent.config)
    at = places(version)
    was_default = difference.at(before, at.default) == intent.name
    others = difference.at(left, at.runtimes)
    if (
        version > DEFAULT_VERSION
        or not was_default
        or not isinstance(others, dict)
        or STOCK in others
    ):
        return left
    return difference.carried_out([Edit((*at.runtimes, STOCK), stock(before, at, intent))], left)


def is_left_over(left: Document, intent: Intent) -> bool:
    """Whether a drop-in only repeats what the file says that imports it."""
    if not left:
        return True
    version = version_of(left, intent.drop_in)
    at = places(version)
    cri = at.runtimes[:2]
    document = toml_file.parse(write.read(intent.config) or "", intent.config)
    source = difference.at(document, cri)
    expected: Document = {"version": version} if "version" in left else {}
    if source is not ABSENT and source != {}:
        expected = difference.carried_out([Edit(cri, source)], expected)
    ours = (at.default, at.default_table, at.cdi, (*at.runtimes, intent.name))
    silent = [Edit(place, ABSENT) for place in ours if place]
    beside = (*at.runtimes, STOCK)
    if difference.is_same(difference.at(left, beside), stock(document, at, intent)):
        silent.append(Edit(beside, ABSENT))  # what we put beside ours
    one, other = (difference.carried_out(silent, document) for document in (left, expected))
    return difference.is_same(difference.pruned(one), difference.pruned(other))
