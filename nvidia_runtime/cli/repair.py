# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk repair: running containers get the device rules back that they have lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nvidia_runtime.cli import choice, screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.drift import counted
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.containers import drift, repair
from nvidia_runtime.containers.records import Records
from nvidia_runtime.containers.repair import FAILED, LOST, RESTORED, Rescue
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import device_judges
from nvidia_runtime.log import shown
from nvidia_runtime.store import files

RULE = "device rule"
SAYS = {LOST: "missing", RESTORED: "restored"}
AGAIN = "systemd does not know these rules, and takes them away again at its next daemon-reload"
KEEPING = """\
{command}
hint: runc 1.1.7 or newer, or the engine's cgroup driver cgroupfs, keeps new containers from it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is said of a container; ``error`` is why nothing could be tried.

    ``keep`` is a command by which systemd keeps what was restored.
    """

    container: str
    names: tuple[str, ...]
    rules: tuple[Rescue, ...] = ()
    unit: str = ""
    keep: str = ""
    doubt: str = ""
    error: str = ""
    hint: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nothing failed."""
        return not self.error and all(rule.state != FAILED for rule in self.rules)


class Repair(Command):
    """nvidia-ctk repair."""

    table = tables.REPAIR
    everything: bool
    dry_run: bool
    format: str

    def main(self, container: str = "") -> int:
        """Repair a container, or all that run; one that fails keeps no other."""
        if bool(container) == self.everything:
            hint = "name a container, or give --all"
            raise NvidiaRuntimeError("either a container or --all is needed", hint=hint)
        if os.geteuid():
            what = "device rules of control groups are changed by root only"
            raise NvidiaRuntimeError(what, hint=device_judges.ROOT_HINT)
        results = list(self._results(container))
        if self.format == "json":
            screen.print_json([asdict(result) for result in results])
        elif not results:
            self.tell("no container with a record runs")
        for result in results if self.format != "json" else ():
            self._print(result)
        return 0 if all(result.is_well for result in results) else 1

    def _results(self, word: str) -> Iterator[Result]:
        state = files.state_folder()
        kept = Records(Path(state, "containers") if state else None)
        if word:
            name = choice.choose(word, kept)
            yield self._result(name, kept.read(name), kept, is_alone=True)
            return
        for name, record in drift.running():
            yield self._result(name, record, kept, is_alone=False)

    def _result(
        self, name: str, record: dict[str, Any], kept: Records, *, is_alone: bool
    ) -> Result:
        """Repair a container; its error is the command's only if it was asked for alone."""
        names = kept.entry(name, record).names
        try:
            done = repair.repair(name, record, dry_run=self.dry_run)
        except NvidiaRuntimeError as error:
            if is_alone:
                raise
            return Result(container=name, names=names, error=str(error), hint=error.hint)
        return Result(
            container=name,
            names=names,
            rules=done.rules,
            unit=done.unit,
            keep=done.keeping(),
            doubt=done.doubt,
        )

    def _print(self, result: Result) -> None:
        name = result.names[0] if result.names else result.container
        if result.error:
            self.warn(f"{name}: {result.error}" + (f" ({result.hint})" if result.hint else ""))
            return
        if not result.rules:
            print(shown(f"{name}: no {RULE} is missing"))
        for state, says in SAYS.items():
            self._list(name, [rule for rule in result.rules if rule.state == state], says)
        failed = [rule for rule in result.rules if rule.state == FAILED]
        self._list(name, failed, "cannot be restored")
        if result.doubt:
            self.warn(f"{name}: {result.doubt}")
        if result.keep:
            self.warn(f"{name}: {AGAIN}, unless: " + KEEPING.format(command=result.keep))

    def _list(self, name: str, rules: list[Rescue], says: str) -> None:
        if not rules:
            return
        verb = {"missing": "are missing" if len(rules) > 1 else "is missing"}.get(says, says)
        print(shown(f"{name}: {counted(len(rules), RULE)} {verb}"))
        for rule in rules:
            why = f": {rule.why}" if rule.why else ""
            print(shown(f"  {rule.rule}  {rule.name}{why}"))
