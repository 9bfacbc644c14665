# SPDX-License-Identifier: Apache-2.0
"""An assignment of --set: the name of a setting, and a value of the setting's type."""

from __future__ import annotations

import re
from typing import Any

from nvidia_runtime.admission.request import DEFAULT_KIND
from nvidia_runtime.cdi import names
from nvidia_runtime.cli.parse import BOOLEANS, suggestion
from nvidia_runtime.compile import config
from nvidia_runtime.engines.difference import ABSENT
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import find
from nvidia_runtime.store.snapshot import MODE

SEPARATOR = ":"
FEATURES = "features."
MODES = ("auto", *find.MODES)
# A second assignment after a comma, which the toolkit accepts.
SECOND = re.compile(r",\s*([a-z-]+(?:\.[a-z-]+)*)=")


def read(words: str, separator: str = SEPARATOR) -> tuple[str, Any]:
    """Read KEY, KEY=VALUE, or features.KEY=nil, whose value is ABSENT.

    Raises `NvidiaRuntimeError` that repeats the words.
    """
    key, equals, text = words.partition("=")
    if key not in config.DEFAULTS:
        raise NvidiaRuntimeError(_unknown(key), where=f"--set {words}", hint=_hint(key))
    kind = type(config.DEFAULTS[key])
    if kind is bool:
        return key, _boolean(words, key, text if equals else "true")
    if not equals:
        what = f"{key} has no value"
        raise NvidiaRuntimeError(what, where=f"--set {words}", hint=f"write --set {key}=VALUE")
    if kind is list:
        return key, _elements(text, separator)
    if kind is int:
        return key, int(text) if text.isdecimal() else text
    _check_string(words, key, text)
    return key, text


def _boolean(words: str, key: str, text: str) -> Any:
    if text == "nil" and key.startswith(FEATURES):
        return ABSENT
    if text not in BOOLEANS or not text:
        what = f"{key} must be true or false, not {text!r}"
        raise NvidiaRuntimeError(what, where=f"--set {words}")
    return BOOLEANS[text]


def _elements(text: str, separator: str) -> list[str]:
    """Split a list; without a separator of its own, at commas too."""
    if separator == SEPARATOR:
        text = text.replace(",", SEPARATOR)
    return text.split(separator) if text else []


def _check_string(words: str, key: str, text: str) -> None:
    """Refuse a value with which no container could start, or which contains an assignment."""
    where = f"--set {words}"
    second = SECOND.search(text)
    if second and second[1] in config.DEFAULTS:
        what = f"{second[1]} after a comma would become a part of {key}"
        raise NvidiaRuntimeError(what, where=where, hint="give each setting a --set of its own")
    if key == MODE and text not in MODES:
        what = f"{key} must be one of {', '.join(MODES)}, not {text!r}"
        raise NvidiaRuntimeError(what, where=where)
    if key == DEFAULT_KIND and (complaint := names.complaint(f"{text}=0")):
        what = f"{key} must be a kind of device, not {text!r}: {complaint}"
        raise NvidiaRuntimeError(what, where=where, hint="the default is nvidia.com/gpu")


def _unknown(key: str) -> str:
    return f"unknown setting {key!r}" if key not in config.TABLES else f"{key} is a table"


def _hint(key: str) -> str:
    if key in config.TABLES:
        return f"'nvidia-ctk config explain {key}' lists its settings"
    return f"{suggestion(key, config.DEFAULTS)}'nvidia-ctk config explain' lists the settings"
