# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi inject: what the runtime in cdi mode would make of a config.json."""

from __future__ import annotations

import copy
import difflib
import json
import os
import stat

from nvidia_runtime import document, log, start
from nvidia_runtime.admission import request
from nvidia_runtime.cli import files, screen
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.compile import config, snapshot
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import edit
from nvidia_runtime.sources import specs
from nvidia_runtime.store.snapshot import SPEC_DIRS, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

MINIMAL: Document = {
    "ociVersion": "1.3.0",
    "process": {"cwd": "/", "args": ["sh"], "env": ["PATH=/usr/bin:/bin"]},
    "root": {"path": "rootfs"},
}
COLOURS = {"+": screen.GREEN, "-": screen.RED, "@": screen.CYAN}


class Inject(WithSpecDirs):
    """nvidia-ctk cdi inject."""

    table = tables.INJECT
    devices: list[str]
    spec: str
    output: str
    format: str

    def settings(self) -> config.Settings:
        """Read config.toml; an invalid one is an error, as for a create."""
        path = self.config_path()
        values, warnings = config.load(path)
        config.check_ldconfig(values, path)
        for warning in warnings:
            self.warn(warning)
        return values

    def main(self) -> int:
        """Print the difference, or print or write the result."""
        names = tuple(name for given in self.devices for name in given.split(",") if name)
        before = _read_spec(self.spec)
        warnings: list[str] = []
        after = _inject(names, before, self._compiled(), _path(self.spec), warnings)
        for warning in warnings:
            self.warn(warning)
        if self.output:
            files.write(self.output, _text(after).encode(), _mode(self.output))
            self.tell(f"wrote {self.output}")
        elif self.format == "json":
            print(_text(after), end="")
        else:
            _print_difference(before, after, _path(self.spec))
        return 0

    def _compiled(self) -> Snapshot:
        """Return a snapshot for this call: without an absolute path it is not stored."""
        settings = self.settings()
        settings[SPEC_DIRS] = self.spec_dirs()
        compiled = snapshot.settings("")
        compiled.settings = settings
        return snapshot.registry(compiled)


def _inject(
    devices: tuple[str, ...], spec: Document, compiled: Snapshot, path: str, warnings: list[str]
) -> Document:
    """Return the config.json that the low-level runtime would get."""
    edited = copy.deepcopy(spec)
    names = request.qualify(devices, compiled.settings[request.DEFAULT_KIND])
    sources = specs.judge(specs.sources(names, compiled), warnings)
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
    """Return a document for people; what a terminal would obey is an escape of JSON."""
    text = json.dumps(spec, indent=2, ensure_ascii=False) + "\n"
    odd = {letter for letter in set(text) if not letter.isprintable()} - {"\n"}
    return text.translate({ord(letter): json.dumps(letter)[1:-1] for letter in odd})


def _mode(path: str) -> int:
    """Return the mode of a file that is replaced: a config.json may contain secrets."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, ValueError):
        return 0o644


def _print_difference(before: Document, after: Document, path: str) -> None:
    old, new = _text(before).splitlines(), _text(after).splitlines()
    path = log.shown(path)
    for line in difflib.unified_diff(old, new, path, f"{path} with devices", lineterm=""):
        print(screen.painted(line, COLOURS.get(line[:1], "")))
