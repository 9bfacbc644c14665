# SPDX-License-Identifier: Apache-2.0
"""What config.toml and the CDI specs say, compiled once and read at every create.

A snapshot is one file of lines: the settings (JSON), the stamps of every file and folder that it
was made from (JSON), then a line for each spec and each device, of which a create decodes only
those that it needs::

    @0<TAB>{"file": "/etc/cdi/nvidia.json", "sha256": ...}<TAB>{edits of the spec}
    nvidia.com/gpu=0<TAB>0<TAB>{edits of the device}

At the end of each line are a <TAB> and its digest.  The snapshot is used while every stamp is what
it was, and only if nobody else could have written it.
"""

from nvidia_runtime import __version__, document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import files, lines

FORMAT = 3
# The names of settings that several rooms read.
DISABLE_REQUIRE = "disable-require"
VOLUME_MOUNTS = "accept-nvidia-visible-devices-as-volume-mounts"
CAPABILITIES = "supported-driver-capabilities"
MODE = "nvidia-container-runtime.mode"
DRIVER_ROOT = "nvidia-container-cli.root"
SPEC_DIRS = "nvidia-container-runtime.modes.cdi.spec-dirs"
COMPAT_MODE = "nvidia-container-runtime.modes.legacy.cuda-compat-mode"
IN_CONTAINER_HOOKS = "nvidia-container-runtime.in-container-hooks"
IMAGE_REQUESTS = "nvidia-container-runtime.image-requests"
NO_GIDS = "features.no-additional-gids-for-device-nodes"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Settings = dict[str, Any]


class Snapshot:
    """The settings, and the devices of the CDI registry when the specs were compiled too."""

    __slots__ = ("config", "data", "devices_at", "settings", "stamp", "warnings")

    def __init__(self, data: bytes) -> None:
        """Read the first line; ``data`` is the whole file.  Raises on anything malformed."""
        end = data.index(b"\n")
        header = document.loads(lines.opened(data[:end]), "snapshot")
        self.data = data
        self.config: str = header["config"]
        self.stamp: files.Stamp | None = header["stamp"]
        self.settings: Settings = header["settings"]
        self.devices_at = end + 1 if header["devices"] else 0
        self.warnings: list[str] = header["warnings"]
        # A crash of the machine leaves short files, or NULs, which JSON has not.
        rest = len(data) - end - 1
        if header["format"] != [FORMAT, __version__] or header["length"] != rest or b"\0" in data:
            raise ValueError("another format")

    def has_fresh_devices(self) -> bool:
        """Whether the registry was compiled, and every file and folder of it is unchanged."""
        if not self.devices_at:
            return False
        line = self.data[self.devices_at : self.data.index(b"\n", self.devices_at)]
        return files.are_unchanged(document.loads(lines.opened(line), "snapshot"))

    def line(self, key: str) -> list[bytes] | None:
        """Find the line that begins with ``key``; return its other fields, undecoded."""
        return lines.find_line(self.data, key)


def file_of(folder: str, config: str) -> str:
    """Return the snapshot's path for a config.toml, "" for a relative one: it could be any."""
    name = config.replace("%", "%25").replace("/", "%2F")[-files.LONGEST_NAME :]
    return f"{folder}/snapshot-{__version__}-{name}" if config[:1] == "/" else ""


def load(config: str) -> Snapshot | None:
    """Read the snapshot of a config.toml; ``None`` if missing, foreign, corrupt or stale.

    The caller still has to ask `Snapshot.has_fresh_devices` before it uses devices.
    """
    folder = files.state_folder()
    path = folder and file_of(folder, config)
    if not path:
        return None
    try:
        data = files.read_own(path)
        snapshot = Snapshot(data)
    except (OSError, ValueError, KeyError, TypeError, NvidiaRuntimeError):
        return None
    if snapshot.config != config or snapshot.stamp != files.stamp(config):
        return None
    return snapshot
