# SPDX-License-Identifier: Apache-2.0
"""The config.toml of an installed tree: what its user wrote there, and what the flags say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.compile import config, toml_text
from nvidia_runtime.engines.difference import ABSENT, at
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import tree, wrappers
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from nvidia_runtime.installer.options import Options

Values = dict[str, object]
CLI = "nvidia-container-cli"
RUNTIME = "nvidia-container-runtime"


def values(options: Options, runtimes: list[str]) -> Values:
    """Return the settings that the flags make."""
    link, root = options.installation.toolkit, options.driver.root.rstrip("/")
    settings: Values = {
        f"{CLI}.root": root or "/",
        f"{CLI}.ldconfig": f"@{root}{_ldconfig(options.driver.here)}",
        f"{wrappers.CTK}.path": f"{link}/{wrappers.CTK}",
        f"{RUNTIME}-hook.path": f"{link}/{wrappers.HOOKS[0]}",
        f"{RUNTIME}.runtimes": runtimes,
    }
    if cli := _cli(options):
        settings[f"{CLI}.path"] = cli
    return settings | dict(options.settings)


def _ldconfig(root: str) -> str:
    """Return the path of ldconfig below a root; Debian's is a wrapper of the real one."""
    real = "/sbin/ldconfig.real"
    return real if os.path.exists(root.rstrip("/") + real) else "/sbin/ldconfig"


def _cli(options: Options) -> str:
    """Return the path of the driver's own program for legacy mode, "" where ours does the work."""
    path = f"/usr/bin/{wrappers.CLI}"
    is_there = os.path.exists(options.driver.here.rstrip("/") + path)
    return options.driver.root.rstrip("/") + path if is_there else ""


def text(path: str, wanted: Values, earlier: Values) -> str:
    """Return what a file is to say; ``earlier`` are the values that we wrote the last time.

    What its user has written stays, unless a flag says otherwise.
    """
    try:
        old = config.read(path)
        document = config.decode(old, path)
        config.check(document, path)
    except FileNotFoundError:
        old, document = toml_text.default(), {}
    except NvidiaRuntimeError:  # with which no container starts
        old, document, earlier = toml_text.default(), {}, {}
    for key in earlier.keys() - wanted.keys():
        if at(document, tuple(key.split("."))) == earlier[key]:
            old = toml_text.put(old, key, ABSENT, path)
    for key, value in wanted.items():
        old = toml_text.put(old, key, value, path)
    settings, _ = config.check(config.decode(old, path), path)
    config.check_ldconfig(settings, path)
    return toml_text.with_samples(old)


def write(path: str, data: str) -> None:
    """Replace the file, if it says something else."""
    try:
        if config.read(path) == data:
            return
    except (FileNotFoundError, NvidiaRuntimeError):
        pass
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        files.replace(path, data.encode(), 0o644, sync=True, mark="new")
    except OSError as error:
        raise tree.failed(error, path) from None
