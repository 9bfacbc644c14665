# SPDX-License-Identifier: Apache-2.0
"""What systemd's files say of an engine's service: whether it is wanted, and with which words.

systemd itself is not asked: it may not be there, and systemctl may hang where it is sick.
"""

from __future__ import annotations

import glob
import os
import shlex

# systemd.unit(5), the most important last.
FOLDERS = ("/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system")
LARGEST = 1 << 16


def is_wanted(unit: str) -> bool:
    """Whether a service is started with the machine, or by its socket."""
    names = (f"{unit}.service", f"{unit}.socket")
    patterns = (f"{folder}/*.{kind}" for folder in FOLDERS for kind in ("wants", "requires"))
    return any(
        os.path.lexists(os.path.join(folder, name))
        for pattern in patterns
        for folder in glob.glob(pattern)
        for name in names
    )


def words(unit: str) -> list[str]:
    """Return the words that a service is started with, [] where they are not known.

    Variables stay as they are written.
    """
    name = f"{unit}.service"
    own = [path for folder in FOLDERS if os.path.isfile(path := os.path.join(folder, name))]
    drop_ins: dict[str, str] = {}
    for folder in FOLDERS:
        for path in glob.glob(f"{folder}/{name}.d/*.conf"):
            drop_ins[os.path.basename(path)] = path
    line = ""
    for path in (*own[-1:], *(drop_ins[key] for key in sorted(drop_ins))):
        for value in _values(path, "ExecStart"):
            line = value
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _values(path: str, key: str) -> list[str]:
    """Return the values of a key in a unit file, an empty one included: it resets the key."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(LARGEST).replace("\\\n", " ")
    except OSError:
        return []
    pairs = (line.partition("=") for line in text.splitlines())
    return [value.strip().lstrip("@-:+!") for name, _, value in pairs if name.strip() == key]
