# SPDX-License-Identifier: Apache-2.0
"""The plugin: it is registered with an engine, and answers what that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.log import shown
from nvidia_runtime.nri import messages, request
from nvidia_runtime.nri.connection import ENGINES, OURS, REQUEST, RESPONSE, Connection, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

RUNTIME = f"{messages.NRI}.Runtime"
CREATE_CONTAINER = 4  # api.proto, enum Event
EVENTS = 1 << (CREATE_CONTAINER - 1)
# Codes of gRPC.
INVALID, UNIMPLEMENTED = 3, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin by its name and its place among others; ``say`` logs what was given."""

    name: str
    index: int
    trusted: frozenset[str]
    say: Say
    debug: Say

    def run(self, connection: Connection) -> None:
        """Register with an engine and answer it until it ends.

        Raises OSError, and `NvidiaRuntimeError` where the engine does not take us.
        """
        connection.send(Message(ENGINES, 1, REQUEST, self._registration()))
        while (message := connection.receive()) is not None:
            if message.connection == ENGINES:
                self._registered(message)
            elif message.kind == REQUEST:
                body = self.answer(message.body)
                connection.send(Message(OURS, message.stream, RESPONSE, body))

    def _registration(self) -> bytes:
        classes = messages.classes()
        asked = classes["RegisterPluginRequest"](
            plugin_name=self.name, plugin_idx=f"{self.index:02}"
        )
        call = classes["Request"](
            service=RUNTIME, method="RegisterPlugin", payload=asked.SerializeToString()
        )
        return bytes(call.SerializeToString())

    def _registered(self, message: Message) -> None:
        answer = _read("Response", message.body)
        if answer.status.code:
            raise NvidiaRuntimeError(f"the engine refuses the plugin: {answer.status.message}")
        self.debug("registered")

    def answer(self, body: bytes) -> bytes:
        """Return the response to a request of an engine's, both encoded."""
        classes = messages.classes()
        call = _read("Request", body)
        try:
            payload = self._answer(call.method, call.payload)
        except NvidiaRuntimeError as error:
            status = classes["Status"](code=INVALID, message=str(error))
            return bytes(classes["Response"](status=status).SerializeToString())
        if payload is None:
            status = classes["Status"](
                code=UNIMPLEMENTED, message=f"{call.method} is not asked of us"
            )
            return bytes(classes["Response"](status=status).SerializeToString())
        return bytes(classes["Response"](payload=payload.SerializeToString()).SerializeToString())

    def _answer(self, method: str, payload: bytes) -> Any:
        classes = messages.classes()
        if method == "Configure":
            asked = _read("ConfigureRequest", payload)
            self.say(f"registered with {shown(f'{asked.runtime_name} {asked.runtime_version}')}")
            return classes["ConfigureResponse"](events=EVENTS)
        if method == "Synchronize":
            more = _read("SynchronizeRequest", payload).more
            return classes["SynchronizeResponse"](more=more)
        if method == "CreateContainer":
            return self._create(_read("CreateContainerRequest", payload))
        return classes["Empty"]() if method in ("Shutdown", "StateChange") else None

    def _create(self, asked: Any) -> Any:
        classes = messages.classes()
        pod = f"{asked.pod.namespace}/{asked.pod.name}/{asked.container.name}"
        try:
            given = request.answer(
                asked.container.name,
                asked.pod.namespace,
                dict(asked.pod.annotations),
                self.trusted,
            )
        except NvidiaRuntimeError as error:
            self.say(shown(f"{pod}: refused: {error}"))
            raise
        if given.refused:
            self.say(shown(f"{pod}: nothing by {given.annotation}: {given.refused}"))
        if not given.devices:
            return classes["CreateContainerResponse"]()
        self.say(shown(f"{pod}: {', '.join(given.devices)} by {given.annotation}"))
        devices = [classes["CDIDevice"](name=name) for name in given.devices]
        adjustment = classes["ContainerAdjustment"](CDI_devices=devices)
        return classes["CreateContainerResponse"](adjust=adjustment)


def _read(name: str, data: bytes) -> Any:
    """Decode a message.  Raises `NvidiaRuntimeError` for what is none."""
    try:
        return messages.classes()[name].FromString(data)
    except Exception as error:  # noqa: BLE001 (each version of protobuf has an exception of its own)
        raise NvidiaRuntimeError(f"the engine sends what is not a {name}: {error}") from None
