# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk selftest: try attacks on this installation, in a scratch folder.  Ring: elsewhere."""

from __future__ import annotations

import os
import sys

from plumbum import cli

from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError

HOOK = "nvidia-cdi-hook"


class Selftest(Command):
    """Try what hostile images have tried; only a scratch folder below /tmp is touched."""

    security = cli.Flag(["--security"], help="try attacks, and say what came of each")
    only = cli.SwitchAttr(["--only"], str, "", help="only attacks whose name begins so: T04, say")
    programs = cli.SwitchAttr(
        ["--programs"], str, "", help="the folder of nvidia-cdi-hook; by default nvidia-ctk's own"
    )
    verbose = cli.Flag(["--all", "-a"], help="list what was skipped, attack by attack, too")

    def main(self) -> int:
        """Print a line for each attack and way; exit 1 if one of them was not held off."""
        if not self.security:
            raise NvidiaRuntimeError("nothing to try is named", hint="try --security")
        from nvidia_runtime.selftest import attack, suite  # TOML, which other help spares

        attacks = [one for one in attack.read_all() if one.name.startswith(self.only)]
        if not attacks:
            known = ", ".join(sorted({one.number for one in attack.read_all()}))
            raise NvidiaRuntimeError(f"no attack is named {self.only!r}", hint=f"there are {known}")
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
        """Return the folder of the programs that are to be tried."""
        folder = os.path.abspath(self.programs or os.path.dirname(os.path.abspath(sys.argv[0])))
        if os.access(f"{folder}/{HOOK}", os.X_OK):
            return folder
        raise NvidiaRuntimeError(f"there is no {HOOK}", where=folder, hint="see --programs")
