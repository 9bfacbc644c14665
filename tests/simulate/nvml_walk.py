# SPDX-License-Identifier: Apache-2.0
"""A program: ask NVML, by ctypes, for all that identifies the devices of this machine, as JSON.

It has the layouts of nvml.h of its own, so that a wrong one in the simulated library shows.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

NVML = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libnvidia-ml.so.1")
UINT = ctypes.c_uint
NOT_FOUND = 6


class Pci(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = (
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", UINT),
        ("bus", UINT),
        ("device", UINT),
        ("pciDeviceId", UINT),
        ("pciSubSystemId", UINT),
        ("busId", ctypes.c_char * 32),
    )


class Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ("total", "free", "used"))


class Attributes(ctypes.Structure):
    """nvmlDeviceAttributes_t."""

    _fields_ = (
        *((name, UINT) for name in ("sm", "ce", "dec", "enc", "jpeg", "ofa", "gi", "ci")),
        ("memorySizeMB", ctypes.c_ulonglong),
    )


class Addressing(ctypes.Structure):
    """nvmlDeviceAddressingMode_v1_t."""

    _fields_ = (("version", UINT), ("value", UINT))


def call(name: str, *args: Any) -> int:
    return int(getattr(NVML, name)(*args))


def number(name: str, handle: Any) -> int:
    """Return a number, or less than 0 for an error."""
    value = UINT()
    result = call(name, handle, ctypes.byref(value))
    return -result if result else value.value


def text(name: str, handle: Any) -> str:
    buffer = ctypes.create_string_buffer(96)
    result = call(name, handle, buffer, 96)
    return f"error {result}" if result else buffer.value.decode()


def bus_id(handle: Any) -> str:
    pci = Pci()
    result = call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(pci))
    return f"error {result}" if result else pci.busId.decode()


def memory(handle: Any) -> int:
    """Return how much it has, in MiB, or less than 0 for an error."""
    memory = Memory()
    result = call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    return -result if result else int(memory.total) >> 20


def addressing(handle: Any) -> int:
    mode = Addressing(version=ctypes.sizeof(Addressing) | 1 << 24)
    result = call("nvmlDeviceGetAddressingMode", handle, ctypes.byref(mode))
    return -result if result else int(mode.value)


def migs(gpu: Any) -> list[dict[str, Any]]:
    devices = []
    for index in range(max(0, number("nvmlDeviceGetMaxMigDeviceCount", gpu))):
        handle = ctypes.c_void_p()
        result = call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, index, ctypes.byref(handle))
        if result == NOT_FOUND:
            continue
        attributes = Attributes()
        call("nvmlDeviceGetAttributes_v2", handle, ctypes.byref(attributes))
        devices.append(
            {
                "index": index,
                "uuid": text("nvmlDeviceGetUUID", handle),
                "name": text("nvmlDeviceGetName", handle),
                "gi": number("nvmlDeviceGetGpuInstanceId", handle),
                "ci": number("nvmlDeviceGetComputeInstanceId", handle),
                "memory": attributes.memorySizeMB,
            }
        )
    return devices


def gpu(index: int) -> dict[str, Any]:
    handle = ctypes.c_void_p()
    result = call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
    if result:
        return {"error": result}
    return {
        "uuid": text("nvmlDeviceGetUUID", handle),
        "name": text("nvmlDeviceGetName", handle),
        "minor": number("nvmlDeviceGetMinorNumber", handle),
        "bus_id": bus_id(handle),
        "addressing": addressing(handle),
        "memory": memory(handle),
        "migs": migs(handle),
    }


def main() -> None:
    """Print what is memory; an error of nvmlInit is the exit code."""
    if code := call("nvmlInit_v2"):
        sys.exit(code)
    count = UINT()
    call("nvmlDeviceGetCount_v2", ctypes.byref(count))
    gpus = [gpu(index) for index in range(count.value)]
    print(json.dumps(gpus))
    sys.exit(call("nvmlShutdown"))


if __name__ == "__main__":
    main()
