# SPDX-License-Identifier: Apache-2.0
"""What systemd is told of a service: sd_notify(3), without libsystemd.  Ring: elsewhere."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


def tell(state: str) -> None:
    """Send ``READY=1`` or the like, one assignment a line, if anybody listens."""
    path = os.environ.get(VARIABLE, "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with (
        suppress(OSError),  # a service does not fail for want of an audience
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
    ):
        door.sendto(state.encode(), address)
