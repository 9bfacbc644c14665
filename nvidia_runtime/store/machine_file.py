# SPDX-License-Identifier: Apache-2.0
"""What this machine has, compiled once and read at every create in jit-cdi and csv mode.

A machine file has the lines of a snapshot: the header (JSON), the stamps (JSON), then the driver's
edits, those of each device, a sentence for each device that is not usable, and warnings::

    @0<TAB>{"generator": "nvml", "driver": "580.95.05"}<TAB>{edits for every container}
    runtime.nvidia.com/gpu=0<TAB>0<TAB>{edits of the device, after its place among all}
    !runtime.nvidia.com/gpu=1<TAB>"GPU 1 is lost"
    @shared<TAB>"/tmp/nvidia-mps"<TAB>{"generator": "nvml"}<TAB>{edits if it is root's or ours}
    @compat32<TAB>{"generator": "compat32"}<TAB>{edits of 32-bit libraries, if there are any}
    ?<TAB>["what is odd about the machine"]

It holds while everything that it was made from is unchanged, which is asked of /proc, /sys and the
file system alone: no GPU is woken.
"""

import posix

from nvidia_runtime import __version__, document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import files, lines
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.store.snapshot import Snapshot

FORMAT = 4
KIND = "runtime.nvidia.com/gpu"
WARNINGS = "?"
SHARED = "@shared"
COMPAT32 = "@compat32"


class MachineFile:
    """A machine file that was read: what it says of the platform, and its lines."""

    __slots__ = ("data", "lines_at", "platform")

    def __init__(self, data: bytes, key: "list[Any]") -> None:
        """Read the header.  Raises on anything malformed, or made for another ``key``."""
        end = data.index(b"\n")
        header = document.loads(lines.opened(data[:end]), "machine")
        if header["key"] != key or header["length"] != len(data) - end - 1 or b"\0" in data:
            raise ValueError("another one")
        self.data = data
        self.platform: str = header["platform"]
        self.lines_at = end + 1

    def is_fresh(self) -> bool:
        """Whether everything that was looked at is as it was."""
        line = self.data[self.lines_at : self.data.index(b"\n", self.lines_at)]
        return are_fresh(document.loads(lines.opened(line), "machine"))

    def line(self, key: str) -> list[bytes] | None:
        """Find the line that begins with ``key``; return its other fields, undecoded."""
        return lines.find_line(self.data, key)

    def warnings(self) -> "list[str]":
        """Return the sentences on what is odd about the machine."""
        fields = self.line(WARNINGS)
        return document.loads(fields[0], "machine") if fields else []


def are_fresh(stamps: "dict[str, list[Any]]") -> bool:
    """Compare stamps with the machine: texts and listings of /proc and /sys, nodes, files."""
    for path, text in stamps["texts"]:
        if files.read_text(path) != text:
            return False
    for path, names in stamps["lists"]:
        if list_names(path) != names:
            return False
    for path, number in stamps["objects"]:
        if object_number(path) != number:
            return False
    for entry in stamps["nodes"]:
        try:
            status = posix.lstat(entry[0])
        except OSError:
            return False
        if status.st_rdev != entry[1] or status.st_mode != entry[2] or status.st_gid != entry[3]:
            return False
    return files.are_unchanged(stamps["files"])


def list_names(folder: str) -> list[str] | None:
    """List a folder of /proc or /sys, whose times say nothing; ``None`` if it cannot be read."""
    try:
        return sorted(posix.listdir(folder))
    except OSError:
        return None


def object_number(path: str) -> int:
    """Return the inode of what the kernel shows in /proc or /sys, 0 if it is not there.

    A driver that is loaded or bound anew shows other objects under the same names.
    """
    try:
        return posix.lstat(path).st_ino
    except OSError:
        return 0


def key(snapshot: "Snapshot", variant: str) -> "list[Any]":
    """Return what else than the machine decides: settings, the environment's search paths."""
    paths = [files.environment(b"PATH"), files.environment(b"XDG_DATA_DIRS")]
    return [FORMAT, __version__, snapshot.config, snapshot.stamp, variant, *paths]


def file_of(folder: str, wanted: "list[Any]") -> str:
    """Return the path of the file for a key; engines whose PATH differs have one each."""
    config: str = wanted[2]
    number = int.from_bytes(document.dumps(wanted[4:]), "little") % ((1 << 61) - 1)
    name = config.replace("%", "%25").replace("/", "%2F")[-files.LONGEST_NAME :]
    return f"{folder}/machine-{__version__}-{number:x}-{name}" if config[:1] == "/" else ""


def load(snapshot: "Snapshot", variant: str) -> MachineFile | None:
    """Read what is known of this machine; ``None`` if missing, foreign, corrupt or stale."""
    folder = files.state_folder()
    wanted_key = key(snapshot, variant)
    path = folder and file_of(folder, wanted_key)
    if not path:
        return None
    try:
        machine = MachineFile(files.read_own(path), wanted_key)
        return machine if machine.is_fresh() else None
    except (OSError, ValueError, LookupError, TypeError, NvidiaRuntimeError):
        return None


def sources(ids: tuple[str, ...], machine: MachineFile) -> "tuple[list[Source], list[str]]":
    """Return the devices' edits, then the driver's, as the toolkit does; and the ids without any.

    Beside ``all``, other names say nothing more; nor does ``none`` beside devices.  Raises
    `NvidiaRuntimeError` for a device that the machine has and that is not usable.
    """
    if "all" in ids:
        ids = ("all",)
    elif len(ids) > 1:
        ids = tuple(one for one in ids if one != "none")
    common = machine.line("@0")
    if common is None:
        raise ValueError("no edits of the driver's")
    origin = common[0].decode()
    devices: dict[int, Source] = {}
    missing: list[str] = []
    for one in ids:
        name = one.lstrip("0") or "0" if one.isdigit() else one
        broken = machine.line(f"!{KIND}={name}")
        if broken is not None:
            raise NvidiaRuntimeError(document.loads(broken[0], "machine"))
        fields = machine.line(f"{KIND}={name}")
        if fields is None:
            _check_gpu_of(name, machine)
            missing.append(one)
            continue
        # A GPU that is asked for by two names is injected once.
        devices[int(fields[0])] = Source(f"{KIND}={name}", origin, fields[1].decode())
    ordered = [devices[place] for place in sorted(devices)]
    return [*ordered, Source("", origin, common[1].decode()), *shared(machine)], missing


def shared(machine: MachineFile) -> list[Source]:
    """Return what lies where anybody may put it, if it is there and root's or ours now."""
    fields = machine.line(SHARED)
    if fields is None or not files.is_own(document.loads(fields[0], "machine")):
        return []
    return [Source("", fields[1].decode(), fields[2].decode())]


def compat32(machine: MachineFile) -> list[Source]:
    """Return what 32-bit programs need of the driver, if this machine has it."""
    fields = machine.line(COMPAT32)
    return [Source("", fields[0].decode(), fields[1].decode())] if fields else []


def _check_gpu_of(name: str, machine: MachineFile) -> None:
    """Raise `NvidiaRuntimeError` where 0:1 is not known because GPU 0 is sick as a whole."""
    gpu, colon, _ = name.partition(":")
    broken = machine.line(f"!{KIND}={gpu}") if colon else None
    if broken is not None:
        raise NvidiaRuntimeError(document.loads(broken[0], "machine"))
