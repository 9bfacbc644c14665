# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk simulate: run a command as on a machine with GPUs, without one."""

from __future__ import annotations

import sys

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import (
    build,
    catalogue,
    description,
    faults,
    in_place,
    namespace,
    run,
    tree,
)
from nvidia_runtime.simulate.machine import SimulatedMachine

VARIABLE = "NVIDIA_SIMULATED_MACHINE"


class Simulate(Command):
    """nvidia-ctk simulate."""

    table = tables.SIMULATE
    listing: bool
    format: str
    source: str
    show: bool
    write: str
    image: str
    base: str
    toolkit: str
    in_place: bool
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
        if self.in_place:
            self.tell(f"this container is {in_place.become()}")
            return 0
        machine, command = self._machine(words)
        if self.show:
            print(description.text(machine), end="")
            return 0
        self._compile(machine)
        if self.write:
            files = build.driver_root(machine) | build.kernel(machine)
            tree.create(files, self.write)
            self.tell(f"{machine.name} is in {self.write}")
            return 0
        if self.image:
            return self._write_image(machine)
        if not command:
            named = f"--from {self.source}" if self.source else machine.name
            hint = f"for example '{self.PROGNAME} {named} -- nvidia-ctk cdi generate'"
            raise NvidiaRuntimeError("no command to run on the machine is given", hint=hint)
        if self.root_only:
            namespace.enter_kernel(machine, self.root_only)
        else:
            namespace.enter(machine, self.real)
        return run.become([*command], {VARIABLE: build.HERE})

    def _write_image(self, machine: SimulatedMachine) -> int:
        from nvidia_runtime.images import simulated  # not needed for any command

        if not self.base:
            raise NvidiaRuntimeError("--image needs --base", hint=simulated.BASE_HINT)
        with screen.Progress(f"writing {self.image}", quiet=self.is_quiet):
            name = simulated.write(self.image, machine, self.base, self.toolkit)
        self.tell(f"{name} is in {self.image}: 'docker load --input {self.image}'")
        return 0

    def _compile(self, machine: SimulatedMachine) -> None:
        """Compile what the machine answers with, if somebody watches how long that takes."""
        if screen.is_terminal(sys.stderr) and not self.is_quiet:
            with screen.Progress(f"building {machine.name}, which is kept"):
                build.driver_root(machine)

    def _machine(self, words: tuple[str, ...]) -> tuple[SimulatedMachine, tuple[str, ...]]:
        """Return the machine, and the command that is to be run on it."""
        if self.source:
            from nvidia_runtime.report import replay  # not needed for any of the list

            is_report = replay.is_report(self.source)
            machine = (replay if is_report else description).read(self.source)
            command = words
        elif words:
            machine, command = catalogue.find(words[0]), words[1:]
        else:
            hint = "--list lists them, and --from reads one"
            raise NvidiaRuntimeError("no machine is named", hint=hint)
        with_faults = faults.apply(
            machine,
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
        return with_faults, command
