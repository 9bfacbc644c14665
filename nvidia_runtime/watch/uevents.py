# SPDX-License-Identifier: Apache-2.0
"""The kernel's uevents: those that it sent itself, and whether they concern GPUs.

pyroute2 opens the socket and parses the messages.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# lib/kobject_uevent.c: the kernel's own multicast group; udev sends to the second.
KERNEL_GROUP = 1
KERNEL_PORT = 0
# UEVENT_BUFFER_SIZE is 2048; longer messages are not the kernel's.
LONGEST = 8192
# These bind drivers and make nodes; a screen that is plugged in is only a change.
LASTING = ("add", "remove", "bind", "unbind")
PCI_VENDOR = "10DE:"
NODES = ("nvidia", "nvhost", "nvgpu", "nvmap", "dxg", "gdrdrv")

Uevent = dict[str, str]
# In place of the events that did not fit into the socket's buffer.
LOST: Uevent = {"ACTION": "lost", "SUBSYSTEM": "", "DEVPATH": ""}


class Listener:
    """A socket that receives the kernel's uevents; it has a file descriptor."""

    def __init__(self) -> None:
        """Open the socket; raises `NvidiaRuntimeError` if the kernel or pyroute2 lacks it."""
        try:
            from pyroute2.netlink.nlsocket import (  # type: ignore[import-untyped]
                NetlinkSocket,  # takes 0.2 s and 20 MB
            )
            from pyroute2.netlink.uevent import UeventSocket  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            what = f"{error}, for {sys.executable}, which listens to the kernel's uevents"
            hint = f"apt-get install python3-pyroute2, or {sys.executable} -m pip install pyroute2"
            raise NvidiaRuntimeError(what, hint=hint) from None
        try:
            self._channel: Any = UeventSocket()
            # In older versions UeventSocket's own bind listens to udev too.
            NetlinkSocket.bind(self._channel, groups=KERNEL_GROUP)
            # pyroute2 does not say where a message came from.
            self._socket = socket.socket(fileno=os.dup(self._channel.fileno()))
        except OSError as error:
            raise NvidiaRuntimeError(f"cannot listen to uevents: {os_reason(error)}") from None
        self._socket.settimeout(0)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a message to `read`."""
        return self._socket.fileno()

    def read(self) -> tuple[list[Uevent], list[str]]:
        """Return the events that have arrived, and a sentence for each other message."""
        events: list[Uevent] = []
        refused: list[str] = []
        while True:
            try:
                data, (port, _groups) = self._socket.recvfrom(LONGEST)
            except BlockingIOError:
                return events, refused
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                events.append(LOST)
                continue
            if port != KERNEL_PORT:
                # Any process may send to the socket (CVE-2009-1185 was udev's trust in that).
                refused.append(f"a message that process or port {port} sent, not the kernel")
                continue
            try:
                events += [_fields(message) for message in self._channel.marshal.parse(data)]
            except (UnicodeDecodeError, ValueError):
                refused.append("a message that is not a uevent")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._channel.close()


def _fields(message: Any) -> Uevent:
    return {name: value for name, value in dict(message).items() if isinstance(value, str)}


def concerns_gpus(event: Uevent) -> bool:
    """Whether this event may change what containers get."""
    if event is LOST:
        return True
    if event.get("ACTION") not in LASTING:
        return False
    node = event.get("DEVNAME", "").removeprefix("/dev/")
    if node.startswith(NODES):
        return True
    subsystem = event.get("SUBSYSTEM")
    if subsystem == "module":
        return event.get("DEVPATH", "").startswith(("/module/nvidia", "/module/gdrdrv"))
    if subsystem == "pci":
        return event.get("PCI_ID", "").startswith(PCI_VENDOR) or event.get("DRIVER") == "nvidia"
    return subsystem == "drm" and node != ""


def describe(event: Uevent) -> str:
    """Return an event in a few words: ``add module nvidia``."""
    if event is LOST:
        return "more uevents than the socket could hold"
    name = event.get("DEVNAME") or event.get("DEVPATH", "").rpartition("/")[2]
    return f"{event.get('ACTION', '?')} {event.get('SUBSYSTEM', '?')} {name}"
