# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of IMEX channels, through which GPUs of several machines share memory."""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.host import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine

FOLDER = "/dev/nvidia-caps-imex-channels"
PREFIX = "channel"
# The highest minor number.
HIGHEST = (1 << 20) - 1


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec of channels: ``7``, ``channel7``, or all.

    Raises `NvidiaRuntimeError` for a missing one.
    """
    present = channels(machine)
    if "none" in options.ids:
        wanted: list[int] = []
    elif "all" in options.ids:
        wanted = sorted(present)
    else:
        wanted = sorted({number_of(name) for name in options.ids})
    devices = [assemble.device(str(number), _edits(present, number, machine)) for number in wanted]
    if not devices:
        what = "there is no IMEX channel" if not present else "no IMEX channel is asked for"
        hint = "the driver's NVreg_CreateImexChannel0, or nvidia-modprobe -i, makes them"
        raise NvidiaRuntimeError(what, where=machine.dev_root.rstrip("/") + FOLDER, hint=hint)
    generated = Generated(assemble.spec(options, devices, {}))
    generated.watched.append(machine.dev_root.rstrip("/") + FOLDER)
    return generated


def channels(machine: Machine) -> dict[int, nodes.DeviceNode]:
    """Return the channels of this machine by their numbers."""
    devices = nodes.find(machine.dev_root, f"{FOLDER}/{PREFIX}*")
    numbers = {node.path.removeprefix(f"{FOLDER}/{PREFIX}"): node for node in devices}
    return {int(name): node for name, node in numbers.items() if _is_number(name)}


def _edits(
    present: dict[int, nodes.DeviceNode], number: int, machine: Machine
) -> dict[str, object]:
    if number not in present:
        path = f"{machine.dev_root.rstrip('/')}{FOLDER}/{PREFIX}{number}"
        numbers = ", ".join(map(str, sorted(present))) or "none"
        hint = f"channels of this machine: {numbers}"
        raise NvidiaRuntimeError(f"IMEX channel {number} not found", where=path, hint=hint)
    node = present[number]
    # Without numbers: it has those of the node at the time of injection.
    return {"deviceNodes": [{"path": node.path, "hostPath": node.host_path}]}


def number_of(text: str) -> int:
    """Read the number of a channel; raises `NvidiaRuntimeError` for what is none."""
    number = text.removeprefix(PREFIX)
    if not _is_number(number) or int(number) > HIGHEST or number != str(int(number)):
        hint = f"it is a number from 0 to {HIGHEST}, or {PREFIX} and a number"
        raise NvidiaRuntimeError(f"invalid IMEX channel ID {text!r}", hint=hint)
    return int(number)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
