# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk report: one archive for the report of a problem, without what is nobody's business."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from nvidia_runtime.cli import ourselves, screen
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.tables import doctor as tables
from nvidia_runtime.compile import config
from nvidia_runtime.engines import program
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.report import archive, contents, masking

# What we say of this machine, each asked in a process of its own.
CONTAINERS = "containers.json"
DOCUMENTS = {
    CONTAINERS: "explain --json",  # first, for the names in it
    "doctor.json": "doctor --json",
    "info.json": "info --json",
    "engines.json": "runtime status --json",
    "devices.json": "cdi list --json",
    "settings.json": "config explain --json",
    "snapshot.json": "snapshot show --json",
}
SECONDS = 20
STDOUT = "-"


class Report(Configured):
    """nvidia-ctk report."""

    table = tables.REPORT
    output: str
    format: str

    def main(self) -> int:
        """Collect, mask and write."""
        path = self.config_path()
        report = archive.Report(masking.of_this_machine())
        with screen.Progress("collecting", quiet=self.is_quiet) as progress:
            report.learn(contents.records())
            for name, line in DOCUMENTS.items():
                progress.text = f"nvidia-ctk {line}"
                self._add(report, name, line, path)
            progress.text = "collecting files"
            for part in contents.parts(self._settings(path), path):
                report.add(part)
        return self._write(report)

    def _settings(self, path: str) -> config.Settings:
        try:
            return config.load(path)[0]
        except NvidiaRuntimeError:  # doctor says what is wrong with them
            return config.defaults()

    def _add(self, report: archive.Report, name: str, line: str, path: str) -> None:
        """Add what one of our commands says of this machine."""
        words = [*ourselves.command(self.root_app), *line.split()]
        variables = {"NVIDIA_CTK_CONFIG_FILE_PATH": path}
        source = f"nvidia-ctk {line}"
        answer = program.ask(words, variables, seconds=SECONDS)
        try:
            document = json.loads(answer.out)
        except ValueError:
            said = report.masker.text(answer.err.strip() or answer.problem)
            report.left_out[name] = f"{source}: {said or 'says nothing'}"
            return
        if name == CONTAINERS:
            report.learn_containers(document)
        report.add_document(name, source, document)

    def _write(self, report: archive.Report) -> int:
        data = report.packed()
        if self.output == STDOUT:
            sys.stdout.buffer.write(data)
            return 0
        name = self.output or time.strftime("nvidia-report-%Y%m%d-%H%M%S.tar.gz")
        path = os.path.abspath(name)
        archive.write(path, data)
        if self.format == "json":
            screen.print_json(summary(path, report))
            return 0
        print(path)
        self.tell(f"look through it before you send it: tar -xzf {name}, then {archive.INDEX}")
        return 0


def summary(path: str, report: archive.Report) -> dict[str, Any]:
    """Return what is in a report as a document for programs."""
    return {
        "file": path,
        "contents": dict(sorted(report.sources.items())),
        "left_out": dict(sorted(report.left_out.items())),
        "masked": report.masker.counts,
    }
