# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk selftest: try known attacks on this installation, in a scratch folder."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.selftest.suite import Verdict

HOOK = "nvidia-cdi-hook"

COLOURS = {"ok": screen.GREEN, "FAILED": screen.RED, "skipped": screen.YELLOW}


class Selftest(Command):
    """nvidia-ctk selftest."""

    table = tables.SELFTEST
    security: bool
    only: str
    programs: str
    verbose: bool
    format: str

    def main(self) -> int:
        """Print a line for each attack and way; return 1 if one of them succeeds."""
        if not self.security:
            raise NvidiaRuntimeError("no test is named", hint="the only one is --security")
        from nvidia_runtime.selftest import attack, suite  # TOML, which 'nvidia-ctk --help' spares

        suite_attacks = attack.read_all()
        attacks = [candidate for candidate in suite_attacks if candidate.name.startswith(self.only)]
        if not attacks:
            numbers = ", ".join(sorted({candidate.number for candidate in suite_attacks}))
            what = f"no attack has a name that begins with {self.only!r}"
            raise NvidiaRuntimeError(what, hint=f"there are {numbers}")
        folder = self._folder()
        gc.enable()  # unlike other commands it lives for minutes
        report = Report(as_json=self.format == "json", with_skipped=self.verbose)
        with screen.Progress(f"{len(attacks)} attacks", quiet=self.is_quiet) as progress:
            for verdict in suite.run(folder, attacks):
                progress.text = f"{verdict.attack.number}  {verdict.attack.title} ({verdict.way})"
                progress.clear()
                report.add(verdict)
        report.end()
        self.tell(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items()))
        return 1 if report.counts["FAILED"] else 0

    def _folder(self) -> str:
        """Return the folder of the programs to test."""
        folder = os.path.abspath(self.programs or os.path.dirname(os.path.abspath(sys.argv[0])))
        if os.access(f"{folder}/{HOOK}", os.X_OK):
            return folder
        raise NvidiaRuntimeError(f"there is no {HOOK}", where=folder, hint="see --programs")


class Report:
    """The verdicts: lines as they come, or one document at the end."""

    def __init__(self, *, as_json: bool, with_skipped: bool) -> None:
        self.counts = {"ok": 0, "FAILED": 0, "skipped": 0}
        self._results: list[dict[str, Any]] | None = [] if as_json else None
        self._with_skipped = with_skipped
        self._reasons: set[str] = set()

    def add(self, verdict: Verdict) -> None:
        """Count a verdict, and print it unless skipped attacks are not listed."""
        outcome = "skipped" if verdict.skipped else "FAILED" if verdict.complaints else "ok"
        self.counts[outcome] += 1
        why = verdict.skipped or "; ".join(verdict.complaints)
        if self._results is not None:
            self._results.append(
                {
                    "attack": verdict.attack.number,
                    "title": verdict.attack.title,
                    "way": verdict.way,
                    "outcome": outcome.lower(),
                    "why": why,
                }
            )
        elif verdict.skipped and not self._with_skipped:
            self._reasons.add(f"{verdict.way}: {verdict.skipped}")
        else:
            name = f"{verdict.attack.number}  {verdict.attack.title} ({verdict.way})"
            word = screen.painted(f"{outcome:7}", COLOURS[outcome])
            print(f"{word} {name}{': ' if why else ''}{why}", flush=True)

    def end(self) -> None:
        """Print why attacks were skipped, or the document."""
        if self._results is not None:
            counts = {outcome.lower(): count for outcome, count in self.counts.items()}
            screen.print_json({"counts": counts, "results": self._results})
        for reason in sorted(self._reasons):
            print(f"skipped {reason}")
