# SPDX-License-Identifier: Apache-2.0
"""What --set says: the name of a setting and its value, in the setting's own type.

Ring: elsewhere.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from nvidia_runtime.cdi import names
from nvidia_runtime.cli.command import BOOLEANS
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError

SEPARATOR = ":"
FEATURES = "features."
MODE = "nvidia-container-runtime.mode"
MODES = ("auto", "legacy", "csv", "cdi", "jit-cdi")
KIND = "nvidia-container-runtime.modes.cdi.default-kind"
# A second setting after a comma: the toolkit would take it for one.
SECOND = re.compile(r",\s*([a-z-]+(?:\.[a-z-]+)*)=")


class Gone:
    """Stands for a setting that is to be taken out of the file."""


GONE = Gone()


def read(option: str, separator: str = SEPARATOR) -> tuple[str, Any]:
    """Read KEY, KEY=VALUE or features.KEY=nil; raises `NvidiaRuntimeError` with the option."""
    key, equals, text = option.partition("=")
    if key not in config.DEFAULTS:
        raise NvidiaRuntimeError(_unknown(key), where=f"--set {option}", hint=_hint(key))
    kind = type(config.DEFAULTS[key])
    if kind is bool:
        return key, _boolean(option, key, text if equals else "true")
    if not equals:
        what = f"{key} has no value"
        raise NvidiaRuntimeError(what, where=f"--set {option}", hint=f"write --set {key}=VALUE")
    if kind is list:
        return key, _elements(text, separator)
    if kind is int:
        return key, int(text) if text.isdecimal() else text
    _check_string(option, key, text)
    return key, text


def _boolean(option: str, key: str, text: str) -> Any:
    if text == "nil" and key.startswith(FEATURES):
        return GONE
    if text not in BOOLEANS or not text:
        what = f"{key} must be true or false, not {text!r}"
        raise NvidiaRuntimeError(what, where=f"--set {option}")
    return BOOLEANS[text]


def _elements(text: str, separator: str) -> list[str]:
    """Split a list; a comma separates too, unless another separator was asked for."""
    if separator == SEPARATOR:
        text = text.replace(",", SEPARATOR)
    return text.split(separator) if text else []


def _check_string(option: str, key: str, text: str) -> None:
    """Refuse what no container could start with, or what is meant as two settings."""
    where = f"--set {option}"
    second = SECOND.search(text)
    if second and second[1] in config.DEFAULTS:
        what = f"{second[1]} after a comma would become a part of {key}"
        raise NvidiaRuntimeError(what, where=where, hint="give each setting a --set of its own")
    if key == MODE and text not in MODES:
        what = f"{key} must be one of {', '.join(MODES)}, not {text!r}"
        raise NvidiaRuntimeError(what, where=where)
    if key == KIND and (complaint := names.complaint(f"{text}=0")):
        what = f"{key} must be a kind of device, not {text!r}: {complaint}"
        raise NvidiaRuntimeError(what, where=where, hint="the default is nvidia.com/gpu")


def _unknown(key: str) -> str:
    return f"unknown setting {key!r}" if key not in config.TABLES else f"{key} is a table"


def _hint(key: str) -> str:
    if key in config.TABLES:
        return f"'nvidia-ctk config explain {key}' lists its settings"
    near = difflib.get_close_matches(key, config.DEFAULTS, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}'nvidia-ctk config explain' lists the settings"
