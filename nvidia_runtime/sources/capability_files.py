# SPDX-License-Identifier: Apache-2.0
"""Which of the driver's files belong to which driver capability, to leave the others out.

A file that is in no table belongs to all: to give too much has always worked.
"""

from nvidia_runtime import document
from nvidia_runtime.admission import capabilities, request
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nvidia_runtime.store.snapshot import Settings

    Edits = dict[str, Any]

# As nvidia-container-cli divides them; names of libraries up to ".so".
PARTS = {
    "utility": (
        *("libnvidia-ml", "libnvidia-cfg", "libnvidia-nscq", "nvidia-smi", "nvidia-debugdump"),
        "nvidia-persistenced",
    ),
    "compute": (
        *("libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-ptxjitcompiler"),
        *("libnvidia-fatbinaryloader", "libnvidia-compiler", "libnvidia-nvvm", "libnvidia-nvvm70"),
        *("libnvidia-pkcs11", "libnvidia-pkcs11-openssl3", "nvidia.icd"),
        *("nvidia-cuda-mps-control", "nvidia-cuda-mps-server", "nvidia-mps"),
    ),
    "video": ("libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow", "libvdpau_nvidia"),
    "graphics": (
        *("libEGL_nvidia", "libGLESv1_CM_nvidia", "libGLESv2_nvidia", "libGLX_nvidia"),
        *("libnvidia-eglcore", "libnvidia-glcore", "libnvidia-glsi", "libnvidia-tls"),
        *("libnvidia-glvkspirv", "libnvidia-rtcore", "libnvoptix", "libnvidia-fbc"),
        *("libnvidia-egl-gbm", "libnvidia-egl-wayland", "libnvidia-egl-wayland2"),
        *("libnvidia-egl-xcb", "libnvidia-egl-xlib", "libnvidia-vulkan-producer"),
        *("libnvidia-vksc-core", "libnvidia-present", "libnvidia-wayland-client"),
        *("nvidia-drm_gbm", "libGLX_indirect", "10_nvidia.json", "15_nvidia_gbm.json"),
        *("10_nvidia_wayland.json", "09_nvidia_wayland2.json", "20_nvidia_xcb.json"),
        *("20_nvidia_xlib.json", "nvoptix.bin", "nvidia_icd.json", "nvidia_layers.json"),
        *("nvidia_icd.x86_64.json", "nvidia_icd.aarch64.json"),
    ),
    "display": (
        *("nvidia_drv", "libglxserver_nvidia", "nvidia-xconfig", "10-nvidia.conf"),
        "nvidia-drm-outputclass.conf",
    ),
    "ngx": ("libnvidia-ngx", "nvidia-ngx-updater"),
}
# To show a picture it takes what makes one.
IMPLIED = {"display": ("graphics",)}
OF = {name: capability for capability, names in PARTS.items() for name in names}


def limit(sources: list[Source], environment: dict[str, str], settings: "Settings") -> list[Source]:
    """Take out the mounts, and the links to them, of capabilities that are not asked for."""
    wanted = environment.get(capabilities.VARIABLE)
    is_legacy = request.is_legacy_image(environment)
    allowed: str = settings[CAPABILITIES]
    return limit_to(sources, capabilities.choose(wanted, allowed, legacy_image=is_legacy).granted)


def limit_to(sources: list[Source], granted: "Iterable[str]") -> list[Source]:
    """Take out the mounts, and the links to them, of all other capabilities."""
    granted = tuple(granted)
    names = {*granted, *(more for name in granted for more in IMPLIED.get(name, ()))}
    return [_limit(source, names) for source in sources]


def _limit(source: Source, wanted: set[str]) -> Source:
    edits = dict(source.edits)
    if "mounts" in edits:
        edits["mounts"] = [m for m in edits["mounts"] if _is_wanted(m["source"], wanted)]
    if "hooks" in edits:
        stages = edits["hooks"].items()
        edits["hooks"] = {
            stage: [hook for one in hooks for hook in _links(one, wanted)]
            for stage, hooks in stages
        }
    return Source(source.name, source.origin, document.dumps(edits).decode())


def _is_wanted(path: str, wanted: set[str]) -> bool:
    name = path.rstrip("/").rpartition("/")[2]
    return OF.get(name.partition(".so")[0], OF.get(name, "")) in {"", *wanted}


def _links(hook: "Edits", wanted: set[str]) -> "list[Edits]":
    """Return a hook without the links to what is left out, or nothing if no link remains."""
    words: list[str] = hook.get("args", [])
    if "create-symlinks" not in words:
        return [hook]
    at = words.index("create-symlinks") + 1
    kept: list[str] = []
    for flag, link in zip(words[at::2], words[at + 1 :: 2], strict=False):
        if flag == "--link" and _is_wanted(link.partition("::")[0], wanted):
            kept += [flag, link]
    return [{**hook, "args": [*words[:at], *kept]}] if kept else []
