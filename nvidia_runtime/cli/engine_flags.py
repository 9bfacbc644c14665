# SPDX-License-Identifier: Apache-2.0
"""The flags that the commands for an engine's configuration share, and what they mean.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from plumbum import cli

from nvidia_runtime.cli.command import Command
from nvidia_runtime.engines import preview, restart, running
from nvidia_runtime.engines.wanted import PROGRAM, Wanted
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.engines.running import Running
    from nvidia_runtime.engines.wanted import Plan

ENGINES = ("containerd", "crio", "docker", "podman")
NAME = "nvidia"
BY_ENGINE = "RUNTIME_SPECIFIC_DEFAULT"
CONFIGS = {
    "containerd": "/etc/containerd/config.toml",
    "crio": "/etc/crio/crio.conf",
    "docker": "/etc/docker/daemon.json",
    "podman": "/etc/containers/containers.conf",
}
DROP_INS = {
    "containerd": "/etc/containerd/conf.d/99-nvidia.toml",
    "crio": "/etc/crio/crio.conf.d/99-nvidia.toml",
    "docker": "",
    "podman": "/etc/containers/containers.conf.d/99-nvidia.conf",
}


class EngineCommand(Command):
    """A command that changes an engine's configuration."""

    engine = cli.SwitchAttr(
        ["--runtime"], str, "docker", help="the engine: docker, containerd, crio or podman"
    )
    config = cli.SwitchAttr(
        ["--config"],
        str,
        "",
        help="its configuration file; by default that of the engine that runs",
    )
    drop_in = cli.SwitchAttr(
        ["--drop-in-config"],
        str,
        BY_ENGINE,
        help="the file for what is added, an absolute path; empty: the configuration file itself",
    )
    engine_program = cli.SwitchAttr(
        ["--executable-path"], str, "", help="the engine's program, to ask for its configuration"
    )
    name = NAME  # a flag of each command, with its own default
    is_dry_run = cli.Flag(
        ["--dry-run"], help="write nothing: a diff on a terminal, else the files' new texts"
    )
    is_diff = cli.Flag(["--diff"], help="write nothing, and print a diff wherever stdout leads")
    is_plain = cli.Flag(["--plain"], help="write nothing, and print the files' new texts")
    restart_way = cli.SwitchAttr(
        ["--restart"],
        str,
        restart.NONE,
        help="make the engine read its files again: ask, systemd or signal; never by default",
    )

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be written."""
        return bool(self.is_dry_run or self.is_diff or self.is_plain)

    def check(self) -> None:
        """Say what is wrong with the flags."""
        if self.engine not in ENGINES:
            what = f"unrecognized runtime '{self.engine}'"
            raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(ENGINES)}")
        if self.restart_way not in restart.WAYS:
            what = f"invalid --restart: {self.restart_way!r}"
            raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(restart.WAYS)}")
        if not self.name.isprintable():
            raise NvidiaRuntimeError(f"invalid --nvidia-runtime-name: {self.name!r}")
        if self.drop_in in ("", BY_ENGINE):
            return
        if self.engine == "docker":
            hint = "docker reads one file only; leave --drop-in-config out"
            raise NvidiaRuntimeError("docker does not support drop-in configs", hint=hint)
        if not os.path.isabs(self.drop_in):
            what = f"the path of the drop-in must be absolute, not {self.drop_in!r}"
            raise NvidiaRuntimeError(what)

    def found(self) -> Running | None:
        """Find the engine that is meant, unless its files or its program are named."""
        if self.config or self.engine_program:
            return None
        known = running.all_of(self.engine)
        engine = known[0] if known else None
        if engine and engine.elsewhere:
            raise NvidiaRuntimeError(engine.elsewhere, hint="or name the file by --config")
        for other in known[1:]:
            name = f" of {other.profile}" if other.profile else ""
            self.warn(f"another {self.engine}{name} runs, too, on {other.config}; it is left alone")
        return engine

    def advised(self, engine: Running | None) -> bool:
        """Say why there is nothing to do, if that is so."""
        if not engine or not engine.advice:
            return False
        self.tell(engine.advice)
        if engine.note:
            self.tell(f"hint: {engine.note}")
        return True

    def wanted(self, engine: Running | None, program: str = PROGRAM) -> Wanted:
        """Put the flags together, with what the engine that was found adds to them."""
        config, drop_in = self._files(engine)
        return Wanted(
            name=self.name or NAME,
            program=self._program(program),
            config=config,
            drop_in=drop_in,
            is_merged=bool(engine and engine.drop_in and engine.drop_in == drop_in),
            is_own=bool(engine) or self._is_own(config),
            executable=self.engine_program or (engine.executable if engine and engine.pid else ""),
            version=engine.version if engine else (),
        )

    def _files(self, engine: Running | None) -> tuple[str, str]:
        """Return the configuration file and the drop-in, "" where there is none."""
        own = (engine.template or engine.config) if engine else ""
        config = os.path.abspath(self.config or own or CONFIGS[self.engine])
        if self.drop_in != BY_ENGINE:
            return config, self.drop_in
        if engine and engine.template:
            return config, ""  # what an engine makes its file from is one file
        if engine and engine.drop_in:
            return config, engine.drop_in
        if self.engine == "podman":
            if self.config:  # podman is told of it by a variable, and then reads no drop-ins
                return config, ""
            return config, f"{config}.d/99-nvidia.conf"
        return config, DROP_INS[self.engine]

    def _is_own(self, config: str) -> bool:
        """Whether a file that was named is the engine's own all the same."""
        known = [CONFIGS[self.engine], *(each.config for each in running.daemons(self.engine))]
        return os.path.realpath(config) in map(os.path.realpath, known)

    def _program(self, program: str) -> str:
        if self.engine == "docker":
            return program
        if program == PROGRAM:
            return f"/usr/bin/{PROGRAM}"
        if not os.path.isabs(program):
            what = f"the path of the NVIDIA runtime must be absolute, not {program!r}"
            raise NvidiaRuntimeError(what, hint=f"{self.engine} does not look in PATH")
        return program

    def show(self, plan: Plan) -> None:
        """Print what a plan would write: nothing that a script reads changes by a terminal."""
        for warning in plan.warnings:
            self.warn(warning)
        if self.is_diff or (not self.is_plain and sys.stdout.isatty()):
            has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            text = "".join(preview.diff(each, has_colour=has_colour) for each in plan.changes)
            print(text, end="")
            if not text:
                self.tell("nothing would change")
            return
        for change in plan.changes:
            self.tell(f"{change.path}{' would be removed' if change.after is None else ':'}")
            if change.after is not None:
                print(change.after.rstrip("\n"), end="\n\n" if change != plan.changes[-1] else "\n")

    def report(self, plan: Plan, written: list[str], engine: Running | None) -> None:
        """Say what was written, and make the engine read it where that was asked for."""
        for warning in plan.warnings:
            self.warn(warning)
        for change in plan.changes:
            if change.path in written:
                self.tell(f"{'removed' if change.after is None else 'wrote'} {change.path}")
        if not written:
            self.tell(f"nothing to change: {', '.join(each.path for each in plan.changes)}")
            if self.restart_way != restart.NONE:
                self.tell(f"{self.engine} was left alone; it has read the file if it began later")
            return
        if not engine and self.restart_way == restart.NONE:
            if self.engine != "podman":
                self.tell(f"{self.engine} reads it when it is started again")
            return
        engine = engine or running.find(self.engine)
        if engine:
            restart.carry_out(engine, self.restart_way, self.tell)
