# SPDX-License-Identifier: Apache-2.0
"""The messages of NRI and ttrpc that are used here, as classes of protobuf's.

Sources: containerd/nri, pkg/api/api.proto; containerd/ttrpc, PROTOCOL.md.  A field that is not in
the table is skipped when it is read.
"""

from __future__ import annotations

import functools
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError

NRI, TTRPC = "nri.pkg.api.v1alpha1", "ttrpc"
STRINGS = "strings by name"
# Fields by their numbers; a type in brackets is repeated.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    f"{TTRPC}.Status": {"code": (1, "int32"), "message": (2, "string")},
    f"{TTRPC}.Request": {
        "service": (1, "string"),
        "method": (2, "string"),
        "payload": (3, "bytes"),
    },
    f"{TTRPC}.Response": {"status": (1, f"{TTRPC}.Status"), "payload": (2, "bytes")},
    f"{NRI}.Empty": {},
    f"{NRI}.RegisterPluginRequest": {"plugin_name": (1, "string"), "plugin_idx": (2, "string")},
    f"{NRI}.ConfigureRequest": {
        "runtime_name": (2, "string"),
        "runtime_version": (3, "string"),
    },
    f"{NRI}.ConfigureResponse": {"events": (2, "int32")},
    f"{NRI}.SynchronizeRequest": {"more": (3, "bool")},
    f"{NRI}.SynchronizeResponse": {"more": (2, "bool")},
    f"{NRI}.PodSandbox": {
        "name": (2, "string"),
        "namespace": (4, "string"),
        "annotations": (6, STRINGS),
    },
    f"{NRI}.Container": {"name": (3, "string")},
    f"{NRI}.CreateContainerRequest": {
        "pod": (1, f"{NRI}.PodSandbox"),
        "container": (2, f"{NRI}.Container"),
    },
    f"{NRI}.CDIDevice": {"name": (1, "string")},
    f"{NRI}.ContainerAdjustment": {"CDI_devices": (8, f"[{NRI}.CDIDevice]")},
    f"{NRI}.CreateContainerResponse": {"adjust": (1, f"{NRI}.ContainerAdjustment")},
}
HINT = "install it: pip install 'nvidia-container-runtime[nri]', or python3-protobuf of Debian"


@functools.cache
def classes() -> dict[str, Any]:
    """Return the classes by the names of messages, without their packages.

    Raises `NvidiaRuntimeError` without protobuf.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise NvidiaRuntimeError("Python's package protobuf is missing", hint=HINT) from None
    pool = descriptor_pool.DescriptorPool()
    for package in (TTRPC, NRI):
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3"
        )
        for name, fields in MESSAGES.items():
            if name.startswith(f"{package}."):
                _describe(file.message_type.add(name=name.rpartition(".")[2]), name, fields)
        pool.AddSerializedFile(file.SerializeToString())
    # Before protobuf 4.22 it was a method of a factory.
    make = getattr(message_factory, "GetMessageClass", None)
    make = make or message_factory.MessageFactory(pool).GetPrototype
    return {name.rpartition(".")[2]: make(pool.FindMessageTypeByName(name)) for name in MESSAGES}


def _describe(message: Any, name: str, fields: dict[str, tuple[int, str]]) -> None:
    for field, (number, kind) in fields.items():
        described = message.field.add(name=field, number=number)
        is_repeated = kind.startswith("[") or kind == STRINGS
        described.label = described.LABEL_REPEATED if is_repeated else described.LABEL_OPTIONAL
        inner = kind.strip("[]")
        if kind == STRINGS:
            entry = "".join(part.title() for part in field.split("_")) + "Entry"
            _describe_map(message.nested_type.add(name=entry))
            inner = f"{name}.{entry}"
        if "." in inner:
            described.type, described.type_name = described.TYPE_MESSAGE, f".{inner}"
        else:
            described.type = getattr(described, f"TYPE_{inner.upper()}")


def _describe_map(entry: Any) -> None:
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), start=1):
        field = entry.field.add(name=name, number=number)
        field.label, field.type = field.LABEL_OPTIONAL, field.TYPE_STRING
