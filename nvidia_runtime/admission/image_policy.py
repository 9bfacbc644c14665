# SPDX-License-Identifier: Apache-2.0
"""How much of what an image itself asks for counts: nvidia-container-runtime.image-requests.

A variable is the image's if the image has the same name with the same value, or has the engine
complete it; a user who sets that value cannot be told apart.  No disk.
"""

from nvidia_runtime import document
from nvidia_runtime.admission import request
from nvidia_runtime.admission.request import GATES, IMEX_CHANNELS, VISIBLE_DEVICES, Request
from nvidia_runtime.errors import some
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import IMAGE_REQUESTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.image import Image
    from nvidia_runtime.store.snapshot import Settings

DEVICES = "nvidia-container-runtime.image-devices"


def limit(asked: Request, settings: "Settings", image: "Image | None") -> Request:
    """Return a request without what the image may not ask for, which `Request.refused` says.

    Where the image is unknown its environment counts as its own, and annotations as the user's:
    Kubernetes asks by these, and containerd copies none of an image.  Where an engine's files are
    there but do not tell, both count as the image's.
    """
    rule = _Rule(settings, image)
    limited = asked.copy()
    _limit_annotations(limited, rule)
    _limit_devices(limited, rule, settings)
    limited.gates = tuple(
        gate
        for gate, name in GATES
        if gate in asked.gates and rule.keep((name,), asked.environment, (gate,), (gate,))
    )
    if channels := asked.imex_by_env:
        names = tuple(f"imex/{channel}" for channel in channels)
        kept = rule.keep((IMEX_CHANNELS,), asked.environment, channels, names)
        if kept != channels:
            limited.imex_by_env = kept
            limited.overrides = {**limited.overrides, IMEX_CHANNELS: ",".join(kept)}
    limited.refused = tuple(rule.refusals)
    return limited


class _Rule:
    """What the settings and the engine say, and what was refused so far."""

    __slots__ = ("image", "is_deny", "kind", "listed", "refusals")

    def __init__(self, settings: "Settings", image: "Image | None") -> None:
        self.image = image
        self.is_deny = settings[IMAGE_REQUESTS] == "deny"
        self.kind: str = settings[request.DEFAULT_KIND]
        listed: list[str] = settings[DEVICES]
        self.listed = frozenset(request.qualify(tuple(listed), self.kind))
        self.refusals: list[str] = []

    def keep(
        self,
        variables: tuple[str, ...],
        environment: dict[str, str],
        devices: tuple[str, ...],
        names: tuple[str, ...],
    ) -> tuple[str, ...]:
        """Return what these variables may ask for: all of it, unless one of them is the image's.

        ``names`` are the devices as image-devices spells them.
        """
        image = self.image
        if image is not None and image.is_readable:
            is_images = any(image.says(name, environment[name]) for name in variables)
            return self.filter(" and ".join(variables), devices, names) if is_images else devices
        return self.filter(" and ".join(variables), devices, names)

    def filter(
        self, what: str, devices: tuple[str, ...], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return those of an image's devices that are listed, and refuse the others."""
        kept: list[str] = []
        lost: list[str] = []
        for device, name in zip(devices, names, strict=True):
            is_listed = not self.is_deny and request.qualify((name,), self.kind)[0] in self.listed
            (kept if is_listed else lost).append(device)
        if lost:
            whose = f"of the image ({some(lost)})"
            if self.image is None or not self.image.is_readable:
                whose = f"({some(lost)}), which may be the image's: the engine does not tell"
            why = f'{IMAGE_REQUESTS} is "deny"' if self.is_deny else f"not in {DEVICES}"
            self.refusals.append(f"ignoring {what} {whose}; {why}")
        return tuple(kept)


def _limit_annotations(limited: Request, rule: _Rule) -> None:
    if rule.image is None:
        return
    annotations = dict(limited.annotations)
    for key, value in limited.annotations.items():
        if not rule.image.is_readable or rule.image.annotations.get(key) == value:
            devices = tuple(value.split(","))
            kept = rule.filter(f"the annotation {key}", devices, devices)
            if not kept:
                del annotations[key]  # "" would still ask for something: the device none
            else:
                annotations[key] = ",".join(kept)
    limited.annotations = annotations
    limited.by_annotation = request.devices_by_annotation(annotations)


def _limit_devices(limited: Request, rule: _Rule, settings: "Settings") -> None:
    devices, environment = limited.by_env, limited.environment
    if not devices:
        return
    variables = tuple(name for name in request.swarm_variables(settings) if name in environment)
    if not variables:
        variables = (VISIBLE_DEVICES if VISIBLE_DEVICES in environment else "CUDA_VERSION",)
    kept = rule.keep(variables, environment, devices, devices)
    if kept == devices:
        return
    limited.by_env = kept
    # For the prestart hook, which reads the variables again: the first one says it all.
    first, *others = variables if variables != ("CUDA_VERSION",) else (VISIBLE_DEVICES,)
    limited.overrides = {first: ",".join(kept) or "void", **dict.fromkeys(others, "")}


def override(variables: dict[str, str]) -> Source:
    """Return the edit that tells the prestart hook what is left of the image's request."""
    env = [f"{name}={value}" for name, value in variables.items()]
    origin = document.dumps({"setting": IMAGE_REQUESTS}).decode()
    return Source("", origin, document.dumps({"env": env}).decode())
