# SPDX-License-Identifier: Apache-2.0
"""The hooks that move network interfaces: into the container at createRuntime, back at poststop.

They do what runtime-spec 1.3 asks of a runtime (config-linux.md, "Network Devices"), and what it
leaves to poststop hooks.  Before the first move, a record of the interfaces is written, and the
container's network namespace is pinned by a bind mount beside it, so that they outlive the
container however it ends: if no poststop hook returns them, `devices.recover` does.  If the pin is
lost too (it exists in the engine's mount namespace, and until a reboot), the kernel moves physical
interfaces to the initial network namespace, under their name in the container, and destroys virtual
ones.  Routes are not restored, nor the bridge or bond that an interface was part of.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.net import links, records
from nvidia_runtime.net.records import Record

PROGRAM = "nvidia-container-runtime: net-devices hook"
State = dict[str, Any]


def main() -> None:
    """Do what the words say: ``move FOLDER NAMES``, ``return FOLDER`` or ``recover FOLDER``.

    The first two are OCI hooks, which get the state of the container on stdin.
    """
    verb, folder, *rest = sys.argv[1:]
    said = []
    try:
        if verb == "move":
            move(folder, json.loads(rest[0]), json.load(sys.stdin))
        elif verb == "return":
            said = give_back(folder, json.load(sys.stdin))
        else:
            said = recover(folder)
    except NvidiaRuntimeError as error:
        sys.exit(f"{PROGRAM}: {error}" + (f"; hint: {error.hint}" if error.hint else ""))
    except OSError as error:
        sys.exit(f"{PROGRAM}: {error}")
    for line in said:
        print(line)  # noqa: T201 (for nvidia-ctk; engines show no output of hooks that succeed)


def move(folder: str, wanted: dict[str, str], state: State) -> None:
    """Move the interfaces into the container, all or none."""
    with _locked(folder), links.opened(f"/proc/{state['pid']}/ns/net") as namespace:
        if links.is_own(namespace):
            raise NvidiaRuntimeError("the container is in the host's network namespace")
        file = _record_of(folder, state)
        _clear(file, state)
        devices = [links.describe(host) for host in wanted]
        links.name_all(devices, list(wanted.values()), namespace)
        record = {
            "format": records.FORMAT,
            "container": state["id"],
            "bundle": state["bundle"],
            "pid": state["pid"],
            "started": records.started(state["pid"]),
            "pid_namespace": records.identity("/proc/self/ns/pid"),
            "host_namespace": records.identity(records.OWN_NAMESPACE),
            "devices": devices,
        }
        try:
            records.write(file, record)
            links.pin(namespace, _pin_of(file))
            for device in devices:
                links.move_in(device, namespace)
            records.write(file, record)  # with indexes, since the container may rename
        except BaseException:
            _return_all(file, record)
            raise


def give_back(folder: str, state: State) -> list[str]:
    """Return the interfaces of this container, unless `recover` has done so already."""
    if not os.path.isdir(folder):
        return []
    with _locked(folder):
        file = _record_of(folder, state)
        record = records.read(file)
        # Another engine may have a container of the same id.
        return _return_all(file, record) if record.get("bundle") == state["bundle"] else []


def recover(folder: str) -> list[str]:
    """Return the interfaces of containers that have ended."""
    with _locked(folder):
        held = records.records(folder).items()
        over = [(file, record) for file, record in held if records.is_over(record)]
        return [line for file, record in over for line in _return_all(file, record)]


def _clear(file: str, state: State) -> None:
    """Make room for a container's record: one of the same id may have ended without its hook."""
    record = records.read(file)
    if not record:
        return
    if record["bundle"] != state["bundle"] and not records.is_over(record):
        what = f"another container {state['id']} holds network interfaces: {record['bundle']}"
        raise NvidiaRuntimeError(what, file, "give one of the two containers another id")
    _return_all(file, record)


def _return_all(file: str, record: Record) -> list[str]:
    """Return a container's interfaces; say what was done.

    Pin and record stay for those that the kernel did not move: they are tried again.
    """
    said = []
    left = []
    pin = _pin_of(file)
    if not links.is_pinned(pin):
        said.append(f"container {record['container']}: its network namespace was not pinned")
    else:
        with links.opened(pin) as namespace:
            for device in record["devices"]:
                try:
                    done = links.move_out(device, namespace)
                except OSError as error:
                    done = f"cannot return {device['host']} ({os_reason(error)})"
                    left.append(device)
                said.append(f"container {record['container']}: {done}")
    if left:
        records.write(file, {**record, "devices": left})
        return said
    links.unpin(pin)
    with suppress(FileNotFoundError):
        os.unlink(file)
    return said


def _record_of(folder: str, state: State) -> str:
    """Return the file of a container's record; a quoted id is one component of a path."""
    return f"{folder}/{quote(state['id'], safe='')}.json"


def _pin_of(file: str) -> str:
    """Return the place of the pin beside a record, which differs from all records."""
    return f"{file.removesuffix('.json')}.net"


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock the folder: hooks of several containers, and a recovery, may run at once."""
    os.makedirs(folder, 0o700, exist_ok=True)
    with links.opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
