# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi generate: the CDI spec of this machine.  Ring: elsewhere."""

from __future__ import annotations

import os
import sys

from plumbum import cli

from nvidia_runtime.cli.generation import PREFIX, Generating
from nvidia_runtime.compile import config, written
from nvidia_runtime.compile import snapshot as compile
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import coherence, machine, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.generate.options import Generated, Options


class Generate(Generating):
    """Generate the CDI spec of this machine: its GPUs, and the files of its driver."""

    output = cli.SwitchAttr(
        ["--output"],
        str,
        "",
        envname="NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",
        help="the file to write, .yaml or .json; else stdout [$NVIDIA_CTK_CDI_OUTPUT_FILE_PATH]",
    )
    format = cli.SwitchAttr(
        ["--format"],
        str,
        "",
        envname=f"{PREFIX}OUTPUT_FORMAT",
        help=f"yaml, which is the default, or json [${PREFIX}OUTPUT_FORMAT]",
    )

    def main(self) -> int:
        """Print the spec, or write it."""
        form = self._form()
        options = self.options()
        made = machine.generate(options)
        self._report(made)
        specs = coherence.split(made.spec, options)
        if self.output:
            self._write(specs, form, options)
        else:
            for spec in specs.values():
                sys.stdout.write(output.encode(spec, f"stdout.{form}").decode())
        self.tell(f"Generated CDI spec with version {specs['']['cdiVersion']}")
        return 0

    def _form(self) -> str:
        """Return the format that is asked for, "" if none is."""
        form = self.format.lower()
        if form and form not in output.FORMATS:
            what = f"unknown format {self.format!r}"
            raise NvidiaRuntimeError(what, hint=f"formats are {' and '.join(output.FORMATS)}")
        return form

    def _report(self, made: Generated) -> None:
        """Say what is odd, and which devices had to be left out."""
        for warning in made.warnings:
            self.warn(warning)
        for problem in dict.fromkeys(made.problems.values()):
            self.warn(f"left out: {problem}")

    def _write(self, specs: dict[str, coherence.Spec], form: str, options: Options) -> None:
        """Write each spec, in the format that the file's name says."""
        implied = output.format_of(self.output)
        if form and implied and form != implied:
            self.warn(f"the format is {implied}, as the name of the file says, not {form}")
        path = output.name_file(self.output, form or output.FORMATS[0])
        stem, _, extension = path.rpartition(".")
        for suffix, spec in specs.items():
            name = f"{stem}.{suffix}.{extension}" if suffix else path
            data = output.encode(spec, name)
            output.write(name, data)
            self.debug(f"wrote {os.path.abspath(name)}")
            if len(specs) == 1 and is_spec_dir(os.path.dirname(os.path.abspath(name))):
                written.remember(name, data, options)


def is_spec_dir(folder: str) -> bool:
    """Whether the runtime reads specs from a folder: only there it has to know which are ours."""
    from nvidia_runtime.store import files  # where config.toml is

    try:
        settings = config.load(files.config_path())[0]
    except NvidiaRuntimeError:
        settings = config.defaults()
    return os.path.realpath(folder) in [
        os.path.realpath(each) for each in settings[compile.SPEC_DIRS]
    ]
