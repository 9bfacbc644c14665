# SPDX-License-Identifier: Apache-2.0
"""YAML as the CDI library reads it: YAML 1.1's scalars, no dates, no repeated keys."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from nvidia_runtime.errors import NvidiaRuntimeError

# A CDI spec has seven levels.
DEEPEST = 50
TOO_DEEP = f"is nested deeper than {DEEPEST} levels"
NAMES = {"True": "true", "False": "false", "None": "null"}

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader with resolvers of its own: those of PyYAML are shared by all users."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    """Construct a mapping without repeated keys; ``<<`` gives way to what is written.

    PyYAML's own merging copies pairs, so that nested merges of aliases grow without bound.
    """
    written: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        value = loader.construct_object(value_node, deep=True)
        if key_node.tag == "tag:yaml.org,2002:merge":
            for mapping in value if isinstance(value, list) else [value]:
                if not isinstance(mapping, dict):
                    raise _error("'<<' must merge mappings", key_node)
                merged = {**mapping, **merged}
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            if isinstance(key, (dict, list, set)):
                raise _error("a key must be a scalar", key_node)
            key = NAMES.get(str(key), str(key))  # by the text: True == 1
        if key in written:
            raise _error(f"repeated key {key!r}", key_node)
        written[key] = value
    return {**merged, **written} if merged else written


def _error(what: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    sign = -1 if text[0] == "-" else 1
    text = text.lstrip("+-")
    for prefix, base in (("0x", 16), ("0b", 2), ("0o", 8)):
        if text.startswith(prefix):
            return sign * int(text[2:], base)
    return sign * int(text, 8 if text[0] == "0" and len(text) > 1 else 10)


_BOOLEANS = (
    r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"
)
_INTEGERS = r"^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"
_FLOATS = (
    r"^(?:[-+]?(?:[0-9]+\.[0-9_]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)

for _tag, _pattern, _first in (
    ("bool", _BOOLEANS, "yYnNtTfFoO"),
    ("int", _INTEGERS, "-+0123456789"),
    ("float", _FLOATS, "-+0123456789."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


def load(data: bytes, path: str, most: int) -> object:
    """Decode a YAML document, the first of several.

    Raises `NvidiaRuntimeError` with line and column.  More than ``most`` values, each counted as
    often as aliases repeat it, are refused.
    """
    try:
        text = data.decode("utf-8-sig")
        _refuse_bombs(text, path, most)
        value = next(iter(yaml.load_all(text, Loader=_Loader)), None)
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise NvidiaRuntimeError(what, path) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and _open_brackets(text[: mark.index]) > DEEPEST:
            raise NvidiaRuntimeError(TOO_DEEP, path) from None
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NvidiaRuntimeError(f"is not YAML: {place}{error.problem}", path) from None
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        AttributeError,
    ) as error:
        # PyYAML's constructors do not expect `!!int ''`, or a list as a key.
        what = " ".join(str(error).split())
        raise NvidiaRuntimeError(f"is not YAML: {what}", path) from None
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", path) from None
    if _is_larger(value, most):
        raise NvidiaRuntimeError(f"describes more than {most} values with its aliases", path)
    return value


def _refuse_bombs(text: str, path: str, most: int) -> None:
    """Check the events before anything is built: libyaml's composer recurses on the C stack."""
    depth = 0
    events = yaml.parse(text, Loader=_Base)
    for count, event in enumerate(events):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            next(events)  # another document, or the end; the rest is not read
            return
        if depth > DEEPEST:
            raise NvidiaRuntimeError(TOO_DEEP, path)
        if count > most:
            raise NvidiaRuntimeError(f"has more than {most} values", path)


def _open_brackets(text: str) -> int:
    """Count the brackets that are not closed: libyaml looks ahead, and has a limit of its own."""
    return sum(text.count(letter) for letter in "[{") - sum(text.count(letter) for letter in "]}")


def _is_larger(value: object, most: int) -> bool:
    """Whether a document has more than ``most`` values, with each alias counted as its value."""
    count = 0
    stack = [value]
    while stack:
        item = stack.pop()
        count += 1
        if count + len(stack) > most:
            return True
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
