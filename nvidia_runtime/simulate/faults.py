# SPDX-License-Identifier: Apache-2.0
"""The faults that a simulated machine can have."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate.machine import Faults, SimulatedGpu, SimulatedMachine

FAILURE = re.compile(r"nvml\w+:\d+(@\d+)?|cuInit:\d{1,9}")
FUNCTION = re.compile(r"nvml\w+(@\d+)?|cuInit")
OTHER_MODULE = "575.57.08"


def apply(
    machine: SimulatedMachine,
    *,
    fail: Sequence[str] = (),
    hang: Sequence[str] = (),
    crash: Sequence[str] = (),
    without: Sequence[str] = (),
    lose: Sequence[int] = (),
    remove: Sequence[int] = (),
    mismatch: bool = False,
    without_code: bool = False,
    init_us: int = 0,
    attach_us: int = 0,
    call_us: int = 0,
) -> SimulatedMachine:
    """Return the machine with faults, beside its own.

    Raises `NvidiaRuntimeError` for a GPU that it lacks.
    """
    own = machine.faults
    check(machine, fail, hang, crash)
    for index in (*lose, *remove):
        _check_gpu(machine, index, "--lose" if index in lose else "--remove")
    return dataclasses.replace(
        machine,
        gpus=_gpus(machine.gpus, lose, remove),
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


def _gpus(
    gpus: tuple[SimulatedGpu, ...], lose: Sequence[int], remove: Sequence[int]
) -> tuple[SimulatedGpu, ...]:
    return tuple(
        dataclasses.replace(gpu, lost=gpu.lost or index in lose)
        for index, gpu in enumerate(gpus)
        if index not in remove
    )


def _check_gpu(machine: SimulatedMachine, index: int, flag: str) -> None:
    if not 0 <= index < len(machine.gpus):
        have = f"{machine.name} has {len(machine.gpus)}" + (", from 0" if machine.gpus else "")
        raise NvidiaRuntimeError(f"{flag}: there is no GPU {index}", hint=have)
