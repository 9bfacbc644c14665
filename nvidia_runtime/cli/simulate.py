# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk simulate: run a command as on a machine with GPUs, without one.  Ring: elsewhere."""

from __future__ import annotations

from typing import cast

from plumbum import cli

from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, faults, namespace, run
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import SimulatedMachine

VARIABLE = "NVIDIA_SIMULATED_MACHINE"


class Simulate(Command):
    """Run a command as on a machine with NVIDIA GPUs, without any: for tests, and for CI.

    The command sees the driver's libraries (an NVML that answers among them), its device nodes, and
    what the kernel would say in /proc and /sys.  No code runs on a GPU.  It needs root, and a C
    compiler when it is first used.

    What the command writes is gone with it and never reaches the host, except in folders that stay
    the host's own: the current one, /tmp, /var/tmp, /home, /root, /run/user, /run/dbus,
    /run/systemd, and those named with --real.  A folder that holds a part of the machine, such as /
    or /usr, never does.  /etc/cdi, /var/run/cdi and /run/nvidia-container-runtime begin empty.

    To change the machine while the command runs, change the files in their places: nodes in /dev,
    files below /proc/driver and /sys/bus/pci/devices; write into /proc/devices and
    /proc/sys/kernel/random/boot_id, do not replace them.  What NVML answers is in
    $NVIDIA_SIMULATED_MACHINE/mock-nvml.conf, which is read at each nvmlInit.

    Where the machine has GPUs of its own, the simulated nodes have the same numbers: a program that
    opens them reaches the real ones.
    """

    USAGE = "    {progname} [SWITCHES] MACHINE -- COMMAND...\n"

    listing = cli.Flag(["--list"], help="list the machines")
    write = cli.SwitchAttr(
        ["--write"], str, "", help="write the machine into a new folder, for --driver-root=FOLDER"
    )
    root_only = cli.SwitchAttr(
        ["--root-only"],
        str,
        "",
        help="write its driver into a new folder; the command sees only its /proc and /sys",
    )
    real = cli.SwitchAttr(["--real"], str, list=True, help="one more folder that stays the host's")
    fail = cli.SwitchAttr(
        ["--fail"], str, list=True, help="FUNCTION:RESULT[@GPU]: let a function of NVML fail"
    )
    hang = cli.SwitchAttr(["--hang"], str, list=True, help="FUNCTION[@GPU]: let it never return")
    crash = cli.SwitchAttr(["--crash"], str, list=True, help="FUNCTION[@GPU]: let it crash")
    without = cli.SwitchAttr(
        ["--without-symbol"], str, list=True, help="FUNCTION: let the library lack it"
    )
    without_code = cli.Flag(
        ["--without-code"], help="let the library have no function at all; needs no compiler"
    )
    lose = cli.SwitchAttr(["--lose"], int, list=True, help="GPU: it has fallen off the bus")
    remove = cli.SwitchAttr(["--remove"], int, list=True, help="GPU: it was never there")
    mismatch = cli.Flag(["--mismatch"], help="the kernel module has another version")
    init_us = cli.SwitchAttr(["--init-us"], int, 0, help="microseconds that nvmlInit takes")
    attach_us = cli.SwitchAttr(
        ["--attach-us"], int, 0, help="microseconds that each GPU takes when it is first used"
    )
    call_us = cli.SwitchAttr(["--call-us"], int, 0, help="microseconds that other calls take")

    def main(self, *words: str) -> int:
        """Do what is asked for."""
        if self.listing:
            for machine in catalogue.machines():
                print(f"{machine.name:<15}{machine.description}")
            return 0
        machine = self._machine(words)
        if self.write:
            files = build.driver_root(machine) | build.kernel(machine)
            trees.create(files, self.write)
            self.tell(f"{machine.name} is in {self.write}")
            return 0
        if len(words) == 1:
            hint = f"such as '{self.PROGNAME} {machine.name} -- nvidia-ctk cdi generate'"
            raise NvidiaRuntimeError("no command is given to run on the machine", hint=hint)
        if self.root_only:
            namespace.enter_kernel(machine, self.root_only)
        else:
            namespace.enter(machine, self.real)
        return run.become([*words[1:]], {VARIABLE: build.HERE})

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
            lose=cast("list[int]", self.lose),
            remove=cast("list[int]", self.remove),
            mismatch=self.mismatch,
            init_us=self.init_us,
            attach_us=self.attach_us,
            call_us=self.call_us,
        )
