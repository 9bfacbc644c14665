# SPDX-License-Identifier: Apache-2.0
"""A file of variables in systemd's form: systemd.exec(5), EnvironmentFile=."""

from __future__ import annotations


def parse(text: str) -> dict[str, str]:
    """Return the assignments of a file; other lines are skipped, as systemd does."""
    variables: dict[str, str] = {}
    for line in _lines(text):
        name, equals, value = line.partition("=")
        if equals and _is_name(name):
            variables[name] = _unquoted(value.strip())
    return variables


def skipped(text: str) -> list[str]:
    """Return the lines that are neither assignments nor comments: nothing comes of them."""
    return [
        line
        for line in _lines(text)
        if line and line[0] not in "#;" and not ("=" in line and _is_name(line.partition("=")[0]))
    ]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace("\\\n", "").splitlines()]


def _is_name(name: str) -> bool:
    return name.isidentifier() and name.isascii()


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote not in ('"', "'") or len(value) < 2 or value[-1] != quote:
        return value
    inner = value[1:-1]
    return inner.replace('\\"', '"').replace("\\\\", "\\") if quote == '"' else inner
