# SPDX-License-Identifier: Apache-2.0
"""The GPUs and MIG devices that ids mean."""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu, Mig

ALL = "all"
# A container may ask for anything, as often as it likes.
MOST_NAMED = 8
LONGEST_NAME = 200


class GpuDevice:
    """A whole GPU, or one of its MIG devices."""

    __slots__ = ("gpu", "mig")

    def __init__(self, gpu: Gpu, mig: Mig | None = None) -> None:
        self.gpu = gpu
        self.mig = mig

    def index(self) -> str:
        """Return the name by index: ``3``, or ``3:1`` for a MIG device."""
        return f"{self.gpu.index}:{self.mig.index}" if self.mig else str(self.gpu.index)

    def uuid(self) -> str:
        """Return the UUID, "" if it is unknown."""
        return self.mig.uuid if self.mig else self.gpu.uuid

    def ids(self) -> tuple[str, ...]:
        """Return all ids, with that of drivers before 470."""
        if not self.mig:
            return (self.index(), self.gpu.uuid)
        instances = f"{self.mig.gpu_instance}/{self.mig.compute_instance}"
        return (self.index(), self.mig.uuid, f"MIG-{self.gpu.uuid}/{instances}")


def select(gpus: list[Gpu], ids: tuple[str, ...]) -> tuple[list[GpuDevice], list[GpuDevice]]:
    """Return the devices of some ids, each once, and the devices that ``all`` does not contain.

    ``all`` are the GPUs that are not in MIG mode nor for a display, and all MIG devices.  Others
    can be named, a GPU in MIG mode as a whole.  Raises `NvidiaRuntimeError` for ids that this
    machine does not have.
    """
    whole = [GpuDevice(gpu) for gpu in gpus]
    migs = {gpu.index: [GpuDevice(gpu, mig) for mig in gpu.migs] for gpu in gpus}
    if ALL in ids:
        hidden = [one for one in whole if one.gpu.is_mig or one.gpu.is_display()]
        chosen = [
            device
            for one in whole
            for device in ([one] if one not in hidden else migs[one.gpu.index])
        ]
        return chosen, hidden
    devices = [*whole, *(device for some in migs.values() for device in some)]
    by_id = {name: device for device in devices for name in device.ids() if name}
    if unknown := [name for name in ids if name not in by_id]:
        raise _unknown(unknown, devices)
    return list({id(by_id[name]): by_id[name] for name in ids}.values()), []


def _unknown(unknown: list[str], devices: list[GpuDevice]) -> NvidiaRuntimeError:
    named = ", ".join(repr(name[:LONGEST_NAME]) for name in unknown[:MOST_NAMED])
    if len(unknown) > MOST_NAMED:
        named += f" and {len(unknown) - MOST_NAMED} more"
    has = ", ".join(device.index() for device in devices)
    hint = f"it has {has}; 'nvidia-smi -L' shows their UUIDs" if devices else "it has no GPU"
    begun = [name for name in unknown if name.startswith(("GPU-", "MIG-")) and len(name) > 4]
    ids = [one for device in devices for one in device.ids()]
    whole = [[one for one in ids if one.startswith(name)] for name in begun[:MOST_NAMED]]
    if meant := [those[0] for those in whole if len(those) == 1]:
        hint = f"did you mean {', '.join(meant)}? {hint}"
    return NvidiaRuntimeError(f"this machine has no device {named}", hint=hint)
