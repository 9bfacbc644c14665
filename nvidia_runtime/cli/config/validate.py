# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config validate: all that a create says of a config.toml."""

from __future__ import annotations

from nvidia_runtime.cli import files, findings
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.cli.tables import config as tables
from nvidia_runtime.compile import config
from nvidia_runtime.doctor.installation import judgement
from nvidia_runtime.errors import NvidiaRuntimeError


class Validate(Configured):
    """nvidia-ctk config validate."""

    table = tables.VALIDATE
    format: str

    def main(self, file: str = "") -> int:
        """Print the findings on stdout and their number on stderr; return 1 if one is an error."""
        path = file or self.config_path()
        name = files.name(path)
        results = [_finding(said, name) for said in _judge(path, name, must_exist=bool(file))]
        errors = findings.show(results, [name], as_json=self.format == "json")
        self.tell(
            f"checked {name}: {findings.counted(errors, 'error')}, "
            f"{findings.counted(len(results) - errors, 'warning')}"
        )
        return 1 if errors else 0


def _finding(said: judgement.Sentence, name: str) -> Finding:
    """Return a sentence as a finding, whose place need not be said twice."""
    message = said.message.removeprefix(f"{said.key} ")
    return Finding(severity=said.severity, file=name, path=said.key, message=message)


def _judge(path: str, name: str, *, must_exist: bool) -> list[judgement.Sentence]:
    """Judge a file; without the one that is read by default, its defaults."""
    try:
        is_stdin = path == files.STDIN
        text = config.text_of(files.read(path), name) if is_stdin else config.read(path)
    except FileNotFoundError:
        if must_exist:
            raise NvidiaRuntimeError("there is no such config.toml", path) from None
        text = ""
    except NvidiaRuntimeError as error:
        return [judgement.of_error("", error)]
    return judgement.of_file(name, text)
