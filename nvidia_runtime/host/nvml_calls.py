# SPDX-License-Identifier: Apache-2.0
"""The calls of libnvidia-ml that a CDI spec needs, through ctypes; run in a child of ours.

The child writes a line of JSON for each step, and one for each GPU.  Structures are read from plain
buffers, by the offsets of nvml.h.
"""

from __future__ import annotations

import ctypes

from nvidia_runtime import document
from nvidia_runtime.host.nvml_problems import NO_SYMBOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.host.child import Say

# nvmlReturn_t.
INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND = 2, 3, 6, 13
TEXT = 96
BUFFER = 256
# nvmlPciInfo_t: char busIdLegacy[16], five unsigned integers, char busId[32].
BUS_ID = slice(36, 68)
# nvmlGpuInstanceInfo_t: a pointer, then id and profileId.
PROFILE_ID = slice(12, 16)
# The profiles with graphics, NVML_GPU_INSTANCE_PROFILE_1_SLICE_GFX and those of 2 and 4 slices.
GRAPHICS_PROFILES = (0xA, 0xB, 0xC)
# nvmlDeviceAddressingMode_v1_t: two unsigned integers, the first says which structure it is.
ADDRESSING_VERSION = 8 | 1 << 24
ATS = 2
# nvmlBrandType_t, in the words that images' requirements have, in any letter case.
BRANDS = (
    *("Unknown", "Quadro", "Tesla", "NVS", "GRID", "GeForce", "TITAN"),
    *("VApps", "VPC", "VCS", "VWS", "CloudGaming"),
    *("QuadroRTX", "NvidiaRTX", "Nvidia", "GeForceRTX", "TitanRTX"),
)


class NvmlError(Exception):
    """A call that failed: its name, its code, and the library's own words."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(call)
        self.call = call
        self.code = code
        self.text = text


class Nvml:
    """The library, initialised; functions are looked up when they are called."""

    def __init__(self, path: str) -> None:
        """Load and initialise.  Raises `OSError` or `NvmlError`."""
        self._library = ctypes.CDLL(path)
        self.call("nvmlInit_v2")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.  Raises `NvmlError` if it fails, or does not exist."""
        function = getattr(self._library, name, None)
        if function is None:
            raise NvmlError(name, NO_SYMBOL, "no such function")
        code = function(*arguments)
        if code:
            raise NvmlError(name, code, self._error_text(code))

    def text(self, name: str, *arguments: Any) -> str:
        """Call a function that fills in a text."""
        buffer = ctypes.create_string_buffer(TEXT)
        self.call(name, *arguments, buffer, TEXT)
        return buffer.value.decode("utf-8", "replace")

    def number(self, name: str, *arguments: Any) -> int:
        """Call a function that fills in an unsigned integer."""
        number = ctypes.c_uint()
        self.call(name, *arguments, ctypes.byref(number))
        return number.value

    def handle(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Call a function that fills in a handle."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def structure(self, name: str, *arguments: Any, head: int = 0) -> bytes:
        """Call a function that fills in a structure, ``head`` is its first integer."""
        buffer = ctypes.create_string_buffer(head.to_bytes(4, "little"), BUFFER)
        self.call(name, *arguments, buffer)
        return buffer.raw

    def _error_text(self, code: int) -> str:
        function = getattr(self._library, "nvmlErrorString", None)
        if function is None:
            return f"error {code}"
        function.restype = ctypes.c_char_p
        return (function(code) or b"").decode("utf-8", "replace")


def walk(library: str, done: set[int], say: Say) -> None:
    """Ask about all GPUs but those that are done."""

    def tell(**line: object) -> None:
        say(document.quote(line).encode() + b"\n")

    try:
        nvml = Nvml(library)
        driver, cuda = driver_versions(nvml)
        count = nvml.number("nvmlDeviceGetCount_v2")
        tell(driver=driver, cuda=cuda, count=count)
        for index in range(count):
            if index not in done:
                tell(at=index)
                tell(gpu=index, **_gpu_or_error(nvml, index))
        tell(done=True)
    except OSError as error:
        tell(error=0, text=str(error), call="dlopen")
    except NvmlError as error:
        tell(error=error.code, text=error.text, call=error.call)


def _gpu_or_error(nvml: Nvml, index: int) -> dict[str, Any]:
    """Ask about a GPU; a function that the library lacks is not the GPU's fault."""
    try:
        return gpu(nvml, index)
    except NvmlError as error:
        if error.code == NO_SYMBOL:
            raise
        return {"error": error.code, "text": error.text, "call": error.call}


def driver_versions(nvml: Nvml) -> tuple[str, str]:
    """Return the driver's version and, if it is known, the newest CUDA version that it supports."""
    driver = nvml.text("nvmlSystemGetDriverVersion")
    try:
        cuda = nvml.number("nvmlSystemGetCudaDriverVersion")
    except NvmlError:
        return driver, ""
    return driver, f"{cuda // 1000}.{cuda % 1000 // 10}"


def gpu(nvml: Nvml, index: int) -> dict[str, Any]:
    """Return all about a GPU; what it does not support is empty."""
    device = nvml.handle("nvmlDeviceGetHandleByIndex_v2", index)
    facts: dict[str, Any] = {"name": nvml.text("nvmlDeviceGetName", device)}
    facts["bus_id"] = _or_none(_bus_id, nvml, device) or ""
    minor = _or_none(Nvml.number, nvml, "nvmlDeviceGetMinorNumber", device)
    facts["minor"] = -1 if minor is None else minor
    facts["uuid"] = nvml.text("nvmlDeviceGetUUID", device)
    facts["architecture"] = _or_none(_architecture, nvml, device) or ""
    brand = _or_none(Nvml.number, nvml, "nvmlDeviceGetBrand", device) or 0
    facts["brand"] = BRANDS[brand] if brand < len(BRANDS) else BRANDS[0]
    facts["is_coherent"] = _is_coherent(nvml, device)
    facts["is_mig"] = _is_mig(nvml, device)
    facts["migs"] = _migs(nvml, device) if facts["is_mig"] else []
    return facts


def _bus_id(nvml: Nvml, device: ctypes.c_void_p) -> str:
    text = nvml.structure("nvmlDeviceGetPciInfo_v3", device)[BUS_ID]
    return text.partition(b"\0")[0].decode("ascii", "replace")


def _architecture(nvml: Nvml, device: ctypes.c_void_p) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    numbers = (ctypes.byref(major), ctypes.byref(minor))
    nvml.call("nvmlDeviceGetCudaComputeCapability", device, *numbers)
    return f"{major.value}.{minor.value}"


def _is_mig(nvml: Nvml, device: ctypes.c_void_p) -> bool:
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    modes = (ctypes.byref(current), ctypes.byref(pending))
    return _or_none(_called, nvml, "nvmlDeviceGetMigMode", device, *modes) is True and bool(
        current.value
    )


def _called(nvml: Nvml, name: str, *arguments: Any) -> bool:
    nvml.call(name, *arguments)
    return True


def _is_coherent(nvml: Nvml, device: ctypes.c_void_p) -> bool | None:
    """Whether GPU and CPU share page tables (ATS); drivers before 580 do not say."""
    try:
        mode = nvml.structure("nvmlDeviceGetAddressingMode", device, head=ADDRESSING_VERSION)
    except NvmlError:
        return None
    return int.from_bytes(mode[4:8], "little") == ATS


def _migs(nvml: Nvml, device: ctypes.c_void_p) -> list[dict[str, Any]]:
    graphics = _graphics_profiles(nvml, device)
    devices = []
    for index in range(nvml.number("nvmlDeviceGetMaxMigDeviceCount", device)):
        try:
            handle = nvml.handle("nvmlDeviceGetMigDeviceHandleByIndex", device, index)
        except NvmlError as error:
            if error.code in (NOT_FOUND, INVALID_ARGUMENT):
                continue
            raise
        instance = nvml.number("nvmlDeviceGetGpuInstanceId", handle)
        profile = _profile(nvml, device, instance) if graphics else None
        devices.append(
            {
                "index": index,
                "uuid": nvml.text("nvmlDeviceGetUUID", handle),
                "gpu_instance": instance,
                "compute_instance": nvml.number("nvmlDeviceGetComputeInstanceId", handle),
                "has_graphics": profile in graphics,
            }
        )
    return devices


def _graphics_profiles(nvml: Nvml, device: ctypes.c_void_p) -> list[int]:
    """Return the ids of the profiles with graphics that a GPU has, which few have."""
    ids = []
    for profile in GRAPHICS_PROFILES:
        try:
            info = nvml.structure("nvmlDeviceGetGpuInstanceProfileInfo", device, profile)
        except NvmlError:
            continue
        ids.append(int.from_bytes(info[:4], "little"))
    return ids


def _profile(nvml: Nvml, device: ctypes.c_void_p, instance: int) -> int | None:
    """Return the profile id of a GPU instance, ``None`` if we may not open it."""
    try:
        handle = nvml.handle("nvmlDeviceGetGpuInstanceById", device, instance)
        info = nvml.structure("nvmlGpuInstanceGetInfo", handle)
    except NvmlError:
        return None
    return int.from_bytes(info[PROFILE_ID], "little")


def _or_none(function: Any, *arguments: Any) -> Any:
    """Call a function; return ``None`` for what this GPU does not support."""
    try:
        return function(*arguments)
    except NvmlError as error:
        if error.code in (NOT_SUPPORTED, FUNCTION_NOT_FOUND, NO_SYMBOL):
            return None
        raise
