# SPDX-License-Identifier: Apache-2.0
"""What legacy mode adds beside the prestart hook, which knows nothing of these requests.

NVIDIA_VISIBLE_DEVICES stays as it is: the prestart hook reads it after us.
"""

from nvidia_runtime.admission.request import DRIVER_CAPABILITIES
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.sources import generated
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import COMPAT_MODE, DRIVER_ROOT, NO_GIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.store.snapshot import Settings

    Edits = dict[str, Any]

CTK = "nvidia-ctk"
# The kernel's own, also where the driver's files lie below another root.
SYSFS = "/sys"


def sources(
    admitted: "Admitted", settings: "Settings", compat: bool, graphics: bool
) -> list[Source]:
    """Return the edits for gated features, CUDA compatibility by a hook, graphics and display."""
    injected = [generated.feature(gate, settings, mode="legacy") for gate in admitted.gates]
    if compat or graphics:
        for name, edits in _of_driver(admitted.devices, settings, compat, graphics):
            injected.append(generated.source({"mode": "legacy", "generator": name}, edits))
    return [source for source in injected if source.edits]


def _of_driver(
    devices: tuple[str, ...], settings: "Settings", compat: bool, graphics: bool
) -> "list[tuple[str, Edits]]":
    """Return what depends on the installed driver.

    The links come before the loader's cache, which is made anew where the compatibility hook has
    chosen other libraries; else the prestart hook's program makes it.
    """
    from nvidia_runtime.generate import hooks  # only where the settings or a container ask
    from nvidia_runtime.host.driver import Driver

    path, data_dirs = files.environment(b"PATH"), files.environment(b"XDG_DATA_DIRS")
    installed = Driver(str(settings[DRIVER_ROOT]), path, data_dirs)
    version = _version(installed, compat, graphics)
    program = lowlevel.executable(str(settings[f"{CTK}.path"]), CTK, path)
    parts: "list[tuple[str, Edits]]" = []
    if compat:
        parts.append(("cuda-compat", {"hooks": [hooks.enable_cuda_compat(program, version)]}))
    if graphics:
        parts += _graphics(installed, version, devices, program, not settings[NO_GIDS])
    if compat:
        parts.append(("cuda-compat", {"hooks": [hooks.update_ldcache(program)]}))
    return parts


def _version(installed: "Driver", compat: bool, graphics: bool) -> str:
    from nvidia_runtime.host import driver

    version = driver.version(installed) or files.loaded_driver(installed.root)
    if version:
        return version
    needs = []
    if compat:
        needs.append(f'{COMPAT_MODE} = "hook"')
    if graphics:
        needs.append(f"graphics or display in {DRIVER_CAPABILITIES}")
    what = "has no libcuda.so.VERSION or libnvidia-ml.so.VERSION to tell the driver's version, "
    what += f"which is needed for {' and '.join(needs)}"
    hint = f"install the driver there, or set {DRIVER_ROOT} to where it is"
    raise NvidiaRuntimeError(what, where=installed.root, hint=hint)


def _graphics(
    installed: "Driver", version: str, devices: tuple[str, ...], program: str, with_gids: bool
) -> "list[tuple[str, Edits]]":
    from nvidia_runtime.generate import graphics
    from nvidia_runtime.host import nodes, proc

    gpus = proc.gpus(installed.root)
    # In a container with some of the GPUs, /proc lists all.
    present = [gpu for gpu in gpus if nodes.read(installed.root, f"/dev/nvidia{gpu.minor}")]
    bus_ids = [gpu.bus_id for gpu in select(present or gpus, devices)]
    return [
        ("drm", graphics.drm_edits(bus_ids, SYSFS, installed.root, program, with_gids)),
        ("graphics", graphics.edits(installed, version, program)),
    ]


def select(gpus: "list[Gpu]", devices: tuple[str, ...]) -> "list[Gpu]":
    """Choose GPUs by ids: the index, the UUID or the PCI bus id, or all.

    The index is the one by which ``nvidia-container-cli`` chooses, not the minor number: they
    differ on machines like the DGX A100.  A MIG device gets no DRM nodes.
    """
    from nvidia_runtime.host import proc

    if "all" in devices:
        return gpus
    bus_ids = [proc.bus_id(device) for device in devices]
    return [
        gpu
        for index, gpu in enumerate(gpus)
        if str(index) in devices or gpu.uuid in devices or gpu.bus_id in bus_ids
    ]
