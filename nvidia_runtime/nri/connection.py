# SPDX-License-Identifier: Apache-2.0
"""Calls over one socket in both directions: NRI's two connections on it, and ttrpc on each.

What is sent is in frames of NRI's (connection, length), and in them those of ttrpc (length, stream,
type, flags), which may be spread over several.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# On the first the engine calls us, on the second we call it.
OURS, ENGINES = 1, 2
OUTER, INNER = struct.Struct(">II"), struct.Struct(">IIBB")
REQUEST, RESPONSE = 1, 2
# ttrpc's limit of a message.
LARGEST = 4 << 20
MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response: on which connection, and for which stream."""

    connection: int
    stream: int
    kind: int
    body: bytes


@dataclass(slots=True)
class Connection:
    """A socket to an engine, and what has come of frames that are not whole."""

    socket: socket.socket
    _rest: bytearray = field(default_factory=bytearray)
    _parts: dict[int, bytearray] = field(default_factory=dict)
    _ready: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        """Send a message.  Raises OSError where the engine is gone."""
        inner = INNER.pack(len(message.body), message.stream, message.kind, 0) + message.body
        for begin in range(0, len(inner), LARGEST):
            part = inner[begin : begin + LARGEST]
            self.socket.sendall(OUTER.pack(message.connection, len(part)) + part)

    def receive(self) -> Message | None:
        """Return the next message, None where the engine has closed the socket.

        Raises OSError, and `NvidiaRuntimeError` for what no engine sends.
        """
        while not self._ready:
            data = self.socket.recv(MOST_BYTES)
            if not data:
                return None
            self._rest += data
            self._take_frames()
        return self._ready.pop(0)

    def _take_frames(self) -> None:
        while len(self._rest) >= OUTER.size:
            connection, length = OUTER.unpack_from(self._rest)
            if length > LARGEST + INNER.size:
                raise NvidiaRuntimeError(f"the engine sends a frame of {length} bytes")
            if connection not in (OURS, ENGINES):  # what comes on it would be kept without end
                raise NvidiaRuntimeError(f"the engine sends on connection {connection}")
            if len(self._rest) < OUTER.size + length:
                return
            part = self._parts.setdefault(connection, bytearray())
            part += self._rest[OUTER.size : OUTER.size + length]
            del self._rest[: OUTER.size + length]
            self._take_messages(connection, part)

    def _take_messages(self, connection: int, part: bytearray) -> None:
        while len(part) >= INNER.size:
            length, stream, kind, _flags = INNER.unpack_from(part)
            if length > LARGEST:
                raise NvidiaRuntimeError(f"the engine sends a message of {length} bytes")
            if len(part) < INNER.size + length:
                return
            body = bytes(part[INNER.size : INNER.size + length])
            del part[: INNER.size + length]
            self._ready.append(Message(connection, stream, kind, body))


def connect(path: str) -> Connection:
    """Connect to an engine's socket.  Raises `NvidiaRuntimeError` where nobody listens."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        door.connect(path)
    except OSError as error:
        door.close()
        hint = "containerd from 2.0 and cri-o have it; in containerd 1.7 it is to be switched on"
        raise NvidiaRuntimeError(f"NRI is not there: {os_reason(error)}", path, hint) from None
    return Connection(door)
