# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk doctor: whether containers get their GPUs here, and what stands in the way."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.tables import doctor as tables
from nvidia_runtime.cli.tables.table import paragraphs
from nvidia_runtime.doctor import examination, subject, verdict
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Finding, Fine, Skipped
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.log import shown

if TYPE_CHECKING:
    from nvidia_runtime.cli import doctor_fix
    from nvidia_runtime.doctor.finding import Code, Said

    Answers = dict[str, list[Said]]

COLOURS = {ERROR: screen.RED, WARNING: screen.YELLOW, NOTE: screen.CYAN}
PREFIX = "NCT-"
INDENT = "  "
# Areas of which each thing has a line.
LISTED = ("trial",)


class Doctor(Configured):
    """nvidia-ctk doctor."""

    table = tables.DOCTOR
    everything: bool
    format: str
    mends: bool
    is_sure: bool
    undoes: bool
    trying: bool

    def main(self, code: str = "") -> int:
        """Examine this machine, with --try by a container of an engine, or explain a code."""
        if code and not self.trying:
            print("\n".join(explanation(of_id(code))))
            return 0
        if self.undoes:
            return self._mender().undo()
        if self.trying:
            from nvidia_runtime.cli import doctor_trial  # engines' modules cost 50 ms

            doctor_trial.check_name(code)
        answers = self._examine()
        if self.mends and self._mender().mend(verdict.findings(everything(answers))):
            answers = self._examine()
        if self.trying:
            with screen.Progress("trying", quiet=self.is_quiet) as progress:
                answers |= doctor_trial.answers(self._machine(), code, progress)
        if self.format == "json":
            screen.print_json(document(answers))
        else:
            print("\n".join(text(answers, is_whole=self.everything)))
        return verdict.exit_code(verdict.findings(everything(answers)))

    def _examine(self) -> Answers:
        machine = self._machine()
        with screen.Progress("looking", quiet=self.is_quiet) as progress:

            def tell(step: str) -> None:
                progress.text = f"looking at {step}"

            return examination.examine(machine, tell)

    def _machine(self) -> subject.Subject:
        is_debugging = bool(getattr(self.root_app, "debugging", False))
        return subject.of(self.config_path(), is_debugging=is_debugging)

    def _mender(self) -> doctor_fix.Mender:
        from nvidia_runtime.cli import doctor_fix  # only where it is asked for

        return doctor_fix.Mender(self, is_sure=self.is_sure)


def everything(answers: Answers) -> list[Said]:
    """Return what all areas say, in their order."""
    return [one for area in answers.values() for one in area]


def of_id(word: str) -> Code:
    """Return a code by its id; letters may be small, and the beginning may be left out."""
    codes = examination.codes()
    code = codes.get(PREFIX + word.upper().removeprefix(PREFIX).rjust(4, "0"))
    if code is None:
        hint = "the manual page nvidia-container-codes(7) lists all"
        raise NvidiaRuntimeError(f"there is no code {word!r}", hint=hint)
    return code


def explanation(code: Code) -> list[str]:
    """Return all about a code, as lines."""
    from nvidia_runtime.cli import help as texts  # for its line breaks

    lines = [f"{code.id}  {code.title} ({code.severity})"]
    for paragraph in (*paragraphs(code.cause), *paragraphs(code.remedy)):
        lines += ["", *texts.wrapped(paragraph, 0)]
    return lines


def document(answers: Answers) -> dict[str, Any]:
    """Return what was said as a document for programs."""
    said = everything(answers)
    listed = verdict.findings(said)
    return {
        "verdict": verdict.sentence(said),
        "engines": verdict.by_engine(said),
        "findings": [_finding(finding) for finding in listed],
        "fine": _texts(answers, Fine),
        "skipped": [
            {"area": area, "what": one.what, "why": one.why}
            for area, ones in answers.items()
            for one in ones
            if isinstance(one, Skipped)
        ],
    }


def _texts(answers: Answers, kind: type[Fine]) -> dict[str, list[str]]:
    return {
        area: [one.what for one in ones if isinstance(one, kind)] for area, ones in answers.items()
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code.id,
        "severity": finding.weight,
        "title": finding.code.title,
        "what": finding.what,
        "where": finding.where,
        "cause": " ".join(paragraphs(finding.code.cause)),
        "next": finding.command,
        "engine": finding.engine,
        "fix": asdict(finding.fix) if finding.fix else None,
    }


def text(answers: Answers, *, is_whole: bool) -> list[str]:
    """Return what was said as lines: the verdict, findings, and a line for each area."""
    said = everything(answers)
    lines = [verdict.sentence(said)]
    for finding in verdict.findings(said):
        lines += ["", *_lines(finding)]
    lines.append("")
    width = max(map(len, answers)) + 2
    for area, ones in answers.items():
        fine = [one for one in ones if isinstance(one, Fine) and (is_whole or one.is_main)]
        listed = [shown(one.what) for one in fine]
        is_list = is_whole or area in LISTED
        joined = listed if is_list else ["; ".join(listed)] if listed else []
        for number, line in enumerate(joined):
            lines.append((area if not number else "").ljust(width) + line)
    for ones in answers.values():
        for one in ones:
            if isinstance(one, Skipped):
                lines.append(f"not looked at: {shown(one.what)} ({shown(one.why)})")
    return lines


def _lines(finding: Finding) -> list[str]:
    head = screen.painted(f"{finding.weight} {finding.code.id}:", COLOURS[finding.weight])
    lines = [f"{head} {finding.code.title}", f"{INDENT}{shown(finding.what)}"]
    if finding.where:
        lines.append(f"{INDENT}where  {shown(finding.where)}")
    if finding.command:
        lines.append(f"{INDENT}next   {shown(finding.command)}")
    return lines
