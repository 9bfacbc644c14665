# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk simulate: run a command as on a machine with GPUs, without one."""

from __future__ import annotations

import sys

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, faults, namespace, run, tree
from nvidia_runtime.simulate.machine import SimulatedMachine

VARIABLE = "NVIDIA_SIMULATED_MACHINE"


class Simulate(Command):
    """nvidia-ctk simulate."""

    table = tables.SIMULATE
    listing: bool
    format: str
    write: str
    root_only: str
    real: list[str]
    fail: list[str]
    hang: list[str]
    crash: list[str]
    without: list[str]
    without_code: bool
    lose: list[int]
    remove: list[int]
    xid: list[str]
    mismatch: bool
    init_us: int
    attach_us: int
    call_us: int

    def main(self, *words: str) -> int:
        """List or write machines, or run the command."""
        if self.listing:
            machines = catalogue.machines()
            if self.format == "json":
                entries = [{"name": one.name, "description": one.description} for one in machines]
                screen.print_json(entries)
                return 0
            for machine in machines:
                print(f"{machine.name:<15}{machine.description}")
            return 0
        machine = self._machine(words)
        self._compile(machine)
        if self.write:
            files = build.driver_root(machine) | build.kernel(machine)
            tree.create(files, self.write)
            self.tell(f"{machine.name} is in {self.write}")
            return 0
        if len(words) == 1:
            hint = f"for example '{self.PROGNAME} {machine.name} -- nvidia-ctk cdi generate'"
            raise NvidiaRuntimeError("no command to run on the machine is given", hint=hint)
        if self.root_only:
            namespace.enter_kernel(machine, self.root_only)
        else:
            namespace.enter(machine, self.real)
        return run.become([*words[1:]], {VARIABLE: build.HERE})

    def _compile(self, machine: SimulatedMachine) -> None:
        """Compile what the machine answers with, if somebody watches how long that takes."""
        if screen.is_terminal(sys.stderr) and not self.is_quiet:
            with screen.Progress(f"building {machine.name}, which is kept"):
                build.driver_root(machine)

    def _machine(self, words: tuple[str, ...]) -> SimulatedMachine:
        if not words:
            raise NvidiaRuntimeError("no machine is named", hint="--list lists them")
        return faults.apply(
            catalogue.find(words[0]),
            fail=self.fail,
            hang=self.hang,
            crash=self.crash,
            without=self.without,
            without_code=self.without_code,
            lose=self.lose,
            remove=self.remove,
            xid=self.xid,
            mismatch=self.mismatch,
            init_us=self.init_us,
            attach_us=self.attach_us,
            call_us=self.call_us,
        )
