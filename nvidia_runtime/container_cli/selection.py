# SPDX-License-Identifier: Apache-2.0
"""The devices that a call means: by index, UUID in any letter case, PCI address, or 0:1 for MIG."""

from nvidia_runtime.container_cli import problems
from nvidia_runtime.errors import NvidiaRuntimeError, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nvidia_runtime.generate.selection import GpuDevice
    from nvidia_runtime.host.gpu import Gpu

ALL = "all"
ONLY_ALL = "only 'all' devices are currently supported"
HEXADECIMAL = frozenset("0123456789abcdef")


def is_all(ids: "Iterable[str]") -> bool:
    """Whether ids mean all devices."""
    return any(one.lower() == ALL for one in ids)


def select(gpus: "list[Gpu]", ids: "Sequence[str]") -> "list[GpuDevice]":
    """Return the devices of ids; raises `NvidiaRuntimeError` for one that there is not."""
    from nvidia_runtime.generate import selection

    names = [ALL] if is_all(ids) else [canonical(gpus, one) for one in ids]
    for one, name in zip(ids, names, strict=False):
        try:
            selection.select(gpus, (name,))
        except NvidiaRuntimeError as error:
            raise problems.of(problems.DEVICE, unknown(one), error.hint) from None
    return selection.select(gpus, tuple(names))[0] if names else []


def unknown(one: str) -> str:
    """Say that there is no such device."""
    return f"{short(one)}: unknown device"


def is_canonical(one: str) -> bool:
    """Whether an id is written as all of our programs have it."""
    if one.isascii() and one.replace(":", "", 1).isdigit():
        return one == "0" or one[0] != "0" or one[1] == ":"
    kind, digits = one[: len("GPU-")], one[len("GPU-") :]
    return one == ALL or (kind in ("GPU-", "MIG-") and digits == digits.lower())


def canonical(gpus: "list[Gpu]", one: str) -> str:
    """Return an id as all of our programs have it."""
    if one.isascii() and one.isdigit():
        return one.lstrip("0") or "0"
    if bus_id := _bus_id(one):
        return next((str(gpu.index) for gpu in gpus if gpu.bus_id == bus_id), one)
    uuids = [gpu.uuid for gpu in gpus] + [mig.uuid for gpu in gpus for mig in gpu.migs]
    return next((uuid for uuid in uuids if uuid.lower() == one.lower()), one)


def _bus_id(one: str) -> str:
    """Read a PCI address, with or without leading zeros; "" for anything else."""
    numbers = one.lower().removesuffix(".0").split(":")
    longest = (8, 2, 2)
    if len(numbers) != len(longest) or one[-2:] != ".0":
        return ""
    for number, most in zip(numbers, longest, strict=True):
        if not number or len(number) > most or not HEXADECIMAL.issuperset(number):
            return ""
    domain, bus, device = (int(number, 16) for number in numbers)
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"


def check_managing(
    name: str, ids: "Sequence[str]", chosen: "Sequence[GpuDevice]", *, with_all: bool
) -> bool:
    """Whether MIG devices may be managed: only all those can be that a call may see.

    Raises `NvidiaRuntimeError` for anything else.
    """
    for one in ids:
        if one.lower() != ALL:
            raise problems.of(f"{name} error", f"{short(one)}: {ONLY_ALL}")
        if not with_all and any(device.mig for device in chosen):
            what = f"{short(one)}: cannot enable {name} with specific MIG devices selected"
            raise problems.of(f"{name} error", what)
    return bool(ids)
