# SPDX-License-Identifier: Apache-2.0
"""What no engine sends on its socket ends the connection, before it fills the memory."""

from __future__ import annotations

import socket
import struct

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.nri.connection import Connection, Message

FRAMES = {
    "a frame too long": struct.pack(">II", 1, 0xFFFFFFFF),
    "a message too long": struct.pack(">II", 1, 10) + struct.pack(">IIBB", 0xFFFFFFFF, 1, 1, 0),
    "a connection that nobody has opened": struct.pack(">II", 7, 1) + b"x",
}


@pytest.mark.parametrize("name", FRAMES)
def test_what_no_engine_sends(name: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(FRAMES[name])

        with pytest.raises(NvidiaRuntimeError, match="the engine sends"):
            Connection(ours).receive()


def test_thousands_of_messages_at_once() -> None:
    ours, theirs = socket.socketpair()
    inner = struct.pack(">IIBB", 0, 3, 1, 0)
    with ours, theirs:
        theirs.sendall((struct.pack(">II", 1, len(inner)) + inner) * 1000)
        connection = Connection(ours)

        assert [connection.receive() for _ in range(1000)] == [Message(1, 3, 1, b"")] * 1000
