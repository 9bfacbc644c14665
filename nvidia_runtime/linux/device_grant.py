# SPDX-License-Identifier: Apache-2.0
"""Make all that judges a container allow some device rules more, and change nothing else.

On cgroup v1 a rule is added to a list.  On v2 all programs have to allow, so that each one that
refuses is replaced by one that has our rules in front of the very same instructions.  A program
that is not understood is left alone, and a group that is not the container's alone is, too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import bpf, device_judges, device_program, device_rules
from nvidia_runtime.linux.control_groups import DEVICES
from nvidia_runtime.linux.device_judges import Judge, Own
from nvidia_runtime.linux.device_program import UnknownError
from nvidia_runtime.linux.device_rules import Rule

# How our programs' names begin; what follows is the name of the one in whose place it came.
MARK = "nv_"
# systemd may exchange a program while we do.
TRIES = 3


def give(pid: int, own: Own, wanted: Sequence[Rule]) -> None:
    """Make all that judges a process allow some rules.

    Raises `NvidiaRuntimeError` for what refuses and is not understood, is not the container's
    alone, or cannot be changed.
    """
    for _ in range(TRIES):
        listed = device_judges.judges(pid, own)
        refusing = [judge for judge in listed if _refuses(judge, wanted)]
        _check(refusing)
        try:
            for judge in refusing:
                _change(judge, own, wanted)
        except FileNotFoundError:  # it was exchanged meanwhile
            continue
        if not any(judge.program for judge in refusing):
            return


def _refuses(judge: Judge, wanted: Sequence[Rule]) -> bool:
    try:
        return any(judge.refuses(rule) for rule in wanted)
    except UnknownError as error:
        hint = "restart the container"
        raise NvidiaRuntimeError(f"is not understood: {error}", str(judge), hint) from None


def _check(refusing: list[Judge]) -> None:
    """Raise an error for what is not the container's alone, before anything has been changed."""
    for judge in refusing:
        if not judge.is_own:
            hint = "it is not the container's alone, and stays as it is"
            raise NvidiaRuntimeError("refuses its devices", str(judge), hint)


def _change(judge: Judge, own: Own, wanted: Sequence[Rule]) -> None:
    """Make a judge allow some rules.  Raises `FileNotFoundError` where it is not there any more."""
    try:
        if judge.program is None:
            for group in own(judge.group):
                for rule in wanted:
                    device_rules.allow(group.folder, rule)
        else:
            _replace(judge, wanted)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unchanged(judge, error) from None


def _unchanged(judge: Judge, error: OSError) -> NvidiaRuntimeError:
    if error.errno == errno.EPERM and judge.group.hierarchy == DEVICES and not os.geteuid():
        above = os.path.dirname(judge.group.folder)
        hint = "its control group, or one above, may be read-only, or lack them itself"
        return NvidiaRuntimeError("cannot be changed: a group above refuses them", above, hint)
    hint = device_judges.ROOT_HINT if error.errno in (errno.EPERM, errno.EACCES) else ""
    return NvidiaRuntimeError(f"cannot be changed: {os_reason(error)}", str(judge), hint)


def _replace(judge: Judge, wanted: Sequence[Rule]) -> None:
    """Put a program in the place of one, which has some rules more; none is ever added.

    Where the group has that very program already, what is in the way just goes: systemd loads the
    same one again whenever it reloads.
    """
    old = judge.program
    if old is None or old.instructions is None:
        return
    instructions = device_program.with_rules(old.instructions, wanted)
    name = old.name if old.name.startswith(MARK) else f"{MARK}{old.name}"
    is_multiple = bool(judge.flags & bpf.F_ALLOW_MULTI)
    with device_judges.opened(judge.group) as group, bpf.opened(old.id) as replaced:
        others = [bpf.read(number) for number in bpf.query(group)[0] if number != old.id]
        if is_multiple and any(other.instructions == instructions for other in others):
            bpf.detach(group, replaced)
            return
        with bpf.loaded(instructions, name) as program:
            bpf.replace(group, program, replaced, judge.flags)
