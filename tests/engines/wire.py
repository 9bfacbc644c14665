# SPDX-License-Identifier: Apache-2.0
"""Protocol buffers on the wire, https://protobuf.dev/programming-guides/encoding/, as far as needed.

A message is described by a table: a field's name, its number and type, the type being ``str``,
``bytes``, ``int``, the name of a message, or a list of one of them for a repeated field.
"""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]
Messages = dict[str, dict[str, tuple[int, Any]]]

VARINT = 0
DELIMITED = 2


def encode(tables: Messages, name: str, message: Message) -> bytes:
    """Write a message; a field that its table lacks is a KeyError."""
    parts = []
    for field, value in message.items():
        number, kind = tables[name][field]
        values = value if isinstance(kind, list) else [value]
        kind = kind[0] if isinstance(kind, list) else kind
        for item in values:
            if kind is int:
                parts.append(varint(number << 3 | VARINT) + varint(item))
                continue
            data = encode(tables, kind, item) if isinstance(kind, str) else item
            data = data.encode() if isinstance(data, str) else data
            parts.append(varint(number << 3 | DELIMITED) + varint(len(data)) + data)
    return b"".join(parts)


def decode(tables: Messages, name: str, data: bytes) -> Message:
    """Read a message; fields that its table lacks are left out."""
    fields = {number: (field, kind) for field, (number, kind) in tables[name].items()}
    message: Message = {}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_value(data, at, tag & 7)
        if tag >> 3 not in fields:
            continue
        field, kind = fields[tag >> 3]
        one = kind[0] if isinstance(kind, list) else kind
        if isinstance(one, str):
            value = decode(tables, one, value)
        elif one is str:
            value = value.decode()
        if isinstance(kind, list):
            message.setdefault(field, []).append(value)
        else:
            message[field] = value
    return message


def read_value(data: bytes, at: int, wire: int) -> tuple[Any, int]:
    """Read what follows a tag."""
    value, at = read_varint(data, at)
    if wire == VARINT:
        return value, at
    assert wire == DELIMITED, f"no message of ours has the wire type {wire}"
    return data[at : at + value], at + value


def varint(number: int) -> bytes:
    """Write a number, seven bits a byte, the lowest first."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number; give it and the place behind it."""
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return number, at
