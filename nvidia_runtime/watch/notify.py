# SPDX-License-Identifier: Apache-2.0
"""Messages of a service to systemd: sd_notify(3), without libsystemd."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


def tell(state: str) -> None:
    """Send ``READY=1`` or the like, one assignment in a line, if systemd listens."""
    path = os.environ.get(VARIABLE, "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with (
        suppress(OSError),  # a service does not fail if nobody listens
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
    ):
        door.sendto(state.encode(), address)
