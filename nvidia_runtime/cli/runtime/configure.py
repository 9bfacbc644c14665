# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime configure: tell an engine of our programs."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime import start
from nvidia_runtime.cli import files
from nvidia_runtime.cli.engine_flags import EngineCommand
from nvidia_runtime.cli.tables import runtime as tables
from nvidia_runtime.engines import (
    apply,
    effect,
    native_cdi,
    oci_hook,
    processes,
    running,
    supported,
    write,
)
from nvidia_runtime.engines.runtimes import PROGRAM
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lowlevel

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Intent
    from nvidia_runtime.engines.running import Running

HOOK_MODES = ("oci-hook", "hook")
FILE_MODES = ("", "config-file", "config")
FILE = "file"
COMMAND = "command"


class Configure(EngineCommand):
    """nvidia-ctk runtime configure."""

    table = tables.CONFIGURE
    mode: str
    source: str
    output: str
    program: str
    hook: str
    is_default: bool
    cdi: bool

    def main(self, *_words: str) -> int:
        """Change the files, or show the changes."""
        if self.mode in HOOK_MODES:
            return self._write_hook()
        self.check()
        self._check_source()
        daemon = self.daemon()
        if self.advise(daemon):
            return 0
        self._check_flags(daemon)
        restartable = self.restartable(daemon)
        engine = self.engine
        intent, said = self._found(self.intent(daemon, self.program), daemon)
        intent = replace(
            intent,
            cdi=self._is_cdi_meant(daemon),
            by_command=self.source == COMMAND and engine.prints_configuration,
        )
        # A run without the flag leaves the default as it is.
        is_default = bool(self.is_default) or effect.is_default(engine, intent)
        intent = replace(intent, is_default=is_default)
        if self.is_dry:
            self.show(effect.planned(engine, intent))
            return 0
        with write.locked(intent.config):
            plan = effect.planned(engine, intent)
            written = apply.configure(engine, intent, plan, self.warn)
        self._warn(said, daemon)
        self.report(plan, written, restartable)
        self._say_how(intent, daemon)
        return 0

    def _say_how(self, intent: Intent, daemon: Running | None) -> None:
        """Say how containers ask for GPUs now, and what the engine makes of CDI names."""
        cdi = ""
        if daemon:
            setting = effect.summary(self.engine, daemon.config, daemon.version).cdi
            cdi = native_cdi.note(self.engine, daemon.version, setting)
        for text in filter(None, (self.engine.usage(intent, daemon.pid if daemon else 0), cdi)):
            self.tell(text)

    def _check_flags(self, daemon: Running | None) -> None:
        """Refuse what would keep the daemon from starting; warn of what its flag overrules."""
        if not daemon or not daemon.default or not self.is_default:
            return
        what = f"{self.runtime} is started with {self.engine.default_flags[0]}={daemon.default}"
        hint = f"take the flag out of its service first: 'systemctl edit --full {self.runtime}'"
        if self.engine.refuses_both:
            what += ", and does not start again when its file says the same"
            raise NvidiaRuntimeError(what, hint=hint)
        self.warn(f"{what}, which counts more than its files; {hint}")

    def _warn(self, said: str, daemon: Running | None) -> None:
        """Warn of a program, and of an engine, that is not there; name engines that are."""
        if said:
            self.warn(said)
        if daemon or self.config or self.engine_program:
            return
        others = [name for name, engine in supported.ENGINES.items() if running.find(engine)]
        here = f"; --runtime={' or '.join(others)} is" if others else ""
        self.warn(f"{self.runtime} is not on this machine{here}")

    def _is_cdi_meant(self, daemon: Running | None) -> bool:
        """Whether to switch CDI on; warn of a version that has none."""
        if not self.cdi or not daemon or not native_cdi.is_too_old(self.engine, daemon.version):
            return bool(self.cdi)
        version = ".".join(map(str, daemon.version))
        self.warn(f"{self.runtime} {version} has no CDI; the flag changes nothing")
        return False

    def _found(self, intent: Intent, daemon: Running | None) -> tuple[Intent, str]:
        """Take the runtime beside us where nobody named one and the usual one is missing.

        The other value is a warning.  What was named and is missing may come later; until then an
        engine of this machine would start no container with it as the default.
        """
        search = processes.search_path(daemon.pid if daemon else 0)
        if shutil.which(intent.program, path=search):
            return intent, ""
        own = _own(PROGRAM)
        if own and self.program == PROGRAM:
            place = f"in {self.runtime}'s PATH" if self.engine.looks_in_path else "on this machine"
            return replace(intent, program=own), f"{intent.program} is not {place}; {own} is named"
        what = _missing(intent.program, own, "--nvidia-runtime-path")
        if self.is_default and daemon and not self.is_dry:
            hint = "install it first, or leave --set-as-default out"
            raise NvidiaRuntimeError(f"{what}: no container would start", hint=hint)
        return intent, what

    def _check_source(self) -> None:
        if self.mode not in FILE_MODES:
            self.warn(f"{self.runtime} has no --config-mode={self.mode}; its files are edited")
        if not self.name:
            raise NvidiaRuntimeError("invalid --nvidia-runtime-name: ''")
        if self.source not in (FILE, COMMAND):
            what = f"invalid --config-source: {self.source!r}"
            raise NvidiaRuntimeError(what, hint=f"it is '{FILE}' or '{COMMAND}'")
        if self.source == COMMAND and not self.engine.prints_configuration:
            self.warn(f"{self.runtime} cannot be asked for its configuration; files are read")
        if self.engine_program and not self.engine.drop_in:
            self.warn(
                f"--executable-path only judges the result: {self.runtime}'s file says it all"
            )

    def _write_hook(self) -> int:
        self.warn("hook files are a way of the past; the runtime does not need them")
        text = oci_hook.text(self.hook)
        if not shutil.which(self.hook):
            self.warn(_missing(self.hook, _own(start.HOOKS[0]), "--nvidia-runtime-hook-path"))
        if self.output:
            files.write(self.output, text.encode())
        else:
            print(text, end="")
        return 0


def _own(name: str) -> str:
    """Return a program of ours beside the one that runs, or in PATH, "" where there is none."""
    return lowlevel.beside(os.path.abspath(sys.argv[0]), name) or shutil.which(name) or ""


def _missing(program: str, own: str, flag: str) -> str:
    return f"{program} is not on this machine{f'; {flag}={own} is' if own else ''}"
