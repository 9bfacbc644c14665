# SPDX-License-Identifier: Apache-2.0
"""The GPUs in /proc/driver/nvidia."""

from __future__ import annotations

from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.gpu import Gpu

GPUS = "/proc/driver/nvidia/gpus"


def gpus(root: str) -> list[Gpu]:
    """List the GPUs in the order of bus ids, which is NVML's order of indices.

    Those that are excluded from use have no index and are left out; a GPU whose file is empty, as
    that of a lost one may be, has an index all the same.
    """
    folder = driver_root.join(root, GPUS)
    files = [(name, information(f"{folder}/{name}/information")) for name in _names(folder)]
    used = [(name, fields) for name, fields in files if fields.get("GPU Excluded") != "Yes"]
    return [_gpu(index, name, fields) for index, (name, fields) in enumerate(used)]


def information(path: str) -> dict[str, str]:
    """Read the fields of an information file; an unreadable one has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return fields_of(file.read())
    except OSError:
        return {}


def fields_of(text: str) -> dict[str, str]:
    """Return the fields of the text of an information file."""
    lines = [line.partition(":") for line in text.splitlines()]
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def bus_id(text: str) -> str:
    """Return a PCI bus id as sysfs writes it: lower case, with a short domain if it fits."""
    text = text.lower()
    domain = text.partition(":")[0]
    return text[4:] if len(domain) == len("00000000") and domain.startswith("0000") else text


def _gpu(index: int, name: str, fields: dict[str, str]) -> Gpu:
    gpu = Gpu(index)
    gpu.bus_id = bus_id(fields.get("Bus Location", name))
    gpu.uuid = fields.get("GPU UUID", "")
    gpu.name = fields.get("Model", "")
    minor = fields.get("Device Minor", "")
    gpu.minor = int(minor) if minor.isdigit() else -1
    return gpu


def _names(folder: str) -> list[str]:
    return sorted(driver_root.names(folder), key=lambda name: (len(name.partition(":")[0]), name))
