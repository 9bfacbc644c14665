# SPDX-License-Identifier: Apache-2.0
"""What a container may have of what it asks for.  No disk, no environment, no clock."""

from nvidia_runtime import errors
from nvidia_runtime.admission import request
from nvidia_runtime.admission.request import IMEX_CHANNELS, VISIBLE_DEVICES, Request
from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.store.snapshot import Settings

UNPRIVILEGED = "accept-nvidia-visible-devices-envvar-when-unprivileged"
LAST_CHANNEL = (1 << 20) - 1
# A driver makes 2048 of them if it is not told otherwise.
MOST_CHANNELS = 20_480
IGNORE_IMEX = "features.ignore-imex-channel-requests"


class Admitted:
    """The devices that a container gets, where it asked for them, and what it was refused.

    ``mode`` is the one that it was decided for, and ``auto`` until that is resolved.
    ``devices`` are ids as written, ``all``, ``none``, or qualified names; empty asks for nothing.
    Every refusal is a sentence that names the setting behind it; ``warnings`` say what the
    container asks for and cannot be sure to find (CUDA, driver capabilities).  ``has_compat32`` is
    whether it gets the driver's 32-bit libraries, ``has_native`` whether the engine has injected
    devices by itself, of which nothing is decided here.
    """

    __slots__ = (
        *("devices", "gates", "has_compat32", "has_native", "imex", "mig", "mode", "refusals"),
        *("source", "warnings"),
    )

    def __init__(self, devices: tuple[str, ...], source: str) -> None:
        self.mode = ""
        self.devices = devices
        self.source = source
        self.gates: tuple[str, ...] = ()
        self.imex: tuple[str, ...] = ()
        self.mig: tuple[str, ...] = ()
        self.refusals: list[str] = []
        self.warnings: list[str] = []
        self.has_compat32 = False
        self.has_native = False

    def is_empty(self) -> bool:
        """Whether there is nothing to record."""
        return not (self.devices or self.refusals or self.warnings or self.has_native)

    def decision(self) -> "Document":
        """Return what was asked for and decided, for the record."""
        return {
            "mode": self.mode,
            "requested": list(self.devices),
            "by": self.source,
            "refused": self.refusals,
            "warnings": self.warnings,
        }


def admit(asked: Request, settings: "Settings", mode: str) -> Admitted:
    """Decide by the settings and the container's privileges.

    Annotations go before volume mounts, these before the environment.  They count in the mode cdi,
    and in ``auto``, which becomes cdi, if all that is asked for are qualified names.  ``hook`` is
    the mode of the prestart hook; there and in CDI modes others judge the IMEX channels.
    """
    trusts_env = asked.privileged or bool(settings[UNPRIVILEGED])
    refusals = list(asked.refused)
    refusals += [
        f"ignoring the mount request {name!r}: it names no CDI device"
        for name in asked.invalid_mounts
    ]
    annotations = asked.by_annotation if mode in ("auto", "cdi") else None
    if annotations and (mode == "cdi" or request.are_qualified(annotations)):
        admitted = Admitted(annotations, "annotations")
    elif asked.by_mount is not None:
        admitted = Admitted(asked.by_mount, "volume mounts")
    elif asked.by_env and not trusts_env:
        refusals.append(_refusal(VISIBLE_DEVICES))
        admitted = Admitted((), "")
    else:
        admitted = Admitted(asked.by_env or (), "environment")
    admitted.mode = mode
    if mode == "auto" and request.are_qualified(annotations or admitted.devices):
        admitted.mode = "cdi"
    if admitted.devices:
        admitted.gates = asked.gates
        admitted.imex = _admit_imex(asked, settings, trusts_env, refusals)
        if mode in ("csv", "legacy"):
            admitted.imex = _valid_channels(admitted.imex, refusals)
    admitted.refusals = refusals
    return admitted


def mig_error(name: str) -> NvidiaRuntimeError:
    """Return the error for a variable that only a privileged container may have."""
    what = f"cannot set {name} in a container that is not privileged"
    return NvidiaRuntimeError(what, hint=f"add CAP_SYS_ADMIN, or take {name} out")


def _admit_imex(
    asked: Request, settings: "Settings", trusts_env: bool, refusals: list[str]
) -> tuple[str, ...]:
    if settings[IGNORE_IMEX]:
        if asked.imex_by_mount or asked.imex_by_env:
            refusals.append(f"ignoring the request for IMEX channels: {IGNORE_IMEX} is true")
        return ()
    if asked.imex_by_env and not asked.imex_by_mount and not trusts_env:
        refusals.append(_refusal(IMEX_CHANNELS))
        return ()
    channels = asked.imex_by_mount or asked.imex_by_env
    if len(channels) > MOST_CHANNELS:
        what = f"the container asks for {len(channels)} IMEX channels, the limit is {MOST_CHANNELS}"
        raise errors.NvidiaRuntimeError(what, hint="name fewer")
    return channels


def _valid_channels(asked: tuple[str, ...], refusals: list[str]) -> tuple[str, ...]:
    channels: list[str] = []
    lost: list[str] = []
    for channel in asked:
        (channels if _is_channel(channel) else lost).append(channel)
    if lost:
        which = errors.some([repr(channel) for channel in lost])
        refusals.append(
            f"ignoring IMEX channels {which}: each is a number from 0 to {LAST_CHANNEL}"
        )
    return tuple(channels)


def _is_channel(name: str) -> bool:
    """Whether a name is a channel's number; it becomes a part of a path."""
    return name.isascii() and name.isdigit() and len(name) < 8 and int(name) <= LAST_CHANNEL


def _refusal(variable: str) -> str:
    return f"ignoring {variable} of an unprivileged container: {UNPRIVILEGED} is false"
