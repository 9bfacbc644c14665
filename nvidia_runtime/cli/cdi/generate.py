# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi generate: the CDI spec of this machine."""

from __future__ import annotations

import os
import sys

from nvidia_runtime.cli.generation import Generating
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import coherence, entries, machine, output
from nvidia_runtime.store.snapshot import SPEC_DIRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.generate.options import Generated, Options


class Generate(Generating):
    """nvidia-ctk cdi generate."""

    table = tables.GENERATE
    output: str
    format: str

    def main(self) -> int:
        """Print the spec, or write it."""
        form = self._form()
        options = self.options()
        generated = machine.generate(options)
        self._report(generated)
        specs = coherence.split(generated.spec, options)
        if self.output:
            self._write(specs, form, options)
        else:
            for spec in specs.values():
                sys.stdout.write(output.encode(spec, f"stdout.{form}").decode())
        self.tell(f"Generated CDI spec with version {specs['']['cdiVersion']}")
        return 0

    def is_for_engines(self) -> bool:
        """Whether the spec is written where engines, or the runtime, read it."""
        return bool(self.output) and (
            _is_in(self.output, config.DEFAULTS[SPEC_DIRS]) or is_in_spec_dir(self.output)
        )

    def _form(self) -> str:
        """Return the requested format, "" if there is none."""
        form = self.format.lower()
        if form and form not in output.FORMATS:
            what = f"unknown format {self.format!r}"
            raise NvidiaRuntimeError(what, hint=f"formats are {' and '.join(output.FORMATS)}")
        return form

    def _report(self, generated: Generated) -> None:
        """Print the warnings, and the devices that are left out."""
        for warning in generated.warnings:
            self.warn(warning)
        for problem in dict.fromkeys(generated.problems.values()):
            self.warn(f"left out: {problem}")
        if self.lost and entries.has_grouped(generated.spec):
            self.warn(self.lost)

    def _write(self, specs: dict[str, coherence.Spec], form: str, options: Options) -> None:
        """Write each spec in the format of its file name."""
        implied = output.format_of(self.output)
        if form and implied and form != implied:
            self.warn(f"the format is {implied}, by the name of the file, not {form}")
        path = output.name_file(self.output, form or output.FORMATS[0])
        for name, spec in by_file(specs, path).items():
            data = output.encode(spec, name)
            output.write(name, data)
            self.debug(f"wrote {os.path.abspath(name)}")
            if len(specs) == 1 and is_in_spec_dir(name):
                from nvidia_runtime.compile import written  # digests and JSON

                written.remember(name, data, options)


def by_file(specs: dict[str, coherence.Spec], path: str) -> dict[str, coherence.Spec]:
    """Return the specs by the files to write: one for each kind of GPU, beside the first."""
    stem, _, extension = path.rpartition(".")
    return {
        f"{stem}.{suffix}.{extension}" if suffix else path: spec for suffix, spec in specs.items()
    }


def is_in_spec_dir(path: str) -> bool:
    """Whether the runtime reads a file: only then it must know that the file is ours."""
    from nvidia_runtime.store import files  # the path of config.toml

    try:
        settings = config.compiled(files.config_path())
    except NvidiaRuntimeError:
        settings = config.defaults()
    return _is_in(path, settings[SPEC_DIRS])


def _is_in(path: str, folders: Iterable[str]) -> bool:
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    return folder in map(os.path.realpath, folders)
