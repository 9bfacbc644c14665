# SPDX-License-Identifier: Apache-2.0
"""Which GPUs and MIG devices are meant by the ids of a user.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu, Mig

ALL = "all"
# A container may ask for anything, as often as it likes.
MOST_NAMED = 8
LONGEST_NAME = 200


class Chosen:
    """A whole GPU, or one of its MIG devices."""

    __slots__ = ("gpu", "mig")

    def __init__(self, gpu: Gpu, mig: Mig | None = None) -> None:
        self.gpu = gpu
        self.mig = mig

    def index(self) -> str:
        """Return the name by index: ``3``, or ``3:1`` for a MIG device."""
        return f"{self.gpu.index}:{self.mig.index}" if self.mig else str(self.gpu.index)

    def uuid(self) -> str:
        """Return the UUID, "" if it is not known."""
        return self.mig.uuid if self.mig else self.gpu.uuid

    def ids(self) -> tuple[str, ...]:
        """Return all ids by which a user may mean it, with the one of drivers before 470."""
        if not self.mig:
            return (self.index(), self.gpu.uuid)
        instances = f"{self.mig.gpu_instance}/{self.mig.compute_instance}"
        return (self.index(), self.mig.uuid, f"MIG-{self.gpu.uuid}/{instances}")


def select(gpus: list[Gpu], ids: tuple[str, ...]) -> tuple[list[Chosen], list[Chosen]]:
    """Choose by ids, each device once; and what ``all`` leaves out of what can be named.

    ``all`` are the GPUs that are not in MIG mode, and all MIG devices.  Who names a GPU in MIG mode
    gets all of it.  Raises `NvidiaRuntimeError` for ids that this machine does not have.
    """
    whole = [Chosen(gpu) for gpu in gpus if not gpu.is_display()]
    migs = {gpu.index: [Chosen(gpu, mig) for mig in gpu.migs] for gpu in gpus}
    if ALL in ids:
        chosen = [
            each for one in whole for each in (migs[one.gpu.index] if one.gpu.is_mig else [one])
        ]
        return chosen, [one for one in whole if one.gpu.is_mig]
    known = [*whole, *(each for some in migs.values() for each in some)]
    by_id = {name: each for each in known for name in each.ids() if name}
    if unknown := [name for name in ids if name not in by_id]:
        raise _unknown(unknown, known)
    return list({id(by_id[name]): by_id[name] for name in ids}.values()), []


def _unknown(unknown: list[str], known: list[Chosen]) -> NvidiaRuntimeError:
    named = ", ".join(repr(name[:LONGEST_NAME]) for name in unknown[:MOST_NAMED])
    if len(unknown) > MOST_NAMED:
        named += f" and {len(unknown) - MOST_NAMED} more"
    has = ", ".join(each.index() for each in known)
    hint = f"it has {has}; 'nvidia-smi -L' shows their UUIDs" if known else "it has no GPU"
    return NvidiaRuntimeError(f"this machine has no device {named}", hint=hint)
