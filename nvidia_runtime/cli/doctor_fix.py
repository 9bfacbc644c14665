# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk doctor --fix and --undo: what is safe is done after a question, and taken back."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from nvidia_runtime.cli import ourselves
from nvidia_runtime.doctor import mending
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.cli.command import Command
    from nvidia_runtime.doctor.finding import Finding, Fix

SECONDS = 60
PROGRAM = "nvidia-ctk"


class Mender:
    """Mends what a doctor has found; ``command`` is the call of which it is a part."""

    def __init__(self, command: Command, *, is_sure: bool) -> None:
        self._command = command
        self._is_sure = is_sure

    def mend(self, findings: list[Finding]) -> bool:
        """Mend all that can be, one after the other; whether something was done."""
        fixes = list(mending.wanted(findings))
        if not fixes:
            self._command.tell("there is nothing that --fix can mend")
        is_done = False
        for finding, fix in fixes:
            if not self._is_wanted(finding, fix):
                continue
            try:
                mending.mend(finding, fix, self._run)
            except NvidiaRuntimeError as error:
                self._command.warn(f"{finding.code.id} is not mended: {error}")
                continue
            self._command.tell(f"{finding.code.id}: done: {_line(fix.words)}")
            is_done = True
        return is_done

    def undo(self) -> int:
        """Undo all that was mended; return the exit code."""
        undone, changed = mending.undo(self._run)
        for entry in undone:
            self._command.tell(f"{entry.code}: undone: {_line(entry.words)}")
        for path in changed:
            self._command.warn(f"{path}: was changed since, and is left as it is")
        if not undone:
            self._command.tell("there is nothing to undo")
        return 1 if changed else 0

    def _is_wanted(self, finding: Finding, fix: Fix) -> bool:
        """Ask on the terminal; without one the answer is no."""
        line = _line(fix.words)
        if self._is_sure:
            return True
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            self._command.tell(f"{finding.code.id}: --yes would run: {line}")
            return False
        sys.stderr.write(f"{finding.code.id}: {finding.code.title}\nrun {line}? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _run(self, words: tuple[str, ...]) -> None:
        """Call nvidia-ctk; what it prints goes to stderr, since stdout is doctor's."""
        try:
            process = subprocess.run(
                [*ourselves.command(self._command.root_app), *words],
                stdin=subprocess.DEVNULL,
                stdout=2,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            what = f"'{_line(words)}' takes longer than {SECONDS} s"
            raise NvidiaRuntimeError(what) from None
        if process.returncode:
            what = f"'{_line(words)}' ended with exit code {process.returncode}"
            raise NvidiaRuntimeError(what)


def _line(words: tuple[str, ...]) -> str:
    return shlex.join((PROGRAM, *words))
