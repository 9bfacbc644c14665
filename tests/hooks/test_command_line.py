# SPDX-License-Identifier: Apache-2.0
"""The words of the prestart hook."""

from __future__ import annotations

import pytest

from nvidia_runtime.hooks import command_line


@pytest.mark.parametrize(
    ("words", "command", "config", "debug", "version"),
    [
        ("prestart", "prestart", "", False, False),
        ("prestart -debug", "prestart", "", False, False),
        ("-debug prestart", "prestart", "", True, False),
        ("--debug=true prestart", "prestart", "", True, False),
        ("-debug=0 prestart", "prestart", "", False, False),
        ("-config /a prestart", "prestart", "/a", False, False),
        ("--config=/a=b -debug prestart", "prestart", "/a=b", True, False),
        ("-config= prestart", "prestart", "", False, False),
        ("-version", "", "", False, True),
        ("-- prestart", "prestart", "", False, False),
        ("- prestart", "-", "", False, False),
        ("", "", "", False, False),
    ],
)
def test_parse(words: str, command: str, config: str, debug: bool, version: bool) -> None:
    call = command_line.parse(words.split())

    assert (call.command, call.config, call.debug, call.version) == (
        *(command, config),
        *(debug, version),
    )
    assert not call.help
    assert call.complaint == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("-bogus prestart", "flag provided but not defined: -bogus"),
        ("--bogus=1 prestart", "flag provided but not defined: -bogus"),
        ("-config", "flag needs an argument: -config"),
        ("-debug=maybe prestart", "invalid boolean value 'maybe' for -debug"),
        ("---debug prestart", "bad flag syntax: ---debug"),
        ("-=x prestart", "bad flag syntax: -=x"),
    ],
)
def test_what_is_wrong(words: str, says: str) -> None:
    call = command_line.parse(words.split())

    assert (call.complaint, call.command) == (says, "")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    assert command_line.parse([word, "prestart"]).help
