# SPDX-License-Identifier: Apache-2.0
"""What the driver has written into the kernel's log: Xids, by which it tells of errors of GPUs.

Their meanings: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Fine, Skipped, Step
from nvidia_runtime.host import kernel_log, proc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.host.kernel_log import Line

OF_GPU = Code(
    "NCT-0631",
    WARNING,
    "the driver has met an error of a GPU",
    """
    It wrote an Xid into the kernel's log ('NVRM: Xid (PCI:...)'), within the last week, whose cause
    is the GPU, its memory, its links or its firmware.  Programs on that GPU fail until it is
    mended, and containers that ask for it may hang when they start.
    """,
    """
    Xid 79 (the GPU has fallen off the bus), 119 and 120 (its firmware does not answer): restart the
    machine, from power off if that is not enough; then look at power, heat and the slot.  Xid 48,
    63, 64, 94 and 95 (memory): 'nvidia-smi -q -d ECC,ROW_REMAPPER', and reset the GPU
    ('nvidia-smi --gpu-reset') while nothing uses it.  Xid 74: look at the NVLink bridges and the
    fabric manager.  What comes again is a matter for whoever sold the GPU.
    """,
)
OF_PROGRAM = Code(
    "NCT-0632",
    NOTE,
    "a program has misused a GPU",
    """
    The driver wrote an Xid into the kernel's log today whose cause is mostly the program: it
    touched memory that is not its own, or was ended with work pending.  The GPU goes on.
    """,
    """
    Look at the program, with 'compute-sanitizer' for instance.  Nothing of this machine is wrong,
    unless many different programs meet it.
    """,
)
CODES = (OF_GPU, OF_PROGRAM)

WEEK, DAY = 7 * 24 * 3600, 24 * 3600
# The older form has no PCI: in front of the number of the bus.
XID = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<gpu>[0-9a-fA-F:.]+)\): (?P<number>\d+)\b")
MEANINGS = {
    48: "an ECC error of two bits",
    61: "a breakpoint of its micro-controller",
    62: "its micro-controller has halted",
    63: "a page of its memory was retired, or a row remapped",
    64: "a page could not be retired, or a row not remapped",
    74: "an NVLink error",
    79: "it has fallen off the bus",
    92: "many ECC errors of one bit",
    94: "an ECC error that was contained in one program",
    95: "an ECC error that was not contained",
    119: "its firmware (GSP) does not answer",
    120: "an error of its firmware (GSP)",
    140: "an ECC error that was not recovered",
    154: "it needs to be reset",
}
OF_PROGRAMS = {
    13: "an exception of the graphics engine",
    31: "a page fault",
    43: "a channel was stopped",
    45: "work was ended early",
    69: "a wrong class of the graphics engine",
}
# The most of different numbers that are told of a GPU.
MOST = 5


def check(subject: Subject) -> Iterator[Said]:
    """Look for Xids."""
    del subject
    yield Step("the kernel's log")
    lines = kernel_log.read()
    if lines is None:
        yield Skipped("the kernel's log, for errors of GPUs", f"{kernel_log.PATH} needs root")
        return
    now = time.time()
    by_gpu: dict[str, dict[int, list[Line]]] = {}
    misused: dict[int, list[Line]] = {}
    for line in lines:
        match = XID.search(line.text)
        if not match:
            continue
        number, age = int(match["number"]), now - line.time
        if number in OF_PROGRAMS:
            if age < DAY:
                misused.setdefault(number, []).append(line)
        elif age < WEEK:
            by_gpu.setdefault(_bus_id(match["gpu"]), {}).setdefault(number, []).append(line)
    for gpu, numbers in by_gpu.items():
        what = "; ".join(_said(number, ones, MEANINGS) for number, ones in _first(numbers))
        yield Finding(
            code=OF_GPU,
            what=f"GPU {gpu}: {what}",
            where=kernel_log.PATH,
            command="dmesg --ctime | grep -A1 'NVRM: Xid'",
        )
    if misused:
        what = "; ".join(_said(number, ones, OF_PROGRAMS) for number, ones in _first(misused))
        command = "dmesg --ctime | grep 'NVRM: Xid'"
        yield Finding(code=OF_PROGRAM, what=what, where=kernel_log.PATH, command=command)
    if not by_gpu:
        yield Fine("the driver has met no error of a GPU this week")


def _bus_id(text: str) -> str:
    """Return a bus id as sysfs has it: the log leaves out the function of the device."""
    return proc.bus_id(text if "." in text else f"{text}.0")


def _first(numbers: dict[int, list[Line]]) -> list[tuple[int, list[Line]]]:
    """Return the numbers that came last, of which there are most some."""
    return sorted(numbers.items(), key=lambda entry: -entry[1][-1].time)[:MOST]


def _said(number: int, ones: list[Line], meanings: dict[int, str]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ones[-1].time))
    count = f" {len(ones)} times, last" if len(ones) > 1 else ""
    meaning = f" ({meanings[number]})" if number in meanings else ""
    return f"Xid {number}{meaning}{count} on {when}"
