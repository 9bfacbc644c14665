# SPDX-License-Identifier: Apache-2.0
"""The flags that the commands for an engine's configuration share, and what they mean."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables.runtime import BY_ENGINE, NAME
from nvidia_runtime.engines import preview, reading, restart, running, supported
from nvidia_runtime.engines.engine import Intent, expanded
from nvidia_runtime.engines.runtimes import PROGRAM
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import ChangeSet, Engine
    from nvidia_runtime.engines.running import Running


class EngineCommand(Command):
    """A command that changes an engine's configuration."""

    runtime: str
    config: str
    drop_in: str
    engine_program: str
    name: str
    is_dry_run: bool
    is_diff: bool
    is_plain: bool
    restart_way: str

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be written."""
        return bool(self.is_dry_run or self.is_diff or self.is_plain)

    @property
    def engine(self) -> Engine:
        """The engine that the flag names."""
        return supported.ENGINES[self.runtime]

    def check(self) -> None:
        """Raise `NvidiaRuntimeError` for what is wrong with the flags."""
        if self.runtime not in supported.ENGINES:
            what = f"unrecognized runtime '{self.runtime}'"
            raise NvidiaRuntimeError(
                what, hint=f"it is one of {', '.join(sorted(supported.ENGINES))}"
            )
        if self.restart_way not in restart.WAYS:
            what = f"invalid --restart: {self.restart_way!r}"
            raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(restart.WAYS)}")
        restart.check(self.engine, self.restart_way)
        if not self.name.isprintable():
            raise NvidiaRuntimeError(f"invalid --nvidia-runtime-name: {self.name!r}")
        if self.drop_in in ("", BY_ENGINE):
            return
        if not self.engine.drop_in:
            hint = f"{self.runtime} reads one file only; leave --drop-in-config out"
            what = f"{self.runtime} does not support drop-in configs"
            raise NvidiaRuntimeError(what, hint=hint)
        if not os.path.isabs(self.drop_in):
            what = f"the path of the drop-in must be absolute, not {self.drop_in!r}"
            raise NvidiaRuntimeError(what)

    def daemon(self) -> Running | None:
        """Find the engine that is meant, unless its files or its program are named."""
        if self.config or self.engine_program:
            return None
        daemons = running.all_of(self.engine)
        first = daemons[0] if daemons else None
        if first and first.elsewhere:
            raise NvidiaRuntimeError(first.elsewhere, hint="or name the file by --config")
        if first and not self.is_dry:
            self._refuse_root_s(first)
        for other in daemons[1:]:
            name = f" of {other.profile.name}" if other.profile.name else ""
            self.warn(
                f"another {self.runtime}{name} runs, too, on {other.config}; it is left alone"
            )
        return first

    def _refuse_root_s(self, daemon: Running) -> None:
        """Refuse to change a user's file, or to try root's, where root's daemon is what runs."""
        if not daemon.pid or daemon.owner == os.geteuid() or os.geteuid() == 0:
            return
        what = f"{self.runtime} (pid {daemon.pid}) is root's, and reads {daemon.config}"
        own = next((one.config for one in self.engine.profiles if one.is_rootless), "")
        if own:
            what += f", not your own {expanded(own)}"
        raise NvidiaRuntimeError(what, hint="run it as root, or name the file by --config")

    def restartable(self, daemon: Running | None) -> Running | None:
        """Return the daemon that --restart is about; raise where it could not be restarted."""
        if not daemon and self.restart_way != restart.NONE:
            daemon = running.find(self.engine)
        if daemon:
            restart.check_daemon(daemon, self.restart_way)
        return daemon

    def advise(self, daemon: Running | None) -> bool:
        """Say why there is nothing to do, and return whether that is so."""
        if not daemon or not daemon.profile.advice:
            return False
        self.tell(daemon.profile.advice)
        if daemon.profile.note:
            self.tell(f"hint: {daemon.profile.note}")
        return True

    def intent(self, daemon: Running | None, program: str = PROGRAM) -> Intent:
        """Put the flags together, with what the engine that was found adds to them."""
        config, drop_in = self._files(daemon)
        own = daemon.profile.drop_in if daemon else ""
        return Intent(
            name=self.name or NAME,
            program=self._program(program),
            config=config,
            drop_in=drop_in,
            is_merged=bool(own) and own == drop_in,
            executable=self.engine_program or (daemon.executable if daemon and daemon.pid else ""),
            version=daemon.version if daemon else (),
        )

    def _files(self, daemon: Running | None) -> tuple[str, str]:
        """Return the configuration file and the drop-in, "" for no drop-in."""
        own = (daemon.template or daemon.config) if daemon else self.engine.profiles[0].config
        config = os.path.abspath(self.config or own)
        if self.drop_in != BY_ENGINE:
            return config, self.drop_in
        if daemon and daemon.template:
            return config, ""  # what an engine makes its file from is one file
        if daemon and daemon.profile.drop_in:
            return config, daemon.profile.drop_in
        variable = self.engine.config_variable
        if variable and (self.config or os.environ.get(variable)):
            return config, ""  # the engine is told of it by the variable, and reads no other file
        return config, self.engine.drop_in.format(config=config)

    def _program(self, program: str) -> str:
        if self.engine.looks_in_path:
            return program
        if program == PROGRAM:
            return f"/usr/bin/{PROGRAM}"
        if not os.path.isabs(program):
            what = f"the path of the NVIDIA runtime must be absolute, not {program!r}"
            raise NvidiaRuntimeError(what, hint=f"{self.runtime} does not look in PATH")
        return program

    def show(self, plan: ChangeSet) -> None:
        """Print what a plan would write; a terminal changes nothing of what a script reads."""
        for warning in plan.warnings:
            self.warn(warning)
        if self.is_diff or (not self.is_plain and sys.stdout.isatty()):
            has_colour = screen.has_colours(sys.stdout)
            text = "".join(preview.diff(change, has_colour=has_colour) for change in plan.changes)
            print(text, end="")
            if not text:
                self.tell("nothing would change")
            return
        for change in plan.changes:
            self.tell(f"{change.path}{' would be removed' if change.after is None else ':'}")
            if change.after is not None:
                print(change.after.rstrip("\n"), end="\n\n" if change != plan.changes[-1] else "\n")

    def report(self, plan: ChangeSet, written: list[str], daemon: Running | None) -> None:
        """Say what was written, and make the engine read it where that was asked for."""
        for warning in plan.warnings:
            self.warn(warning)
        for change in plan.changes:
            if change.path in written:
                self.tell(f"{'removed' if change.after is None else 'wrote'} {change.path}")
        if not written:
            self.tell(f"nothing to change: {', '.join(change.path for change in plan.changes)}")
            self._say_whether_read(daemon)
            return
        if not daemon:
            if self.engine.has_daemon:
                self.tell(f"{self.runtime} reads it when it is started again")
            return
        restart.carry_out(daemon, self.restart_way, self.tell)

    def _say_whether_read(self, daemon: Running | None) -> None:
        """Restart a daemon, or say how, that began before its files were last changed."""
        is_behind = reading.is_behind(daemon) if daemon else None
        if daemon and is_behind:
            self.tell(f"{self.runtime} has not read its files since they changed")
            restart.carry_out(daemon, self.restart_way, self.tell)
        elif self.restart_way != restart.NONE and daemon and daemon.pid:
            so_far = "has read its files" if is_behind is False else "cannot say what it has read"
            self.tell(f"{self.runtime} {so_far}; it was left alone")
