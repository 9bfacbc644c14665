# SPDX-License-Identifier: Apache-2.0
"""A topology as a JSON document: schemas/output/topology.schema.json."""

from __future__ import annotations

from nvidia_runtime.topology import relation
from nvidia_runtime.topology.devices import Gpu, MigDevice, Nic, Topology

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.topology.sysfs import PciDevice


def of(topology: Topology) -> dict[str, Any]:
    """Return the document."""
    return {
        "numa_nodes": [{"number": node.number, "cpus": node.cpus} for node in topology.numa_nodes],
        "gpus": [_gpu(gpu) | _relations(gpu.device, topology) for gpu in topology.gpus],
        "nics": [_nic(nic) | _relations(nic.device, topology) for nic in topology.nics],
        "nvswitches": [_place(nvswitch.device) for nvswitch in topology.nvswitches],
        "bridges": [{"role": bridge.role, **_place(bridge.device)} for bridge in topology.bridges],
        "notes": list(topology.notes),
    }


def _gpu(gpu: Gpu) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "minor": gpu.minor,
        "uuid": gpu.uuid,
        "model": gpu.model,
        "node": gpu.node,
        **_place(gpu.device),
        "mig_devices": [_mig(device) for device in gpu.migs],
        "problem": gpu.problem,
    }


def _mig(device: MigDevice) -> dict[str, Any]:
    return {
        "index": device.index,
        "uuid": device.uuid,
        "gpu_instance": device.gpu_instance,
        "compute_instance": device.compute_instance,
    }


def _nic(nic: Nic) -> dict[str, Any]:
    return {
        "number": nic.number,
        "interfaces": list(nic.device.interfaces),
        "rdma_devices": list(nic.device.rdma_devices),
        "virtual_functions": nic.device.virtual_functions,
        **_place(nic.device),
    }


def _place(device: PciDevice) -> dict[str, Any]:
    return {
        "address": device.address,
        "path": list(device.path),
        "ids": device.ids,
        "numa_node": device.numa_node,
        "cpus": device.cpus,
        "driver": device.driver,
        "link": device.link,
        "asleep": device.is_asleep,
    }


def _relations(device: PciDevice, topology: Topology) -> dict[str, list[str]]:
    """Return what is between a device and each GPU, in their order."""
    return {"relations": [relation.between(device, gpu.device) for gpu in topology.gpus]}
