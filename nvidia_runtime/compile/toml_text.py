# SPDX-License-Identifier: Apache-2.0
"""The text of a config.toml: the default one, values in it, and samples of other settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from nvidia_runtime.compile import config
from nvidia_runtime.engines import toml_file, toml_inline, toml_scan
from nvidia_runtime.engines.difference import ABSENT, Edit, at, is_same

# The toolkit writes each of these lines too; `config explain` shows our own settings.
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
# A setting in a comment: "#root = …".
COMMENTED = re.compile(r"\s*#\s*([A-Za-z0-9_-]+)\s*=.*")
# The comment at the beginning of a file, up to a blank line.
PREFACE = re.compile(r"(?:[ \t]*#[^\n]*\n)+[ \t]*\r?\n")
LDCONFIG = "nvidia-container-cli.ldconfig"
USER = "nvidia-container-cli.user"


def default() -> str:
    """Return the text of a new file; two of its values depend on the host."""
    settings, _ = config.check({}, "")
    text = DEFAULT.replace("@/sbin/ldconfig", settings[LDCONFIG])
    if settings[USER]:
        text = put(text, USER, settings[USER], "")
    return text


def put(text: str, key: str, value: object, path: str) -> str:
    """Set a value, in place of the setting's sample if there is one; ABSENT removes it."""
    steps = tuple(key.split("."))
    edited = toml_file.edit(text, [Edit(steps, value)], path)
    if value is ABSENT:
        return edited
    for table, place, line in _comments(text):
        if (*table, steps[-1]) == steps and line == _SAMPLES.get(steps):
            statement = f"{steps[-1]} = {toml_inline.value(value)}"
            replaced = text[:place] + statement + text[place + len(line) :]
            if _means(replaced, config.decode(edited, path)):
                return replaced
    return edited


def with_samples(text: str) -> str:
    """Add the samples of settings that a file neither sets nor has as a comment."""
    # Each goes right behind the values of its table, so the last one is added first.
    keys = [key for table in _TABLES for key in reversed(_SAMPLES) if key[:-1] == table]
    for key, sample in ((key, _SAMPLES[key]) for key in keys):
        table = key[:-1]
        lines = [line for owner, _, line in _comments(text) if owner == table]
        names = {match[1] for match in map(COMMENTED.fullmatch, lines) if match}
        document = config.decode(text, "")
        if key[-1] in names or has(document, ".".join(key)):
            continue
        longer = _inserted(text, table, sample)
        # A table in another form, an inline table for instance, cannot hold a comment.
        if _means(longer, {**{step: {} for step in table}, **document}):
            text = longer
    return text


def has(document: dict[str, Any], key: str) -> bool:
    """Whether a config.toml sets a setting."""
    return at(document, tuple(key.split("."))) is not ABSENT


def _means(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return is_same(tomllib.loads(text), wanted)
    except tomllib.TOMLDecodeError:
        return False


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Return the table, place and text of each line outside of statements, without line ends."""
    table: tuple[str, ...] = ()
    place = 0
    for statement in [*toml_scan.statements(text), None]:
        between = text[place : statement.start if statement else len(text)]
        for line in between.splitlines(keepends=True):
            yield table, place, line.rstrip("\r\n")
            place += len(line)
        if statement:
            table, place = statement.table, statement.stop


def _inserted(text: str, table: tuple[str, ...], line: str) -> str:
    """Insert a line behind the last value of a table, or behind its header, which may be new."""
    end = "\r\n" if "\r\n" in text else "\n"
    section = [statement for statement in toml_scan.statements(text) if statement.table == table]
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
    if (match := COMMENTED.fullmatch(line))
}
_TABLES = sorted({key[:-1] for key in _SAMPLES})
