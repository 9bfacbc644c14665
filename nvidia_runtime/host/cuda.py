# SPDX-License-Identifier: Apache-2.0
"""What libcuda says of itself and its first GPU: only it knows the CUDA version on Tegra."""

from __future__ import annotations

from nvidia_runtime.host import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.driver import Driver

LIBRARY = "libcuda.so.1"
# cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
MAJOR, MINOR = 75, 76
PATIENCE = 10.0


def facts(installed: Driver, patience: float = PATIENCE) -> dict[str, str]:
    """Return cuda and arch as far as libcuda knows them; it is asked in a child."""
    libraries = installed.libraries(LIBRARY)
    if not libraries:
        return {}
    data, _ = child.ask(lambda: _ask(libraries[0]).encode(), patience)
    return dict(line.split("=", 1) for line in data.decode().splitlines())


def _ask(library: str) -> str:
    """Return what libcuda knows, a line for each fact."""
    import ctypes  # only in the child

    text = ""
    try:
        cuda = ctypes.CDLL(library)
        number, other = ctypes.c_int(), ctypes.c_int()
        if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0:
            text += f"cuda={number.value // 1000}.{number.value % 1000 // 10}\n"
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device := ctypes.c_int()), 0):
            return text
        parts = ((number, MAJOR), (other, MINOR))
        if not any(cuda.cuDeviceGetAttribute(ctypes.byref(p), a, device) for p, a in parts):
            text += f"arch={number.value}.{other.value}\n"
    except (OSError, AttributeError):
        return text
    return text
