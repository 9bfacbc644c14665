# SPDX-License-Identifier: Apache-2.0
"""A Tegra system with a card: device 0 is the GPU of the SoC, device 1 is the card."""

from __future__ import annotations

from nvidia_runtime.generate import assemble, devices, entries, naming
from nvidia_runtime.host import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nodes import DeviceNode

    Device = dict[str, Any]
    Edits = dict[str, Any]

# The card's node, and the node of the SoC's GPU beside a card.
CARD = "/dev/nvidia1"
OF_SOC = "/dev/nvidia2"
NVIDIA = "/dev/nvidia"
# The PCI address of a SoC's GPU, if it has one.
INTEGRATED_ADDRESS = ("0", "1", "0")


class UnfitError(Exception):
    """The GPUs are not those of a SoC with a card."""


class TegraDevices:
    """The devices of a spec, those that it has only by name, and the problems of others."""

    __slots__ = ("devices", "hidden", "problems")

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices
        self.hidden: list[Device] = []
        self.problems: dict[str, str] = {}


def choose(
    options: Options, machine: Machine, nodes: list[DeviceNode], gpus: list[Gpu]
) -> TegraDevices:
    """Choose the devices by ids: indices, UUIDs, or all.  Raises `UnfitError`."""
    chosen = TegraDevices([])
    for gpu in _asked(options.ids, gpus):
        names = naming.names(options.strategies, str(gpu.index), gpu.uuid)
        if gpu.index == 0 and not is_integrated(gpu):
            raise UnfitError(f"GPU 0, {gpu.name}, is not the one of the SoC")
        if gpu.index > 1 or (gpu.index and is_integrated(gpu)):
            raise UnfitError(f"GPU {gpu.index}, {gpu.name}, is not the one card beside the SoC")
        edits = _edits(options, machine, nodes, gpu)
        if edits:
            chosen.devices += [assemble.device(name, edits) for name in names]
            continue
        problem = gpu.problem or f"GPU {gpu.index}, {gpu.name}, has no device node"
        chosen.problems |= dict.fromkeys([*names, str(gpu.index), gpu.uuid], problem)
    chosen.problems.pop("", None)
    if not chosen.devices:
        raise UnfitError("; ".join(chosen.problems.values()))
    return chosen


def cards(
    options: Options, machine: Machine, nodes: list[DeviceNode], gpus: list[Gpu]
) -> list[Device]:
    """Return the card, to be asked for by name, where GPU 0 is not the SoC's."""
    gpu = gpus[1]
    if is_integrated(gpu):
        return []
    edits = _edits(options, machine, nodes, gpu)
    names = naming.names(options.strategies, str(gpu.index), gpu.uuid) if edits else []
    return [assemble.device(name, edits) for name in names]


def is_integrated(gpu: Gpu) -> bool:
    """Whether a GPU is part of the SoC: by its name, if it has no PCI address."""
    if not gpu.bus_id:
        return platform.is_integrated(gpu.name)
    domain, bus, device = gpu.bus_id.partition(".")[0].split(":")
    return tuple(part.lstrip("0") or "0" for part in (domain, bus, device)) == INTEGRATED_ADDRESS


def _asked(ids: tuple[str, ...], gpus: list[Gpu]) -> list[Gpu]:
    if "all" in ids:
        return gpus
    by_id = {gpu.uuid: gpu for gpu in gpus if gpu.uuid}
    by_id |= {str(gpu.index): gpu for gpu in gpus}
    unknown = [name for name in ids if name not in by_id]
    if unknown:
        raise UnfitError(f"there is no GPU {unknown[0]}")
    return list({by_id[name].index: by_id[name] for name in ids}.values())


def _edits(options: Options, machine: Machine, nodes: list[DeviceNode], gpu: Gpu) -> Edits:
    """Return the edits of the SoC's GPU or of the card; none where it is unusable."""
    if gpu.problem:
        return {}
    if is_integrated(gpu):
        present = {node.path: node for node in nodes if node.path != CARD}
        if (own := _node(machine, OF_SOC)) and OF_SOC not in present:
            present[OF_SOC] = own
        return entries.of_nodes(list(present.values()), options.with_gids)
    card = devices.full_gpu(options, machine, gpu)
    if not card:
        return {}
    shared = [node for node in nodes if not _is_of_gpu(node.path)]
    of_lists = entries.of_nodes(shared, options.with_gids)
    return assemble.merge([of_lists, card, devices.control(options, machine)])


def _is_of_gpu(path: str) -> bool:
    """Whether a node is a GPU's, or one that all GPUs share."""
    return path in devices.CONTROL or path.removeprefix(NVIDIA).isdigit()


def _node(machine: Machine, path: str) -> DeviceNode | None:
    from nvidia_runtime.host import nodes

    return nodes.read(machine.dev_root, path)
