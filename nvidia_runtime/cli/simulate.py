# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk simulate: run a command as on a machine with GPUs, without one."""

from __future__ import annotations

from typing import cast

from plumbum import cli

from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, faults, namespace, run, tree
from nvidia_runtime.simulate.machine import SimulatedMachine

VARIABLE = "NVIDIA_SIMULATED_MACHINE"


class Simulate(Command):
    """Run a command as on a machine with NVIDIA GPUs, without any: for tests and CI.

    The command sees the driver's libraries, including an NVML that works, its device nodes, and its
    files in /proc and /sys.  No code runs on a GPU.  It needs root, and a C compiler at first use.

    What the command writes is lost when it ends, except in the host's own folders: the current one,
    /tmp, /var/tmp, /home, /root, /run/user, /run/dbus, /run/systemd, and those of --real.  A folder
    with a part of the machine in it, such as / or /usr, cannot be one of them.  /etc/cdi,
    /var/run/cdi and /run/nvidia-container-runtime are empty at the beginning.

    To change the machine while the command runs, change its files: nodes in /dev, files below
    /proc/driver and /sys/bus/pci/devices; write /proc/devices and /proc/sys/kernel/random/boot_id
    in place.  NVML reads its answers from $NVIDIA_SIMULATED_MACHINE/mock-nvml.conf at each
    nvmlInit.

    The simulated nodes have the numbers of real ones: on a machine with GPUs, a program that opens
    them reaches these.
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
        help="write the driver into a new folder; the command sees only its /proc and /sys",
    )
    real = cli.SwitchAttr(["--real"], str, list=True, help="another folder of the host's own")
    fail = cli.SwitchAttr(
        ["--fail"], str, list=True, help="FUNCTION:RESULT[@GPU]: a function of NVML fails"
    )
    hang = cli.SwitchAttr(["--hang"], str, list=True, help="FUNCTION[@GPU]: it never returns")
    crash = cli.SwitchAttr(["--crash"], str, list=True, help="FUNCTION[@GPU]: it crashes")
    without = cli.SwitchAttr(
        ["--without-symbol"], str, list=True, help="FUNCTION: the library lacks it"
    )
    without_code = cli.Flag(
        ["--without-code"], help="the library has no functions; needs no compiler"
    )
    lose = cli.SwitchAttr(["--lose"], int, list=True, help="GPU: it has fallen off the bus")
    remove = cli.SwitchAttr(["--remove"], int, list=True, help="GPU: it does not exist")
    mismatch = cli.Flag(["--mismatch"], help="the kernel module has another version")
    init_us = cli.SwitchAttr(["--init-us"], int, 0, help="microseconds that nvmlInit takes")
    attach_us = cli.SwitchAttr(
        ["--attach-us"], int, 0, help="microseconds that each GPU takes at first use"
    )
    call_us = cli.SwitchAttr(["--call-us"], int, 0, help="microseconds that other calls take")

    def main(self, *words: str) -> int:
        """List or write machines, or run the command."""
        if self.listing:
            for machine in catalogue.machines():
                print(f"{machine.name:<15}{machine.description}")
            return 0
        machine = self._machine(words)
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
