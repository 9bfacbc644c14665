# SPDX-License-Identifier: Apache-2.0
"""The units for systemd, with its preset and udev's rule: their texts, and where they go.

They are written for one nvidia-ctk, whose path they name, and say by whom: what does not say so is
another's, and stays.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nvidia_runtime.cli.environment_file import PATH as SETTINGS
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGED = "/usr/bin/nvidia-ctk"
MARK = "# Written by 'nvidia-ctk system install-units', which replaces it and removes it.\n"
FOLDERS = {
    ".path": "systemd/system",
    ".preset": "systemd/system-preset",
    ".rules": "udev/rules.d",
    ".service": "systemd/system",
}
ADMIN = "/etc/systemd/system"  # where 'systemctl enable' makes its links
SETTINGS_NAME = os.path.basename(SETTINGS)
# What needs no quotes in any setting of systemd, and is no specifier of its.
PLAIN = re.compile(r"/[A-Za-z0-9/._+,:@=~-]*")


def texts(prefix: str, program: str) -> dict[str, str]:
    """Return the files that name a program, by their paths below a prefix.

    ``/etc`` is a place of its own; of any other, such as ``/usr``, it is the ``lib`` below it.
    """
    if not PLAIN.fullmatch(program):
        what = f"systemd's units cannot name {program!r}"
        raise NvidiaRuntimeError(what, hint="link to it, and name the link by --nvidia-ctk-path")
    base = prefix if os.path.basename(prefix) == "etc" else f"{prefix}/lib"
    source = _source()
    files = {}
    for name in sorted(os.listdir(source)):
        if folder := FOLDERS.get(os.path.splitext(name)[1]):
            first, rest = _read(f"{source}/{name}").split("\n", 1)
            text = f"{first}\n{MARK}{rest}"
            files[f"{base}/{folder}/{name}"] = text.replace(PACKAGED, program)
    return files


def settings(prefix: str) -> dict[str, str]:
    """Return the file for the settings of the units, which is the user's once it is there."""
    if os.path.basename(prefix) != "etc":
        return {}
    path = prefix + SETTINGS.removeprefix("/etc")
    return {path: _read(f"{_source()}/{SETTINGS_NAME}")}


def foreign(files: Iterable[str]) -> list[str]:
    """List those of the files that are there, and were not written by us."""
    return [path for path in files if os.path.lexists(path) and MARK not in present(path)]


def present(path: str) -> str:
    """Return what is in a file, "" where there is none."""
    return _read(path) if os.path.isfile(path) else ""


def enabled(files: Iterable[str]) -> list[str]:
    """List the links by which systemd starts one of the files: without it they lead nowhere."""
    links = []
    for path in files:
        folder, name = os.path.split(path)
        wanted = [f"{place}/{wants}/{name}" for place in {folder, ADMIN} for wants in _wants(place)]
        links += [link for link in wanted if os.path.realpath(link) == os.path.realpath(path)]
    return sorted(links)


def _wants(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if name.endswith(".wants")]


def _source() -> str:
    """Return where the files are: a wheel has them in the package, the source tree beside it."""
    package = __file__.removesuffix("/cli/system/units.py")
    folders = (f"{package}/_systemd", f"{os.path.dirname(package)}/packaging/systemd")
    for folder in folders:
        if os.path.isfile(f"{folder}/{SETTINGS_NAME}"):
            return folder
    hint = "the installation is damaged; repeat it"
    raise NvidiaRuntimeError("the units are missing", folders[0], hint)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path) from None
