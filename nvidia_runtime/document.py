# SPDX-License-Identifier: Apache-2.0
"""JSON documents by CPython's own accelerator, without the ``json`` package (6 ms).

Ring: create.  ``_json`` misbehaves on malformed input (SystemError on 3.10 and 3.11, StopIteration
on truncated input), so whatever goes wrong there is read again by ``json`` for its message.
"""

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]

# Go's strconv.ParseBool.
TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
BLANK = " \t\n\r"


class _Reading:
    """What ``make_scanner`` wants: the settings of a ``json.JSONDecoder``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    # NaN and Infinity are no JSON: a KeyError.
    parse_constant = dict[str, float]().__getitem__


_scan = make_scanner(_Reading)  # type: ignore[arg-type]  # typeshed wants its own class
_FAILURES = (StopIteration, SystemError, ValueError, KeyError, RecursionError)


def loads(data: bytes, where: str, hint: str = "") -> "Any":
    """Decode one JSON document in UTF-8; raises `NvidiaRuntimeError` with line and column."""
    try:
        text = data.decode()
        if text[:1] in BLANK:
            text = text.lstrip(BLANK)
        value, end = _scan(text, 0)
        if end == len(text) or not text[end:].strip(BLANK):
            return value
    except _FAILURES:
        pass
    raise NvidiaRuntimeError(complaint(data), where=where, hint=hint)


def complaint(data: bytes) -> str:
    """Say what is wrong with a document that could not be decoded, with line and column."""
    import json  # 6 ms, for a message

    if not data.strip():
        return "is empty, not a JSON document"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
    try:
        json.loads(text, parse_constant=dict[str, float]().__getitem__)
    except json.JSONDecodeError as error:
        what = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")
        return f"is not JSON: line {error.lineno}, column {error.colno}: {what}"
    except KeyError as error:
        return f"is not JSON: {error.args[0]} is no JSON number"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:  # CPython's limit of int()
        return "has a number of too many digits"
    return "is not JSON"


def kind(value: object) -> str:
    """Name the JSON type of a value, for messages."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def object_at(parent: "Document", key: str, path: str) -> "Document":
    """Return the object at ``key``; null is as good as nothing."""
    value = parent.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise wrong_type(f"{path}: {key}", "an object", value)
    return value


def list_at(parent: "Document", key: str, path: str) -> list[object]:
    """Return the list at ``key``; null is as good as nothing."""
    value = parent.get(key)
    if value is None:
        return []
    if type(value) is not list:
        raise wrong_type(f"{path}{'.' if ': ' in path else ': '}{key}", "a list", value)
    return value


def wrong_type(where: str, wanted: str, value: object, but: str = "{}") -> NvidiaRuntimeError:
    """Make the error for a field of config.json that has a wrong type."""
    found = but.format(kind(value))
    hint = "see the OCI runtime-spec, config.md; the engine or 'runc spec' writes this file"
    return NvidiaRuntimeError(f"must be {wanted}, not {found}", where=where, hint=hint)


def dumps(value: object) -> bytes:
    """Encode a document compactly, in UTF-8; lone surrogates stay escapes."""
    try:
        return _encode(value, encode_basestring).encode()
    except UnicodeEncodeError:
        return _encode(value, encode_basestring_ascii).encode()


def _encode(value: object, quote: "Callable[[str], str]") -> str:
    # Not sorted, no other keys than strings, no NaN.
    encoder = make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)  # noqa: FBT003
    return "".join(encoder(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"{value!r} is no JSON")
