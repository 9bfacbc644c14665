# SPDX-License-Identifier: Apache-2.0
"""The GPUs that the kernel driver tells of in /proc/driver/nvidia.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.host import root as driver_root

GPUS = "/proc/driver/nvidia/gpus"


class Gpu:
    """A GPU: its PCI bus id as sysfs writes it, its UUID, the minor number of its node.

    ``minor`` is the N of /dev/nvidiaN, which need not be the index; -1 if it is not told.
    """

    __slots__ = ("bus_id", "minor", "name", "uuid")

    def __init__(self, bus_id: str, uuid: str, minor: int, name: str = "") -> None:
        self.bus_id = bus_id
        self.name = name
        self.uuid = uuid
        self.minor = minor


def gpus(root: str) -> list[Gpu]:
    """List the GPUs in the order of bus ids, which is NVML's order of indices.

    Those that are excluded from use have no index and are left out; one whose file says nothing, as
    that of a GPU that is lost may, has its index all the same.
    """
    folder = driver_root.join(root, GPUS)
    listed = [(name, information(f"{folder}/{name}/information")) for name in _names(folder)]
    return [_gpu(name, fields) for name, fields in listed if fields.get("GPU Excluded") != "Yes"]


def information(path: str) -> dict[str, str]:
    """Read the fields of an information file; one that cannot be read has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def bus_id(text: str) -> str:
    """Return a PCI bus id as sysfs writes it: lower case, four digits of domain where they do."""
    text = text.lower()
    domain = text.partition(":")[0]
    return text[4:] if len(domain) == len("00000000") and domain.startswith("0000") else text


def _gpu(name: str, fields: dict[str, str]) -> Gpu:
    minor = fields.get("Device Minor", "")
    found = bus_id(fields.get("Bus Location", name))
    uuid = fields.get("GPU UUID", "")
    return Gpu(found, uuid, int(minor) if minor.isdigit() else -1, fields.get("Model", ""))


def _names(folder: str) -> list[str]:
    return sorted(driver_root.names(folder), key=lambda name: (len(name.partition(":")[0]), name))
