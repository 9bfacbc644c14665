# SPDX-License-Identifier: Apache-2.0
"""Send a uevent in the network namespace that we are in: through the kernel, or past it.

The kernel passes on what a privileged process gives it (since Linux 4.18), as a message of its own:
port 0, with a number.  ``python uevent.py [--forged] ACTION=add SUBSYSTEM=module …``
"""

from __future__ import annotations

import socket
import struct
import sys

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1
NLMSG_MIN_TYPE = 0x10
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2


def send(fields: dict[str, str], *, forged: bool = False) -> None:
    """Send an event to all listeners; raises `OSError` if the kernel does not pass it on."""
    head = f"{fields.get('ACTION')}@{fields.get('DEVPATH')}"
    body = b"".join(
        f"{text}\0".encode() for text in (head, *[f"{k}={v}" for k, v in fields.items()])
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as door:
        door.bind((0, 0))
        if forged:
            door.sendto(body, (0, KERNEL_GROUP))
            return
        flags = NLM_F_REQUEST | NLM_F_ACK
        door.sendto(
            struct.pack("=IHHII", 16 + len(body), NLMSG_MIN_TYPE, flags, 1, 0) + body, (0, 0)
        )
        door.settimeout(5)
        answer = door.recv(4096)
    kind, error = struct.unpack_from("=4xH10xi", answer)
    if kind == NLMSG_ERROR and error:
        raise OSError(-error, "the kernel does not pass the uevent on")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--forged"]
    send(dict(word.split("=", 1) for word in words), forged="--forged" in sys.argv)
