# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk selftest: try known attacks on this installation, in a scratch folder."""

from __future__ import annotations

import os
import sys

from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError

HOOK = "nvidia-cdi-hook"


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
        counts = {"ok": 0, "FAILED": 0, "skipped": 0}
        reasons: set[str] = set()
        for result in suite.run(folder, attacks):
            outcome = "skipped" if result.skipped else "FAILED" if result.complaints else "ok"
            counts[outcome] += 1
            if result.skipped and not self.verbose:
                reasons.add(f"{result.way}: {result.skipped}")
                continue
            why = result.skipped or "; ".join(result.complaints)
            name = f"{result.attack.number}  {result.attack.title} ({result.way})"
            print(f"{outcome:7} {name}{': ' if why else ''}{why}", flush=True)
        for reason in sorted(reasons):
            print(f"skipped {reason}")
        self.tell(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        return 1 if counts["FAILED"] else 0

    def _folder(self) -> str:
        """Return the folder of the programs to test."""
        folder = os.path.abspath(self.programs or os.path.dirname(os.path.abspath(sys.argv[0])))
        if os.access(f"{folder}/{HOOK}", os.X_OK):
            return folder
        raise NvidiaRuntimeError(f"there is no {HOOK}", where=folder, hint="see --programs")
