# SPDX-License-Identifier: Apache-2.0
"""The text of a config.toml: the one to begin with, and the samples of what it does not set.

Ring: elsewhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from nvidia_runtime.compile import config
from nvidia_runtime.engines import toml_file, toml_inline, toml_scan
from nvidia_runtime.engines.difference import ABSENT, Absent, Edit, at, is_same

# Every line is one that the toolkit writes too; what we have beyond it is in `config explain`.
DEFAULT = """\
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
#ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig"
load-kmods = true
#no-cgroups = false
#path = "/usr/bin/nvidia-container-cli"
#root = "/run/nvidia/driver"
#user = "root:video"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime.modes.csv]
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"

[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "ldconfig"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = false

[nvidia-ctk]
path = "nvidia-ctk"
"""
# A comment that is a setting asleep: "#root = …".
ASLEEP = re.compile(r"\s*#\s*([A-Za-z0-9_-]+)\s*=.*")
# The comment that a file begins with, if a blank line sets it apart.
PREFACE = re.compile(r"(?:[ \t]*#[^\n]*\n)+[ \t]*\r?\n")
LDCONFIG = "nvidia-container-cli.ldconfig"
USER = "nvidia-container-cli.user"


def default() -> str:
    """Return the text of a new file; two of its values are this host's."""
    settings, _ = config.check({}, "")
    text = DEFAULT.replace("@/sbin/ldconfig", settings[LDCONFIG])
    if settings[USER]:
        text = put(text, USER, settings[USER], "")
    return text


def put(text: str, key: str, value: object, path: str) -> str:
    """Set a value; if its sample is there, unchanged, it is what goes."""
    steps = tuple(key.split("."))
    edited = toml_file.edit(text, [Edit(steps, value)], path)
    for table, place, line in _comments(text):
        if (*table, steps[-1]) == steps and line == _SAMPLES.get(steps):
            new = f"{steps[-1]} = {toml_inline.value(value)}"
            changed = text[:place] + new + text[place + len(line) :]
            if _means(changed, config.decode(edited, path)):
                return changed
    return edited


def take(text: str, key: str, path: str) -> str:
    """Take a setting out; its table stays."""
    return toml_file.edit(text, [Edit(tuple(key.split(".")), ABSENT)], path)


def with_samples(text: str) -> str:
    """Put in a sample, as a comment, for each setting of ten that a file neither sets nor shows."""
    # Each goes right behind the values of its table, so the last one comes first.
    keys = [key for table in _TABLES for key in reversed(_SAMPLES) if key[:-1] == table]
    for key, sample in ((key, _SAMPLES[key]) for key in keys):
        table = key[:-1]
        shown = [ASLEEP.fullmatch(line) for where, _, line in _comments(text) if where == table]
        document = config.decode(text, "")
        if key[-1] in {match[1] for match in shown if match} or has(document, ".".join(key)):
            continue
        tried = _inserted(text, table, sample)
        # A table that is written in another way, on one line for instance, has no room for it.
        if _means(tried, {**{step: {} for step in table}, **document}):
            text = tried
    return text


def has(document: dict[str, Any], key: str) -> bool:
    """Whether a config.toml says something of a setting."""
    return not isinstance(at(document, tuple(key.split("."))), Absent)


def _means(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return is_same(tomllib.loads(text), wanted)
    except tomllib.TOMLDecodeError:
        return False


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """List the lines outside of statements, each with its table and its place, without its end."""
    table: tuple[str, ...] = ()
    place = 0
    for each in [*toml_scan.statements(text), None]:
        between = text[place : each.start if each else len(text)]
        for line in between.splitlines(keepends=True):
            yield table, place, line.rstrip("\r\n")
            place += len(line)
        if each:
            table, place = each.table, each.stop


def _inserted(text: str, table: tuple[str, ...], line: str) -> str:
    """Put a line behind the last value of a table, or behind its header; the table may be new."""
    end = "\r\n" if "\r\n" in text else "\n"
    section = [each for each in toml_scan.statements(text) if each.table == table]
    if not section and table:
        gap = end if text else ""
        return f"{_ended(text, end)}{gap}[{'.'.join(table)}]{end}{line}{end}"
    if not section:
        preface = PREFACE.match(text)
        place = preface.end() if preface else 0
        gap = end if text[place:].startswith("[") else ""
        return f"{text[:place]}{line}{end}{gap}{text[place:]}"
    place = section[-1].stop
    return f"{_ended(text[:place], end)}{line}{end}{text[place:]}"


def _ended(text: str, end: str) -> str:
    return text if not text or text.endswith("\n") else text + end


_SAMPLES = {
    (*table, match[1]): line
    for table, _, line in _comments(DEFAULT)
    if (match := ASLEEP.fullmatch(line))
}
_TABLES = sorted({key[:-1] for key in _SAMPLES})
