# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk explain: what was injected into a container, why, and from where."""

from __future__ import annotations

import datetime
import itertools
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nvidia_runtime.cli import choice, container_table, drift, native, replaced_hooks, screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.containers.records import Entry, Records
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.log import shown
from nvidia_runtime.store import files, home, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Record = dict[str, Any]
# Of a hook, without --all.
MOST_WORDS = 4
NO_STATE = (
    "this user has no folder for records that nobody else could write: "
    "'nvidia-ctk doctor NCT-0534' says where it could be"
)
COLOURS = {"+": screen.GREEN, "-": screen.RED, "@": screen.CYAN}


class Explain(Command):
    """nvidia-ctk explain."""

    table = tables.EXPLAIN
    everything: bool
    is_diff: bool
    image: str
    format: str

    def main(self, container: str = "") -> int:
        """Print the record of a container, by its name or the beginning of its id."""
        state = files.state_folder()
        kept = Records(Path(state, "containers") if state else None)
        if self.image:
            from nvidia_runtime.cli import image_explain  # admission, and whatever a create needs

            if container:
                raise NvidiaRuntimeError("--image is in the place of a container")
            return image_explain.show(
                self.image, everything=self.everything, form=self.format, quiet=self.is_quiet
            )
        if not state and files.is_user() and not home.can_have_state():
            self.warn(NO_STATE)
        if not container:
            return self._list(kept.entries())
        name = choice.choose(container, kept)
        record = kept.read(name)
        entry = kept.entry(name, record)
        if self.is_diff:
            return self._diff(record, entry)
        if self.format == "json":
            screen.print_json(asdict(entry) | _whole(record) | drift.document(name, record))
            return 0
        for line in _lines(record, entry, self.everything, self._spec_dirs):
            print(shown(line))
        return 0

    def _list(self, entries: list[Entry]) -> int:
        if self.format == "json":
            screen.print_json([asdict(entry) for entry in entries])
        elif not entries:
            self.tell("no container has a record")
        else:
            for line in container_table.lines(entries, datetime.date.today()):
                print(shown(line))
        return 0

    def _diff(self, record: Record, entry: Entry) -> int:
        from nvidia_runtime.cli import spec_diff  # where it is asked for

        diff = spec_diff.lines(record, entry.bundle, self._spec_dirs)
        if self.format == "json":
            screen.print_json([asdict(line) for line in diff])
            return 0
        for line in spec_diff.text(diff, record, entry.engine):
            print(screen.painted(shown(line), COLOURS.get(line[:1], "")))
        return 0

    def _spec_dirs(self) -> list[str]:
        """Return the spec dirs of config.toml; a broken one keeps nobody from reading a record."""
        from nvidia_runtime.compile import config  # heavy: TOML

        try:
            values = config.load(files.config_path())[0]
        except NvidiaRuntimeError as error:
            self.warn(str(error))
            values = config.defaults()
        dirs: list[str] = values[snapshot.SPEC_DIRS]
        return dirs


def _steps(record: Record) -> dict[str, int]:
    """Return how long each step of a create took, in microseconds."""
    laps = record.get("laps")
    laps = laps if isinstance(laps, list) else []
    took: dict[str, int] = {}
    for (_, begin), (step, end) in itertools.pairwise(laps):
        took[step] = took.get(step, 0) + (end - begin) // 1000
    return took


def _whole(record: Record) -> Record:
    """Return a record for programs: with times of steps, and which steps of hooks were done."""
    record = {**record, "took": _steps(record)}
    record.pop("laps", None)
    if not isinstance(record.get("hooks"), dict):
        return record
    done = [
        said
        for part in record.get("injected", ())
        for hooks in (part.get("edits") or {}).get("hooks", {}).values()
        for hook in hooks
        for said, fate in replaced_hooks.steps(hook, record)
        if fate == replaced_hooks.DONE
    ]
    return {**record, "hooks": {**record["hooks"], "done": list(dict.fromkeys(done))}}


def _lines(
    record: Record, entry: Entry, everything: bool, spec_dirs: Callable[[], list[str]]
) -> list[str]:
    """Return a record as text: what was requested, refused and injected."""
    requested = ", ".join(record.get("requested", ()))
    lines = [
        f"container  {entry.container}",
        *([f"name       {entry.names[0]}"] if entry.names else []),
        *([f"image      {entry.image}"] if entry.image else []),
        f"state      {entry.state}",
        *_failure(record),
        f"created    {entry.time.replace('T', ' ')}{_engine(entry)}",
        f"bundle     {entry.bundle}",
        *([f"mode       {record['mode']}"] if record.get("mode") else []),
        f"requested  {requested or 'nothing'}{_by(record)}",
    ]
    lines += [f"refused    {sentence}" for sentence in record.get("refused", ())]
    lines += [f"warning    {sentence}" for sentence in record.get("warnings", ())]
    lines += drift.lines(entry.container, record)
    for part in record.get("injected", ()):
        lines += _part(part, record, everything, spec_dirs)
    if record.get("cut"):
        lines.append(f"not shown  {record['cut']}: the record would be too large")
    lines += [f"on the host  {sentence}" for sentence in record.get("prepared", ())]
    return lines + _took(record)


def _failure(record: Record) -> list[str]:
    """Return why a create failed, as its engine was told."""
    failed = record.get("failure")
    if not isinstance(failed, dict):
        return []
    hint = failed.get("hint")
    return [f"failed     {failed.get('error')}", *([f"hint       {hint}"] if hint else [])]


def _took(record: Record) -> list[str]:
    """Return how long the create took us, in text; records of older versions do not say it."""
    steps = {step: time / 1000 for step, time in _steps(record).items()}
    if not steps:
        return []
    compiled = steps.pop("compile", 0)
    said = ", ".join(f"{step} {time:.1f}" for step, time in steps.items())
    lines = ["", f"took       {sum(steps.values()) + compiled:.1f} ms: {said}"]
    if compiled:
        lines.append(f"           what is compiled was made anew: {compiled:.1f} ms")
    return lines


def _engine(entry: Entry) -> str:
    return f" by {entry.engine}" if entry.engine else ""


def _by(record: Record) -> str:
    return f" by {record['by']}" if record.get("by") else ""


def _part(
    part: Record, record: Record, everything: bool, spec_dirs: Callable[[], list[str]]
) -> list[str]:
    """Return one source of edits as text."""
    edits: Record = part.get("edits") or {}
    origin = part.get("from")
    if isinstance(origin, dict) and "engine" in origin:
        edits, about = native.limit(part, spec_dirs())
        lines = ["", f"injected by {origin['engine'] or 'the engine'} itself (CDI)", *about]
    else:
        lines = ["", f"{part.get('device') or 'for all devices'}  from {_origin(origin)}"]
    lines += [f"  env     {entry}" for entry in edits.get("env", ())]
    for node in edits.get("devices", ()):
        path = node.get("hostPath", node.get("path"))
        is_missing = isinstance(path, str) and not os.path.exists(path)
        note = " (not on this host now)" if is_missing else ""
        lines.append(f"  device  {node.get('path')}{note}")
    mounts = edits.get("mounts", [])
    shown_mounts = mounts if everything else mounts[:3]
    lines += [f"  mount   {m.get('source')} at {m.get('destination')}" for m in shown_mounts]
    if len(mounts) > len(shown_mounts):
        lines.append(f"  mount   and {len(mounts) - len(shown_mounts)} more (--all lists them)")
    for stage, hooks in edits.get("hooks", {}).items():
        for hook in hooks:
            most = None if everything else MOST_WORDS
            said = replaced_hooks.lines(hook, stage, record, most)
            lines += [f"  hook    {line}" for line in said]
    rest = [name for name in edits if name not in ("env", "devices", "mounts", "hooks")]
    lines += [f"  {name}  {json.dumps(edits[name])}" for name in rest]
    return lines


def _origin(origin: object) -> str:
    if not isinstance(origin, dict):
        return "the runtime"
    if "file" in origin:
        return f"{origin['file']} (sha256 {str(origin.get('sha256', ''))[:12]})"
    if "generator" in origin:
        return f"this machine ({origin['generator']})"
    return ", ".join(f"{key} {value}" for key, value in origin.items())
