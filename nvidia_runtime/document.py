# SPDX-License-Identifier: Apache-2.0
"""JSON documents by CPython's own accelerator, without the ``json`` package (6 ms).

Ring: create.  ``_json`` misbehaves on malformed input (SystemError on 3.10 and 3.11, StopIteration
on truncated input), so whatever goes wrong there is read again by ``json`` for its message.  Any
version of CPython may change ``_json``: where it fails in a trial, ``json`` does everything.
"""

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

# Go's strconv.ParseBool.
TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
BLANK = " \t\n\r"
TRIAL = '[{"a":[1.5,true,null]},"b"]'


class _Reading:
    """What ``make_scanner`` wants: the settings of a ``json.JSONDecoder``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None  # since Python 3.15
    parse_float = float
    parse_int = int
    # NaN and Infinity are no JSON: a KeyError.
    parse_constant = dict[str, float]().__getitem__


def _encode(value: object, is_ascii: bool) -> str:
    quote = encode_basestring_ascii if is_ascii else encode_basestring
    # Not sorted, no other keys than strings, no NaN.
    encoder = make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)  # noqa: FBT003
    return "".join(encoder(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"{value!r} is no JSON")


def _scan_by_json(text: str, _start: int) -> "tuple[Any, int]":
    import json

    return json.loads(text, parse_constant=_Reading.parse_constant), len(text)


def _encode_by_json(value: object, is_ascii: bool) -> str:
    import json

    compact = (",", ":")
    return json.dumps(
        value, default=_refuse, allow_nan=False, ensure_ascii=is_ascii, separators=compact
    )


try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Reading)  # type: ignore[arg-type]  # typeshed wants its own class
    if _scan(TRIAL, 0)[1] != len(TRIAL) or _encode(_scan(TRIAL, 0)[0], is_ascii=False) != TRIAL:
        raise ValueError
except Exception:  # noqa: BLE001 (whatever a private module may raise)
    import sys

    if "json" not in sys.modules:  # which shall not stumble over it either
        sys.modules["_json"] = None  # type: ignore[assignment]
    _scan, _encode = _scan_by_json, _encode_by_json  # type: ignore[assignment]


def loads(data: bytes, where: str, hint: str = "") -> "Any":
    """Decode one JSON document in UTF-8; raises `NvidiaRuntimeError` with line and column."""
    try:
        text = data.decode()
        if text[:1] in BLANK:
            text = text.lstrip(BLANK)
        value, end = _scan(text, 0)
        if end == len(text) or not text[end:].strip(BLANK):
            return value
    except Exception:  # noqa: BLE001, S110 (not all of them say that it is no JSON)
        pass
    if what := complaint(data):
        raise NvidiaRuntimeError(what, where=where, hint=hint)
    return _scan_by_json(data.decode(), 0)[0]


def complaint(data: bytes) -> str:
    """Say what is wrong with a document, with line and column; "" if nothing is."""
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
    return ""


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
        raise wrong_type(f"{path}{'.' if ': ' in path else ': '}{key}", "an object", value)
    return value


def list_at(parent: "Document", key: str, path: str) -> list[object]:
    """Return the list at ``key``; null is as good as nothing."""
    value = parent.get(key)
    if value is None:
        return []
    if type(value) is not list:
        raise wrong_type(f"{path}{'.' if ': ' in path else ': '}{key}", "a list", value)
    return value


CONFIG = "see the OCI runtime-spec, config.md; the engine or 'runc spec' writes this file"


def wrong_type(
    where: str, wanted: str, value: object, but: str = "{}", hint: str = CONFIG
) -> NvidiaRuntimeError:
    """Make the error for a field, of config.json if no hint says another, that has a wrong type."""
    actual = but.format(kind(value))
    return NvidiaRuntimeError(f"must be {wanted}, not {actual}", where=where, hint=hint)


def dumps(value: object) -> bytes:
    """Encode a document compactly, in UTF-8; lone surrogates stay escapes."""
    try:
        return _encode(value, is_ascii=False).encode()
    except UnicodeEncodeError:
        return _encode(value, is_ascii=True).encode()


def quote(value: object) -> str:
    """Encode a string, or another value, in ASCII."""
    return _encode(value, is_ascii=True)


def digest(content: bytes) -> str:
    """Return a short digest: against accidents only, so no cryptography is needed, nor loaded."""
    try:
        from _imp import source_hash  # built in, 0.25 us a kilobyte; hashlib is 2 ms

        return source_hash(1, content).hex()
    except Exception:  # noqa: BLE001 (CPython's own affair)
        from hashlib import sha256

        return sha256(content).hexdigest()[:16]
