# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi files: what to bind, link and cache, for those that are no OCI runtime."""

from __future__ import annotations

import sys

from nvidia_runtime.admission import capabilities, request
from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.cli.cdi import file_forms, file_list
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import platform
from nvidia_runtime.sources import capability_files, find, machine, specs
from nvidia_runtime.store import files as state
from nvidia_runtime.store.snapshot import CAPABILITIES, SPEC_DIRS, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.compile.config import Settings
    from nvidia_runtime.store.lines import Source


class Files(WithSpecDirs):
    """nvidia-ctk cdi files."""

    table = tables.FILES
    capabilities: str
    only: list[str]
    format: str

    def main(self, *devices: str) -> int:
        """Print the files of the devices, by default all of this machine's."""
        kinds = set(_kinds(self.only))
        if self.format == "apptainer":  # there a link is another bind of what it leads to
            kinds |= {file_list.LINKS, file_list.FOLDERS}
        ids = tuple(name for given in devices for name in given.split(",") if name) or ("all",)
        names = request.qualify(ids, find.MACHINE)
        compiled = compiler.settings(self.config_path())
        warnings = list(compiled.warnings)
        sources = self._sources(names, compiled, warnings)
        if self.capabilities:
            sources = _limit(sources, self.capabilities, compiled.settings, warnings)
        for warning in warnings:
            self.warn(warning)
        listed = file_list.read(sources, state.state_folder()).of(kinds)
        if self.format == "json":
            sys.stdout.write(file_forms.dumps(listed))
        for line in file_forms.FORMS[self.format](listed) if self.format != "json" else ():
            print(line)
        return 0

    def _sources(
        self, names: tuple[str, ...], compiled: Snapshot, warnings: list[str]
    ) -> list[Source]:
        """Return the edits for names of this machine, and for those of CDI specs."""
        beginning = f"{find.MACHINE}="
        own = tuple(name[len(beginning) :] for name in names if name.startswith(beginning))
        others = tuple(name for name in names if not name.startswith(beginning))
        sources: list[Source] = []
        if own:
            admitted = Admitted(own, "the command line")
            admitted.mode = platform.mode() or machine.platform(compiled)
            compiled.settings[machine.CAPABILITIES] = "all"  # limited below
            sources += machine.sources(own, admitted, {}, compiled)
            warnings += admitted.warnings
        if others:
            unstored = compiler.settings("")
            unstored.settings = {**compiled.settings, SPEC_DIRS: self.spec_dirs()}
            registered = specs.sources(others, compiler.registry(unstored))
            sources += specs.judge(registered, warnings)
            warnings += specs.doubts(registered)
        return sources


def _limit(
    sources: list[Source], wanted: str, settings: Settings, warnings: list[str]
) -> list[Source]:
    """Leave out the driver's files of capabilities that are not asked for."""
    supported = settings[CAPABILITIES]
    chosen = capabilities.choose(wanted, supported, legacy_image=False)
    if chosen.unsupported:
        warnings.append(capabilities.warning(chosen.unsupported, supported))
    return capability_files.limit_to(sources, chosen.granted)


def _kinds(given: list[str]) -> tuple[str, ...]:
    kinds = tuple(kind for text in given for kind in text.split(",") if kind)
    for kind in kinds:
        if kind not in file_list.KINDS:
            hint = f"kinds are {', '.join(file_list.KINDS)}"
            raise NvidiaRuntimeError(f"unknown kind {kind!r}", hint=hint)
    return kinds or file_list.KINDS
