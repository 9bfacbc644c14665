# SPDX-License-Identifier: Apache-2.0
"""An engine as a plugin sees it: a socket with frames of NRI and ttrpc, by tests/engines/wire."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import wire

PLUGIN, RUNTIME = 1, 2
REQUEST, RESPONSE = 1, 2
MESSAGES: wire.Messages = {
    "Status": {"code": (1, int), "message": (2, str)},
    "Request": {"service": (1, str), "method": (2, str), "payload": (3, bytes)},
    "Response": {"status": (1, "Status"), "payload": (2, bytes)},
    "RegisterPluginRequest": {"plugin_name": (1, str), "plugin_idx": (2, str)},
    "ConfigureRequest": {"config": (1, str), "runtime_name": (2, str), "runtime_version": (3, str)},
    "ConfigureResponse": {"events": (2, int)},
    "SynchronizeRequest": {"pods": (1, ["PodSandbox"]), "more": (3, int)},
    "SynchronizeResponse": {"more": (2, int)},
    "Entry": {"key": (1, str), "value": (2, str)},
    "PodSandbox": {
        "id": (1, str),
        "name": (2, str),
        "namespace": (4, str),
        "annotations": (6, ["Entry"]),
    },
    "Container": {"id": (1, str), "name": (3, str), "env": (8, [str])},
    "CreateContainerRequest": {"pod": (1, "PodSandbox"), "container": (2, "Container")},
    "CDIDevice": {"name": (1, str)},
    "ContainerAdjustment": {"CDI_devices": (8, ["CDIDevice"])},
    "CreateContainerResponse": {"adjust": (1, "ContainerAdjustment")},
    "Empty": {},
}


@dataclass(slots=True)
class Session:
    """A plugin that has connected."""

    socket: socket.socket
    stream: int = -1

    def send(
        self, connection: int, stream: int, kind: int, body: bytes, most: int = 1 << 20
    ) -> None:
        """Send a message, in frames of so many bytes at most."""
        data = struct.pack(">IIBB", len(body), stream, kind, 0) + body
        for begin in range(0, len(data), most):
            part = data[begin : begin + most]
            self.socket.sendall(struct.pack(">II", connection, len(part)) + part)

    def receive(self) -> tuple[int, int, int, bytes]:
        """Return the next message, which must be in one frame."""
        connection, length = struct.unpack(">II", self._read(8))
        data = self._read(length)
        inner, stream, kind, _flags = struct.unpack(">IIBB", data[:10])
        assert inner == length - 10
        return connection, stream, kind, data[10:]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "the plugin has gone"
            data += part
        return data

    def accept(self, code: int = 0) -> wire.Message:
        """Take the plugin's registration, or refuse it with a code; return what it says."""
        connection, stream, kind, body = self.receive()
        assert (connection, kind) == (RUNTIME, REQUEST)
        call = wire.decode(MESSAGES, "Request", body)
        assert call["method"] == "RegisterPlugin"
        assert call["service"] == "nri.pkg.api.v1alpha1.Runtime"
        answer: wire.Message = {"status": {"code": code, "message": "no"}} if code else {}
        self.send(RUNTIME, stream, RESPONSE, wire.encode(MESSAGES, "Response", answer))
        return wire.decode(MESSAGES, "RegisterPluginRequest", call["payload"])

    def call(self, method: str, message: wire.Message, most: int = 1 << 20) -> wire.Message:
        """Call the plugin; return its response, whose payload is still encoded."""
        self.stream += 2
        name = f"{method}Request" if f"{method}Request" in MESSAGES else "Empty"
        asked = {
            "service": "nri.pkg.api.v1alpha1.Plugin",
            "method": method,
            "payload": wire.encode(MESSAGES, name, message),
        }
        body = wire.encode(MESSAGES, "Request", asked)
        self.send(PLUGIN, self.stream, REQUEST, body, most)
        connection, stream, kind, answer = self.receive()
        assert (connection, stream, kind) == (PLUGIN, self.stream, RESPONSE)
        return wire.decode(MESSAGES, "Response", answer)

    def create(self, annotations: Mapping[str, str], **names: str) -> tuple[list[str], str]:
        """Ask what a container gets; return the devices, and the error."""
        entries = [{"key": key, "value": value} for key, value in annotations.items()]
        pod = {"name": "p", "namespace": names.get("namespace", "default"), "annotations": entries}
        container = {"id": "1", "name": names.get("container", "c"), "env": ["A=b"]}
        answer = self.call("CreateContainer", {"pod": pod, "container": container})
        if status := answer.get("status"):
            return [], str(status["message"])
        got = wire.decode(MESSAGES, "CreateContainerResponse", answer.get("payload", b""))
        devices: list[Any] = got.get("adjust", {}).get("CDI_devices", [])
        return [device["name"] for device in devices], ""


class Engine:
    """A socket on which plugins register; it is closed with the ``with``, as an engine's is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: list[socket.socket] = []

    def __enter__(self) -> Engine:
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self.path))
        self._door.listen()
        self._door.settimeout(60)
        self._open.append(self._door)
        return self

    def __exit__(self, *_: object) -> None:
        for door in self._open:
            door.close()
        self.path.unlink()

    def session(self) -> Session:
        """Wait for a plugin."""
        connected, _ = self._door.accept()
        connected.settimeout(60)
        self._open.append(connected)
        return Session(connected)
