# SPDX-License-Identifier: Apache-2.0
"""Any config.toml: an assignment changes one value, and keeps the rest."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from nvidia_runtime.cli.config import assignment
from nvidia_runtime.compile import config, toml_text
from nvidia_runtime.errors import NvidiaRuntimeError

STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {bool: st.booleans(), str: STRINGS, list: st.lists(STRINGS, max_size=3), int: st.just(7)}
KEYS = st.sampled_from(sorted(config.DEFAULTS))
SETTINGS = KEYS.flatmap(lambda key: st.tuples(st.just(key), VALUES[type(config.DEFAULTS[key])]))


def document(settings: list[tuple[str, Any]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, value in settings:
        *tables, name = key.split(".")
        table = root
        for step in tables:
            table = table.setdefault(step, {})
        table[name] = value
    return root


def values(text: str) -> dict[str, Any]:
    return {key: value_of(text, key) for key in config.DEFAULTS}


def value_of(text: str, key: str) -> Any:
    here: Any = tomllib.loads(text)
    for step in key.split("."):
        here = here.get(step, {}) if isinstance(here, dict) else {}
    return here


@given(st.lists(SETTINGS), SETTINGS)
def test_put_changes_one_value(settings: list[tuple[str, Any]], new: tuple[str, Any]) -> None:
    text = tomlkit.dumps(document(settings))
    key, value = new

    changed = toml_text.with_samples(toml_text.put(text, key, value, ""))

    assert values(changed) == {**values(text), key: value}


@given(st.lists(SETTINGS))
def test_samples_come_once(settings: list[tuple[str, Any]]) -> None:
    once = toml_text.with_samples(tomlkit.dumps(document(settings)))

    assert toml_text.with_samples(once) == once


@given(st.text(), KEYS)
def test_any_text_is_read_or_refused(text: str, key: str) -> None:
    try:
        config.check(config.decode(text, "c.toml"), "c.toml")
    except NvidiaRuntimeError as error:
        assert str(error).startswith("c.toml: ")
        return

    assert values(toml_text.put(text, key, config.DEFAULTS[key], ""))[key] == config.DEFAULTS[key]


@given(st.text(), st.text(min_size=1))
def test_any_option_is_read_or_refused(option: str, separator: str) -> None:
    for text in (option, f"nvidia-container-runtime.runtimes={option}", f"features.{option}"):
        try:
            key, _ = assignment.read(text, separator)
        except NvidiaRuntimeError as error:
            assert str(error).startswith("--set ")
        else:
            assert key in config.DEFAULTS


def test_option_names_are_those_of_the_settings() -> None:
    with pytest.raises(NvidiaRuntimeError, match="unknown setting 'Disable-Require'"):
        assignment.read("Disable-Require=true")
