# SPDX-License-Identifier: Apache-2.0
"""The faults that a simulated machine can have."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import compiler, nvml
from nvidia_runtime.simulate.machine import Faults, SimulatedGpu, SimulatedMachine

FAILURE = re.compile(r"nvml\w+:\d+(@\d+)?|cuInit:\d{1,9}")
FUNCTION = re.compile(r"nvml\w+(@\d+)?|cuInit")
# One that NVML has, in the source; a fault of it is one of its newer forms, such as _v2, too.
API = re.compile(r"\b((nvml\w+?)(?:_v\d)?)\b")
# As in schemas/machine.schema.json.
LONGEST_US = 10_000_000_000
OTHER_MODULE = "575.57.08"
XID = re.compile(r"(\d+)@(\d+)")
# Xids after which a GPU is of no use, and what the driver then wants done with it.
FALLEN_OFF_THE_BUS = 79
RECOVERIES = dict.fromkeys((48, 62, 64, 74, 95, 140), "reset")
RECOVERIES |= dict.fromkeys((FALLEN_OFF_THE_BUS, 119, 120), "reboot")


def apply(
    machine: SimulatedMachine,
    *,
    fail: Sequence[str] = (),
    hang: Sequence[str] = (),
    crash: Sequence[str] = (),
    without: Sequence[str] = (),
    lose: Sequence[int] = (),
    remove: Sequence[int] = (),
    xid: Sequence[str] = (),
    mismatch: bool = False,
    without_code: bool = False,
    init_us: int = 0,
    attach_us: int = 0,
    call_us: int = 0,
) -> SimulatedMachine:
    """Return the machine with faults, beside its own.

    Raises `NvidiaRuntimeError` for a GPU or a function that it lacks.
    """
    own = machine.faults
    check(machine, fail, hang, crash)
    _check_functions((*fail, *hang, *crash))
    for flag, time in (("init", init_us), ("attach", attach_us), ("call", call_us)):
        if not 0 <= time <= LONGEST_US:
            raise NvidiaRuntimeError(f"--{flag}-us must be from 0 to {LONGEST_US}, not {time}")
    for index in (*lose, *remove):
        _check_gpu(machine, index, "--lose" if index in lose else "--remove")
    xids = _xids(machine, xid)
    lose = [*lose, *(gpu for gpu, number in xids.items() if number == FALLEN_OFF_THE_BUS)]
    return dataclasses.replace(
        machine,
        gpus=_gpus(machine.gpus, lose, remove, xids),
        module=OTHER_MODULE if mismatch else machine.module,
        faults=Faults(
            fail=(*own.fail, *fail),
            hang=(*own.hang, *hang),
            crash=(*own.crash, *crash),
            without=(*own.without, *without),
            without_code=own.without_code or without_code,
            init_us=init_us or own.init_us,
            attach_us=attach_us or own.attach_us,
            call_us=call_us or own.call_us,
        ),
    )


def check(
    machine: SimulatedMachine,
    fail: Sequence[str],
    hang: Sequence[str],
    crash: Sequence[str],
    before: str = "--",
) -> None:
    """Check the words of faults; ``before`` their kinds stands what tells where they are.

    Raises `NvidiaRuntimeError`.
    """
    for kind, words, form, shape in (
        ("fail", fail, FAILURE, "FUNCTION:RESULT[@GPU], such as nvmlDeviceGetUUID:15@3"),
        ("hang", hang, FUNCTION, "FUNCTION[@GPU], such as nvmlDeviceGetUUID@3"),
        ("crash", crash, FUNCTION, "FUNCTION[@GPU], such as nvmlInit"),
    ):
        flag = f"{before}{kind}"
        for word in words:
            if not form.fullmatch(word):
                raise NvidiaRuntimeError(f"{flag} takes {shape}, not {word!r}")
            if "@" in word:
                _check_gpu(machine, int(word.partition("@")[2]), flag)


def _check_functions(words: Sequence[str]) -> None:
    """Refuse functions that the simulated NVML lacks: nobody would see their faults."""
    if not words:
        return
    with open(os.path.join(compiler.FOLDER, nvml.SOURCE), encoding="utf-8") as file:
        functions = {name for names in API.findall(file.read()) for name in names}
    for word in words:
        function = re.split("[:@]", word)[0]
        if function.startswith("nvml") and function not in functions:
            raise nvml.unknown(function)


def _gpus(
    gpus: tuple[SimulatedGpu, ...],
    lose: Sequence[int],
    remove: Sequence[int],
    xids: Mapping[int, int],
) -> tuple[SimulatedGpu, ...]:
    return tuple(
        dataclasses.replace(
            gpu,
            lost=gpu.lost or index in lose,
            recovery=RECOVERIES[xids[index]] if index in xids else gpu.recovery,
        )
        for index, gpu in enumerate(gpus)
        if index not in remove
    )


def _xids(machine: SimulatedMachine, words: Sequence[str]) -> dict[int, int]:
    """Return the Xid of each GPU that has one."""
    xids: dict[int, int] = {}
    for word in words:
        match = XID.fullmatch(word)
        if not match or int(match[1]) not in RECOVERIES:
            numbers = ", ".join(map(str, sorted(RECOVERIES)))
            raise NvidiaRuntimeError(f"--xid takes XID@GPU, XID being one of {numbers}: {word!r}")
        _check_gpu(machine, int(match[2]), "--xid")
        xids[int(match[2])] = int(match[1])
    return xids


def _check_gpu(machine: SimulatedMachine, index: int, flag: str) -> None:
    if not 0 <= index < len(machine.gpus):
        have = f"{machine.name} has {len(machine.gpus)}" + (", from 0" if machine.gpus else "")
        raise NvidiaRuntimeError(f"{flag}: there is no GPU {index}", hint=have)
