# SPDX-License-Identifier: Apache-2.0
"""What a container asks for, as written: devices, features, capabilities, IMEX channels.

Nothing is decided here; `policy.admit` says what the container may have.
"""

from nvidia_runtime.document import list_at, object_at, wrong_type
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store.snapshot import VOLUME_MOUNTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.store.snapshot import Settings

MOST_DEVICES = 4096
DEFAULT_KIND = "nvidia-container-runtime.modes.cdi.default-kind"
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
DRIVER_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
ANNOTATION_PREFIXES = "nvidia-container-runtime.modes.cdi.annotation-prefixes"
IMEX_CHANNELS = "NVIDIA_IMEX_CHANNELS"
# What manages and watches MIG devices; only a privileged container may have it.
MIG = ("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES")
# Each must be exactly "enabled"; in the order in which they are injected.
GATES = (
    ("gds", "NVIDIA_GDS"),
    ("mofed", "NVIDIA_MOFED"),
    ("gdrcopy", "NVIDIA_GDRCOPY"),
    ("nvswitch", "NVIDIA_NVSWITCH"),
)


class Request:
    """Everything that a container says about NVIDIA devices, each source apart.

    ``None`` is "says nothing", an empty tuple "asks for no device"; ``("none",)`` asks for the
    driver without a GPU.  ``refused`` are sentences on what has been taken out of it already, and
    ``overrides`` the variables that must tell the prestart hook so.
    """

    __slots__ = (
        "annotations",
        "by_annotation",
        "by_env",
        "by_mount",
        "environment",
        "gates",
        "imex_by_env",
        "imex_by_mount",
        "invalid_mounts",
        "mig",
        "overrides",
        "privileged",
        "refused",
    )

    def __init__(self) -> None:
        self.annotations: dict[str, str] = {}
        self.by_annotation: tuple[str, ...] | None = None
        self.by_mount: tuple[str, ...] | None = None
        self.by_env: tuple[str, ...] | None = None
        self.imex_by_mount: tuple[str, ...] = ()
        self.imex_by_env: tuple[str, ...] = ()
        self.gates: tuple[str, ...] = ()
        self.mig: tuple[str, ...] = ()
        self.invalid_mounts: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        self.overrides: dict[str, str] = {}
        self.privileged = False
        self.refused: tuple[str, ...] = ()

    def copy(self) -> "Request":
        """Return the same request, to be changed."""
        copy = Request()
        for name in Request.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


def read(spec: "Document", settings: "Settings", path: str) -> Request:
    """Read a request from a config.json; ``path`` is the file's, for messages.

    Raises `NvidiaRuntimeError` where a field that is read has a wrong type.
    """
    request = Request()
    process = object_at(spec, "process", path)
    swarm = swarm_variables(settings)
    request.environment = _environment(process, swarm, path)
    request.by_env = _devices_by_env(request.environment, swarm)
    if request.environment:
        request.imex_by_env = _imex_by_env(request.environment)
        request.gates = tuple(
            gate for gate, name in GATES if request.environment.get(name) == "enabled"
        )
        request.mig = tuple(name for name in MIG if request.environment.get(name))
    request.annotations = _annotations(spec, settings, path)
    request.by_annotation = devices_by_annotation(request.annotations)
    if settings[VOLUME_MOUNTS]:
        from nvidia_runtime.admission import mounts  # only where this way of asking is switched on

        devices, request.imex_by_mount, request.invalid_mounts = mounts.read(spec, path)
        request.by_mount = decide(devices) if devices else None
    if request.by_env or request.imex_by_env or request.mig:
        request.privileged = is_privileged(process, path)
    return request


def _environment(process: "Document", swarm: list[str], path: str) -> dict[str, str]:
    """Pick NVIDIA's variables; of a repeated name the last entry counts."""
    variables: dict[str, str] = {}
    for entry in list_at(process, "env", f"{path}: process"):
        if type(entry) is not str:
            raise wrong_type(f"{path}: process.env", "a list of strings", entry, "with {} in it")
        if entry[:7] == "NVIDIA_" or entry[:13] == "CUDA_VERSION=" or swarm:
            name, equals, value = entry.partition("=")
            if equals:
                variables[name] = value
    return variables


def swarm_variables(settings: "Settings") -> list[str]:
    """Return the names that stand in the place of NVIDIA_VISIBLE_DEVICES."""
    setting: str = settings["swarm-resource"]
    return [name.strip() for name in setting.split(",") if name.strip()] if setting else []


def _devices_by_env(environment: dict[str, str], swarm: list[str]) -> tuple[str, ...] | None:
    """Read NVIDIA_VISIBLE_DEVICES, or the swarm resources' variables in its place."""
    values = [environment[name] for name in swarm if name in environment]
    value = ",".join(values) if values else environment.get(VISIBLE_DEVICES)
    if value is None:
        return ("all",) if is_legacy_image(environment) else None
    return visible(value)


def is_legacy_image(environment: dict[str, str]) -> bool:
    """Whether an image predates NVIDIA_REQUIRE_CUDA: it asks for all GPUs by being a CUDA image."""
    return bool(environment.get("CUDA_VERSION")) and not environment.get("NVIDIA_REQUIRE_CUDA")


def has_requirements(environment: dict[str, str]) -> bool:
    """Whether a container may require something of CUDA or the driver; `requirements` says what."""
    return any(name[:15] == "NVIDIA_REQUIRE_" or name == "CUDA_VERSION" for name in environment)


def visible(value: str) -> tuple[str, ...]:
    """Read a list of device ids: ``void`` asks for nothing, else the first all or none decides."""
    names = [name for part in value.split(",") if (name := part.strip())]
    if "void" in names:
        return ()
    return decide(names)


def decide(names: list[str]) -> tuple[str, ...]:
    """Let the first ``all`` or ``none`` stand for the whole list; drop repeated ids."""
    for name in names:
        if name in ("all", "none"):
            return (name,)
    return tuple(dict.fromkeys(names))


def _imex_by_env(environment: dict[str, str]) -> tuple[str, ...]:
    value = environment.get(IMEX_CHANNELS, "")
    names = [name for part in value.split(",") if (name := part.strip())]
    if not names or "void" in names or "none" in names or names == ["all"]:
        return ()
    return tuple(dict.fromkeys(names))


def _annotations(spec: "Document", settings: "Settings", path: str) -> dict[str, str]:
    """Pick the annotations that ask for devices, in the order of keys."""
    annotations = spec.get("annotations")
    if not annotations:
        return {}
    if type(annotations) is not dict:
        raise wrong_type(f"{path}: annotations", "an object", annotations)
    prefixes: tuple[str, ...] = tuple(settings[ANNOTATION_PREFIXES])
    asking: dict[str, str] = {}
    for key in sorted(annotations):
        if key.startswith(prefixes):
            value = annotations[key]
            if value is None:
                continue  # as good as nothing, as elsewhere
            if type(value) is not str:
                raise wrong_type(f"{path}: annotations[{key!r}]", "a string", value)
            asking[key] = value
    return asking


def devices_by_annotation(annotations: dict[str, str]) -> tuple[str, ...] | None:
    """Return the devices that annotations ask for, each once."""
    if not annotations:
        return None
    names = [name for value in annotations.values() for name in value.split(",")]
    return tuple(dict.fromkeys(names)) or None


def is_privileged(process: "Document", path: str) -> bool:
    """Whether CAP_SYS_ADMIN is in the bounding set; 1.0.0-rc1 to rc4 had one plain list."""
    capabilities = process.get("capabilities")
    if type(capabilities) is list:
        return "CAP_SYS_ADMIN" in capabilities
    if capabilities is None:
        return False
    if type(capabilities) is not dict:
        raise wrong_type(f"{path}: process.capabilities", "an object", capabilities)
    return "CAP_SYS_ADMIN" in list_at(capabilities, "bounding", f"{path}: process.capabilities")


def are_qualified(devices: tuple[str, ...]) -> bool:
    """Whether there are devices, and all are named with vendor and class."""
    return bool(devices) and not any(name[:1] == "=" for name in qualify(devices, ""))


def qualify(devices: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Return qualified names: any other name is a device of the default kind, "" its ``none``.

    Raises `NvidiaRuntimeError` for more devices than any machine has.
    """
    if len(devices) > MOST_DEVICES:
        what = f"the container asks for {len(devices)} devices, the limit is {MOST_DEVICES}"
        raise NvidiaRuntimeError(what, hint="name fewer, or ask for all")
    qualified: dict[str, None] = {}
    for name in devices:
        if "=" in name and "/" in name:
            from nvidia_runtime.cdi import names  # only for what looks like a qualified name

            if names.is_qualified(name):
                qualified[name] = None
                continue
        qualified[f"{kind}={name or 'none'}"] = None
    return tuple(qualified)
