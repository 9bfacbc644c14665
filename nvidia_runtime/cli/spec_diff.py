# SPDX-License-Identifier: Apache-2.0
"""What a create changed in config.json: by the record, which has all edits, and by the file.

The engine's own text of the file is gone, so a value that was replaced is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nvidia_runtime.cli import native, replaced_hooks
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Record = dict[str, Any]
SAME, ADDED, REMOVED = " ", "+", "-"
ABSENT = "not in config.json now"
PRESTART = "nvidia-container-runtime-hook"
LISTS = {"env": "process.env", "devices": "linux.devices", "mounts": "mounts"}
RULES = "linux.resources.devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An entry of config.json: where it is, what became of it (`SAME` …), itself, and by whom.

    `SAME` is what the engine has written and we have left as it is.
    """

    place: str
    sign: str
    text: str
    by: str


def lines(record: Record, folder: str, spec_dirs: Callable[[], list[str]]) -> list[Line]:
    """Return all lines, the entries of a place together; ``folder`` is the bundle's."""
    spec = _present(folder)
    unsorted = [*_removed(record)]
    for part in record.get("injected", ()):
        unsorted += _part(part, record, spec, spec_dirs)
    unsorted += _left_hooks(record)
    unsorted += _rules(spec, unsorted)
    places = list(dict.fromkeys(line.place for line in unsorted))
    return [line for place in places for line in dict.fromkeys(unsorted) if line.place == place]


def text(diff: list[Line], record: Record, engine: str) -> list[str]:
    """Return lines as people read them: unified, each with who has added it."""
    file = f"{record.get('bundle', '')}/config.json"
    here = "" if _present(str(record.get("bundle", ""))) else " (gone: by the record alone)"
    shown = [f"--- {file}, as {engine or 'the engine'} wrote it", f"+++ {file}{here}"]
    place = ""
    for line in diff:
        if line.place != place:
            place = line.place
            shown.append(f"@@ {place}")
        shown.append(f"{line.sign}{line.text}{f'  # {line.by}' if line.by else ''}")
    return shown


def _present(folder: str) -> Record:
    """Return config.json as it is now, {} where it is gone."""
    try:
        return bundle.read(folder).spec if folder else {}
    except NvidiaRuntimeError:
        return {}


def _part(
    part: Record, record: Record, spec: Record, spec_dirs: Callable[[], list[str]]
) -> Iterator[Line]:
    origin = part.get("from")
    edits: Record = part.get("edits") or {}
    sign, by = ADDED, _by(part)
    if isinstance(origin, dict) and "engine" in origin:
        edits, _ = native.limit(part, spec_dirs())
        sign, by = SAME, f"{origin['engine'] or 'the engine'} itself (CDI)"
    nodes = {node["path"]: node for node in bundle.devices(spec)}
    for name, value in edits.items():
        if name == "hooks":
            yield from _hooks(value, sign, by, record)
            continue
        for one in value if isinstance(value, list) else [value]:
            entry = nodes.get(one.get("path"), one) if name == "devices" else one
            is_absent = bool(spec) and name in LISTS and not _has(spec, name, one)
            who = ", ".join(filter(None, (by, ABSENT if is_absent else "")))
            place = (
                LISTS.get(name) or f"{'process.user' if name.endswith('Gids') else 'linux'}.{name}"
            )
            yield Line(place=place, sign=sign, text=_said(name, entry), by=who)


def _by(part: Record) -> str:
    origin = part.get("from")
    origin = origin if isinstance(origin, dict) else {}
    source = origin.get("file") or (
        f"this machine ({origin['generator']})" if "generator" in origin else ""
    )
    other = source or ", ".join(f"{key} {value}" for key, value in origin.items())
    return ", ".join(filter(None, (str(part.get("device") or ""), str(other)))) or "the runtime"


def _said(name: str, entry: Any) -> str:
    """Return an entry of an edit in a line."""
    if name == "devices":
        numbers = f" {entry['type']} {entry['major']}:{entry['minor']}" if "major" in entry else ""
        return f"{entry.get('path')}{numbers}"
    if name == "mounts":
        options = entry.get("options")
        said = f" ({','.join(map(str, options))})" if isinstance(options, list) else ""
        return f"{entry.get('source')} at {entry.get('destination')}{said}"
    return str(entry)


def _has(spec: Record, name: str, entry: Any) -> bool:
    """Whether config.json has an entry of an edit."""
    if name == "devices":
        return any(node["path"] == entry.get("path") for node in bundle.devices(spec))
    if name == "mounts":
        pair = entry.get("source"), entry.get("destination")
        return any((one.get("source"), one["destination"]) == pair for one in bundle.mounts(spec))
    process = spec.get("process")
    present = process.get("env") if isinstance(process, dict) else None
    return isinstance(present, list) and entry in present


def _hooks(stages: Record, sign: str, by: str, record: Record) -> Iterator[Line]:
    """Return the hooks of an edit: those that are in config.json, and the engine's that were."""
    for stage, hooks in stages.items():
        for hook in hooks:
            said = " ".join(map(str, hook.get("args") or [hook.get("path", "")]))
            fates = replaced_hooks.steps(hook, record)
            place = f"hooks.{stage}"
            if not fates:
                yield Line(place=place, sign=sign, text=said, by=by)
            elif sign == SAME:
                fate = ", ".join(dict.fromkeys(fate or "by our hook" for _, fate in fates))
                yield Line(place=place, sign=REMOVED, text=said, by=f"{by}: {fate}")


def _left_hooks(record: Record) -> Iterator[Line]:
    """Return what our own hooks still do, which are in the place of those that we understood."""
    hooks = record.get("hooks")
    left = hooks.get("left", {}) if isinstance(hooks, dict) else {}
    for stage, steps in left.items():
        for said in steps:
            yield Line(
                place=f"hooks.{stage}", sign=ADDED, text=f"nvidia-cdi-hook {said}", by="our hook"
            )


def _removed(record: Record) -> Iterator[Line]:
    if record.get("removed"):
        yield Line(
            place="hooks.prestart", sign=REMOVED, text=PRESTART, by="not needed in this mode"
        )


def _rules(spec: Record, diff: list[Line]) -> Iterator[Line]:
    """Return the rules of config.json that let the nodes be used that were added."""
    linux = spec.get("linux")
    resources = linux.get("resources") if isinstance(linux, dict) else None
    rules = resources.get("devices") if isinstance(resources, dict) else None
    signs = {line.text: line for line in diff if line.place == LISTS["devices"]}
    wanted = {}
    for node in bundle.devices(spec):
        if line := signs.get(_said("devices", node)):
            wanted[node.get("type"), node.get("major"), node.get("minor")] = line
    for rule in rules if isinstance(rules, list) else ():
        if not isinstance(rule, dict) or not rule.get("allow"):
            continue
        numbers = rule.get("type"), rule.get("major"), rule.get("minor")
        if line := wanted.get(numbers):
            said = f"allow {numbers[0]} {numbers[1]}:{numbers[2]} {rule.get('access', '')}"
            yield Line(place=RULES, sign=line.sign, text=said, by=line.by)
