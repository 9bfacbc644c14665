# SPDX-License-Identifier: Apache-2.0
"""Driver capabilities: what NVIDIA_DRIVER_CAPABILITIES asks for, of what is supported.

Loaded where a container that gets devices asks for some.
"""

from nvidia_runtime.admission import request
from nvidia_runtime.errors import some
from nvidia_runtime.store.snapshot import CAPABILITIES

VARIABLE = request.DRIVER_CAPABILITIES
KNOWN = ("compat32", "compute", "display", "graphics", "ngx", "utility", "video")
DEFAULT = ("compute", "utility")


class Capabilities:
    """The capabilities of a container, and those that it asks for but cannot have."""

    __slots__ = ("granted", "unsupported")

    def __init__(self, granted: tuple[str, ...], unsupported: tuple[str, ...] = ()) -> None:
        self.granted = granted
        self.unsupported = unsupported


def supported(setting: str) -> tuple[str, ...]:
    """Read supported-driver-capabilities; ``all`` is what we know."""
    names = _names(setting)
    return KNOWN if "all" in names else names


def choose(value: str | None, setting: str, *, legacy_image: bool) -> Capabilities:
    """Choose a container's capabilities; ``value`` is the variable's, None if it is unset."""
    allowed = supported(setting)
    if value is None and legacy_image:
        return Capabilities(allowed)
    if not value:
        return Capabilities(tuple(name for name in DEFAULT if name in allowed))
    names = _names(value)
    if "all" in names:
        return Capabilities(allowed)
    return Capabilities(
        tuple(name for name in names if name in allowed),
        tuple(name for name in names if name not in allowed),
    )


def warning(unsupported: tuple[str, ...], setting: str) -> str:
    """Say what a container asked for in vain."""
    return (
        f"unsupported driver capabilities in {VARIABLE}: {some(list(unsupported))}; "
        f"{CAPABILITIES} has {', '.join(supported(setting))}"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
