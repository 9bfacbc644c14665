# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi inject: what the runtime would make of a config.json, without a container.

The road is that of a create in the mode cdi.  Ring: elsewhere.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
import stat
import sys

from plumbum import cli

from nvidia_runtime import document, start
from nvidia_runtime.admission import request
from nvidia_runtime.cli import files
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.compile import config, snapshot
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import edit
from nvidia_runtime.sources import specs
from nvidia_runtime.store.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

MINIMAL: Document = {
    "ociVersion": "1.3.0",
    "process": {"cwd": "/", "args": ["sh"], "env": ["PATH=/usr/bin:/bin"]},
    "root": {"path": "rootfs"},
}
COLOURS = {"+": "32", "-": "31", "@": "36"}


class Inject(WithSpecDirs):
    """Show what CDI devices do to a container's config.json; no file is changed."""

    devices = cli.SwitchAttr(
        ["--device"],
        str,
        list=True,
        mandatory=True,
        help="a device, qualified or of the default kind; may be a list with commas",
    )
    spec = cli.SwitchAttr(["--spec"], str, "", help="a config.json, - is stdin; else a minimal one")
    output = cli.SwitchAttr(["--output"], str, "", help="the file to write the result to")
    format = cli.SwitchAttr(
        ["--format"], cli.Set("diff", "json", case_sensitive=True), "diff", help="diff or json"
    )

    def settings(self) -> config.Settings:
        """Read config.toml; a broken one stops a create, and so us."""
        path = self.config_path()
        values, warnings = config.load(path)
        config.check_ldconfig(values, path)
        for warning in warnings:
            self.warn(warning)
        return values

    def main(self) -> int:
        """Print the difference or the result, or write the result."""
        names = tuple(name for given in self.devices for name in given.split(",") if name)
        before = _read_spec(self.spec)
        after = _inject(names, before, self._compiled(), _path(self.spec))
        if self.output:
            files.write(self.output, _text(after).encode(), _mode(self.output))
            self.tell(f"wrote {self.output}")
        elif self.format == "json":
            print(_text(after), end="")
        else:
            _print_difference(before, after, _path(self.spec))
        return 0

    def _compiled(self) -> Snapshot:
        """Compile for this call alone: what has no absolute path is kept nowhere."""
        values = self.settings()
        values[snapshot.SPEC_DIRS] = self.spec_dirs()
        known = snapshot.settings("")
        known.settings = values
        return snapshot.registry(known)


def _inject(devices: tuple[str, ...], spec: Document, known: Snapshot, path: str) -> Document:
    """Return the spec that the low-level runtime would be given."""
    edited = copy.deepcopy(spec)
    names = request.qualify(devices, known.settings[request.DEFAULT_KIND])
    sources = specs.sources(names, known)
    edit.remove_hooks(edited, start.HOOKS, path)
    for source in sources:
        specs.fill_nodes(source.edits, source.origin)
    edit.apply(edited, [source.edits for source in sources], path)
    return edited


def _path(spec: str) -> str:
    return files.name(spec) if spec else "config.json"


def _read_spec(path: str) -> Document:
    if not path:
        return copy.deepcopy(MINIMAL)
    spec = document.loads(files.read(path), files.name(path))
    if not isinstance(spec, dict):
        what = f"must be a JSON object, not {document.kind(spec)}"
        raise NvidiaRuntimeError(what, files.name(path))
    return spec


def _text(spec: Document) -> str:
    return json.dumps(spec, indent=2, ensure_ascii=False) + "\n"


def _mode(path: str) -> int:
    """Keep the mode of a file that is replaced: a config.json may hold secrets."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, ValueError):
        return 0o644


def _print_difference(before: Document, after: Document, path: str) -> None:
    old, new = _text(before).splitlines(), _text(after).splitlines()
    is_coloured = sys.stdout and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in difflib.unified_diff(old, new, path, f"{path} with devices", lineterm=""):
        colour = COLOURS.get(line[:1]) if is_coloured else None
        print(f"\033[{colour}m{line}\033[0m" if colour else line)
