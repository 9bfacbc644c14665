# SPDX-License-Identifier: Apache-2.0
"""The host's network interfaces that a container asks for (CDI ``netDevices``), checked at create.

A runtime that knows ``linux.netDevices`` (runtime-spec 1.3, config-linux.md, "Network Devices":
runc 1.4, crun 1.22) moves them itself.  An older one ignores the field silently, so for that the
container gets two hooks of ours, `net.hook`, whose records are in the folder ``netns`` of our
state.  A create loads this too, without site-packages: it imports the standard library only.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import subprocess
import sys

import nvidia_runtime
from nvidia_runtime import document, start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.net import records
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.store.lines import Source

# `socket` itself would build its enumerations.
_socket = start.private("_socket", "socket", "if_nameindex", "if_nametoindex")
MOVES, IGNORES, UNKNOWN = "moves", "ignores", "unknown"
# Go keeps the names of packages and types in a stripped binary, C keeps the texts of its messages.
# The type is libcontainer's: a runc that only vendors a runtime-spec with the field moves nothing.
RUNC, RUNC_FIELD = b"opencontainers/runc/libcontainer", b"configs.LinuxNetDevice"
CRUN, CRUN_LIBRARY, CRUN_FIELD = b"libcrun", b"libcrun.so", b"netDevices"
MARKS = (RUNC, RUNC_FIELD, CRUN, CRUN_LIBRARY, CRUN_FIELD)
LIBRARY_FOLDERS = (
    "/usr/local/lib",
    "/usr/lib64",
    "/usr/lib",
    f"/usr/lib/{os.uname().machine}-linux-gnu",
)
PIECE = 1 << 20
LARGEST = 256 << 20

IFNAMSIZ = 16  # with its NUL
MOST_NAMES = 8
NS_GET_USERNS = 0xB701  # ioctl_ns(2)
CAP_NET_ADMIN = 12
# A hook that hangs must not block the engine for ever; a move takes a third of a second.
TIMEOUT = 60
HOOK_ENV = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
# The package is found by its folder, which is then removed from the path again: a site folder in
# front of the standard library could hide a part of it.
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import nvidia_runtime; del sys.path[0]; "
    "from nvidia_runtime.net.hook import main; main()"
)


def prepare(spec: Document, sources: list[Source], runtime: str, path: str) -> Document:
    """Check the interfaces that a container asks for; return the edits that move them, if any.

    Without a network namespace of its own the container gets the field only, and the runtime
    judges it.  ``path`` is the document's, for messages.  Raises `NvidiaRuntimeError`.
    """
    wanted: dict[str, str] = {}
    for source in sources:
        for host, device in source.edits.get("netDevices", {}).items():
            if wanted.setdefault(host, device["name"]) != device["name"]:
                what = f"{host} would be both {wanted[host]} and {device['name']} in the container"
                raise NvidiaRuntimeError(what, f"{path}: linux.netDevices", NAMES)
    if not wanted or not _has_network_namespace(spec):
        return {}
    _check_names(wanted, path)
    recover()  # interfaces of containers that have ended may be asked for
    _check_presence(wanted, sources)
    does = support(runtime)
    if does == UNKNOWN:
        return {}
    _check_privilege()
    if does == MOVES:
        return {}
    folder = files.state_folder(make=True)
    if not folder:
        what = f"no state folder for the network interfaces {', '.join(wanted)}"
        raise NvidiaRuntimeError(what, hint=f"{files.SYSTEM_FOLDER} must be root's alone")
    folder = f"{folder}/netns"
    return {
        "hooks": {
            "createRuntime": [_hook("move", folder, json.dumps(wanted))],
            "poststop": [_hook("return", folder)],
        }
    }


def _has_network_namespace(spec: Document) -> bool:
    """Whether the container will not be in our own network namespace."""
    linux = spec.get("linux")
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    for namespace in namespaces if isinstance(namespaces, list) else ():
        if isinstance(namespace, dict) and namespace.get("type") == "network":
            path = namespace.get("path")
            return not (
                isinstance(path, str)
                and records.identity(path) == records.identity(records.OWN_NAMESPACE)
            )
    return False


def _check_names(wanted: dict[str, str], path: str) -> None:
    """Refuse names that the kernel would refuse on any host."""
    for host, name in wanted.items():
        where = f"{path}: linux.netDevices.{host}"
        if complaint := name_complaint(name):
            raise NvidiaRuntimeError(f"invalid interface name {name!r}: {complaint}", where, NAMES)
        if "lo" in (host, name):
            what = "'lo' is in every network namespace and can neither be moved nor replaced"
            raise NvidiaRuntimeError(what, where, NAMES)
    names = [name for name in wanted.values() if "%" not in name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        hosts = [host for host, name in wanted.items() if name in twice]
        what = f"the interfaces {', '.join(hosts)} would all be {', '.join(twice)} in the container"
        raise NvidiaRuntimeError(what, f"{path}: linux.netDevices", NAMES)


NAMES = "name and hostInterfaceName of netDevices in the CDI spec say what becomes what"


def name_complaint(name: str) -> str:
    """Say why the kernel refuses a name of an interface (dev_valid_name), "" if it does not.

    One ``%d`` is a template: the kernel's lowest free number, which the runtime-spec allows.
    """
    if len(os.fsencode(name)) >= IFNAMSIZ:
        return f"it is longer than {IFNAMSIZ - 1} bytes"
    if name in ("", ".", ".."):
        return "it says nothing"
    if any(letter in "/:\0" or letter.isspace() for letter in name):
        return "it has a slash, a colon or a space in it"
    if "%" in name.replace("%d", "", 1):
        return "a % may only be part of one %d"
    return ""


def _check_presence(wanted: dict[str, str], sources: list[Source]) -> None:
    """Refuse missing interfaces: name all, similar ones, and the file that asks for the first.

    The kernel is asked, not /sys, which shows the network namespace of the process that mounted it.
    """
    missing = [host for host in wanted if not is_present(host)]
    if not missing:
        return
    holders = {
        device["host"]: record["container"]
        for record in records.records(records.folder()).values()
        for device in record["devices"]
    }
    parts = [f"the host has no network interface {', '.join(missing)}"]
    parts += [f"{host} is in container {holders[host]}" for host in missing if host in holders]
    parts.append(near(missing, [name for _, name in _socket.if_nameindex()]))
    wants = next(source for source in sources if missing[0] in source.edits.get("netDevices", {}))
    origin = document.loads(wants.origin.encode(), "snapshot")
    where = origin.get("file", "") if isinstance(origin, dict) else ""
    hint = "see 'ip link'; load the driver, or correct hostInterfaceName in the CDI spec"
    raise NvidiaRuntimeError("; ".join(parts), where, hint)


def is_present(host: str) -> bool:
    """Whether there is an interface, or an alternative name of one, in our network namespace."""
    try:
        return bool(_socket.if_nametoindex(host))
    except (OSError, ValueError):
        return False


def near(missing: list[str], present: list[str]) -> str:
    """Name the interfaces whose names are similar to missing ones, else all."""
    chosen = [name for host in missing for name in difflib.get_close_matches(host, present, 3)]
    if chosen:
        return f"did you mean {', '.join(dict.fromkeys(chosen))}?"
    more = f" and {len(present) - MOST_NAMES} more" if len(present) > MOST_NAMES else ""
    return f"there are {', '.join(present[:MOST_NAMES])}{more}"


def _check_privilege() -> None:
    """Raise an error if we may not move interfaces out of this network namespace.

    Root in a user namespace has every capability, but not over what an outer one owns: see
    user_namespaces(7).
    """
    descriptor = os.open(records.OWN_NAMESPACE, os.O_RDONLY)
    try:
        os.close(fcntl.ioctl(descriptor, NS_GET_USERNS))
        may = True
    except PermissionError:
        may = False
    finally:
        os.close(descriptor)
    with open("/proc/self/status", "rb") as file:
        effective = next(line for line in file if line.startswith(b"CapEff:"))
    if not may or not int(effective.split()[1], 16) >> CAP_NET_ADMIN & 1:
        raise NvidiaRuntimeError(
            "cannot move network interfaces: that needs CAP_NET_ADMIN over the host's network"
            " namespace, which a rootless engine lacks",
            hint="let an engine of root start the container, or ask for no device with netDevices",
        )


def support(runtime: str) -> str:
    """Say what a low-level runtime does with ``linux.netDevices``: MOVES, IGNORES or UNKNOWN.

    Its file is read, not executed, and only once: the answer is kept with the file's stamp.
    """
    place = files.state_folder(make=True)
    program = {"runtime": runtime, "stamp": files.stamp(runtime)}
    file = f"{place}/net-devices-support"
    kept = records.read(file) if place else {}
    does = kept.pop("does", "")
    if does in (MOVES, IGNORES, UNKNOWN) and kept == program and program["stamp"]:
        return str(does)
    does = recognise(runtime)
    if place:
        try:
            records.write(file, {**program, "does": does})
        except OSError:
            pass  # read again next time
    return does


def recognise(runtime: str, library_folders: tuple[str, ...] = LIBRARY_FOLDERS) -> str:
    """Say by the contents of a program what it does, if it is a runc or a crun."""
    marks = _marks(runtime)
    if RUNC in marks:
        return MOVES if RUNC_FIELD in marks else IGNORES
    if CRUN not in marks:
        return UNKNOWN
    if CRUN_LIBRARY in marks:
        for place in library_folders:
            for name in os.listdir(place) if os.path.isdir(place) else ():
                if name.startswith("libcrun.so"):
                    marks |= _marks(f"{place}/{name}")
    return MOVES if CRUN_FIELD in marks else IGNORES


def _marks(path: str) -> set[bytes]:
    """Find the marks in a file, piece by piece: with mmap, a truncation would be a SIGBUS."""
    marks: set[bytes] = set()
    keep = max(map(len, MARKS)) - 1
    tail = b""
    try:
        with open(path, "rb") as file:
            for _ in range(LARGEST // PIECE):
                piece = file.read(PIECE)
                if not piece:
                    break
                marks.update(mark for mark in MARKS if mark in tail + piece)
                tail = piece[-keep:]
    except OSError:
        pass  # lowlevel.become has the better error
    return marks


def _hook(*words: str) -> Document:
    # Python finds its virtual environment by argv[0], so that is the path too.
    args = command(*words)
    return {"path": args[0], "args": args, "env": HOOK_ENV, "timeout": TIMEOUT}


def command(*words: str) -> list[str]:
    """Return the words that run `net.hook`, with site-packages, where pyroute2 is."""
    python = sys.executable or os.path.realpath("/proc/self/exe")
    package = os.path.dirname(os.path.realpath(nvidia_runtime.__file__))
    return [python, "-I", "-c", START, os.path.dirname(package), *words]


def recover(place: str = "") -> list[str]:
    """Return what containers hold that ended without their poststop hook; say what was done.

    Only containers of our own PID and network namespaces are looked at.  What cannot be returned
    is no error: it is tried again next time.
    """
    place = place or records.folder()
    if not any(records.is_over(record) for record in records.records(place).values()):
        return []
    try:
        run = subprocess.run(
            command("recover", place),
            env=dict(entry.split("=", 1) for entry in HOOK_ENV),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [str(error)]
    return (run.stdout + run.stderr).splitlines()
