# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime configure: tell an engine of our programs."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from plumbum import cli

from nvidia_runtime import start
from nvidia_runtime.cli import files, oci_hook
from nvidia_runtime.cli.engine_flags import NAME, EngineCommand
from nvidia_runtime.engines import apply, effect, native_cdi, write
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
    """Add the NVIDIA runtime to an engine's configuration; nothing else in it changes."""

    mode = cli.SwitchAttr(
        ["--config-mode"],
        str,
        "",
        help="config-file, or oci-hook (deprecated) for podman's and cri-o's folders of hooks",
    )
    source = cli.SwitchAttr(
        ["--config-source"],
        str,
        FILE,
        help="where options to copy are read: file, or command, which asks the engine",
    )
    output = cli.SwitchAttr(
        ["--oci-hook-path"],
        str,
        "",
        help="with oci-hook: the file to write, such as …/hooks.d/nvidia.json; else stdout",
    )
    program = cli.SwitchAttr(
        ["--nvidia-runtime-path", "--runtime-path"],
        str,
        PROGRAM,
        help="the runtime's program, an absolute path but for docker",
    )
    hook = cli.SwitchAttr(
        ["--nvidia-runtime-hook-path"],
        str,
        "/usr/bin/nvidia-container-runtime-hook",
        help="with oci-hook: the absolute path of the hook",
    )
    is_default = cli.Flag(
        ["--nvidia-set-as-default", "--set-as-default"], help="make it the default runtime"
    )
    name = cli.SwitchAttr(["--nvidia-runtime-name"], str, NAME, help="the runtime's name")
    cdi = cli.Flag(
        ["--cdi.enabled", "--cdi.enable", "--enable-cdi"], help="switch CDI on in the engine"
    )

    USAGE = "    {progname} [SWITCHES]\n"

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
        engine = self.engine
        intent = replace(
            self.intent(daemon, self.program),
            is_default=self.is_default,
            cdi=self.cdi,
            by_command=self.source == COMMAND and engine.prints_configuration,
        )
        if self.is_dry:
            self.show(effect.planned(engine, intent))
            return 0
        with write.locked(intent.config):
            plan = effect.planned(engine, intent)
            written = apply.configure(engine, intent, plan, self.warn)
        self._check_program(intent.program, PROGRAM, "--nvidia-runtime-path")
        self.report(plan, written, daemon)
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

    def _check_program(self, program: str, name: str, flag: str) -> None:
        """Warn if a program is missing here, and name one that is not; an engine may find it."""
        if shutil.which(program):
            return
        own = lowlevel.beside(os.path.abspath(sys.argv[0]), name)
        self.warn(f"{program} is not on this machine{f'; {flag}={own} is' if own else ''}")

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
        self._check_program(self.hook, start.HOOKS[0], "--nvidia-runtime-hook-path")
        if self.output:
            files.write(self.output, text.encode())
        else:
            print(text, end="")
        return 0
