# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi transform root: a CDI spec with other paths."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import yaml

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cdi import transform
from nvidia_runtime.cli import files
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.errors import NvidiaRuntimeError

# A text that every version of YAML reads as a string.
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/_.+=-]*")
WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


class Root(Command):
    """nvidia-ctk cdi transform root."""

    table = tables.ROOT
    old: str
    new: str
    relative_to: str
    input: str
    output: str

    def main(self) -> int:
        """Print the new spec, or write it to a file."""
        if self.relative_to not in transform.RELATIVE_TO:
            what = f"invalid --relative-to value: {self.relative_to!r}"
            raise NvidiaRuntimeError(what, hint="it is 'host' or 'container'")
        source = self.input or files.STDIN
        spec = cdi_spec.parse(files.read(source), files.name(source))
        moved = transform.root(spec, self.old, self.new, self.relative_to)
        if moved["cdiVersion"] != spec["cdiVersion"]:
            change = f"from {spec['cdiVersion']} to {moved['cdiVersion']}"
            self.tell(f"raised cdiVersion {change}, for hostPath in device nodes")
        if self.output:
            path = _named(self.output)
            files.write(path, _text(moved, path).encode())
        else:
            print(_text(moved, ""), end="")
        return 0


def _named(path: str) -> str:
    """Return the name of the file to write, with .yaml unless it shows the format."""
    is_special = os.path.exists(path) and not os.path.isfile(path)
    return path if is_special or path.endswith((".json", ".yaml", ".yml")) else f"{path}.yaml"


def _text(spec: cdi_spec.Spec, path: str) -> str:
    if path.endswith(".json"):
        return json.dumps(spec, indent=2) + "\n"
    return "---\n" + yaml.dump(spec, Dumper=_Dumper, sort_keys=False, width=1000)


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, with quotes that readers of other YAML versions need."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write equal values in full each time, so that they can be edited separately."""
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = PLAIN.fullmatch(text) and text.lower() not in WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _quoted)
