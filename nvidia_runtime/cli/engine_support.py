# SPDX-License-Identifier: Apache-2.0
"""Which CDI versions the container engines installed here understand.

An engine refuses a spec of a version that its CDI library does not know.  Ring: elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from nvidia_runtime.cdi.versions import VERSIONS

# From which version of an engine on it is known to know a CDI version: by the CDI library in its
# go.mod, and by reports of specs that it refused.  It may know newer ones.
TABLE = {
    "podman": (
        ((4, 1, 0), "0.3.0"),
        ((4, 5, 0), "0.5.0"),
        ((4, 7, 0), "0.6.0"),
        ((5, 1, 0), "0.7.0"),
        ((5, 3, 0), "0.8.0"),
    ),
    "docker": (((25, 0, 0), "0.6.0"), ((26, 1, 0), "0.7.0")),
    "containerd": (((1, 7, 0), "0.5.0"), ((1, 7, 16), "0.7.0"), ((2, 0, 0), "0.8.0")),
    "crio": (
        ((1, 23, 0), "0.3.0"),
        ((1, 27, 0), "0.5.0"),
        ((1, 30, 0), "0.7.0"),
        ((1, 33, 0), "0.8.0"),
    ),
}
# The client's version is not the engine's.
PROGRAMS = {"podman": "podman", "docker": "dockerd", "containerd": "containerd", "crio": "crio"}
VERSION = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")
# Seconds for a program to say its version.
PATIENCE = 10
# Names of devices that begin with a digit, and additional groups.
LEAST = "0.5.0"
GIDS_SINCE = "0.7.0"


def newest_version() -> tuple[str, str]:
    """Return the newest CDI version that all installed engines know, and which of them sets it.

    Both are "" where there is no engine with CDI.
    """
    known = {}
    for engine, program in PROGRAMS.items():
        version = _version_of(program)
        if version and (accepted := newest_for(engine, version)):
            known[f"{engine} {'.'.join(str(part) for part in version)}"] = accepted
    if not known:
        return "", ""
    reason = min(known, key=lambda name: VERSIONS.index(known[name]))
    return known[reason], reason


def newest_for(engine: str, version: tuple[int, ...]) -> str:
    """Return the newest CDI version that a version of an engine knows, "" if it knows none."""
    found = [cdi for since, cdi in TABLE[engine] if since <= version]
    return found[-1] if found else ""


def has_least(version: str) -> bool:
    """Whether a CDI version has what every spec of GPUs needs."""
    return VERSIONS.index(version) >= VERSIONS.index(LEAST)


def has_gids(version: str) -> bool:
    """Whether a CDI version has additional groups."""
    return VERSIONS.index(version) >= VERSIONS.index(GIDS_SINCE)


def _version_of(program: str) -> tuple[int, ...]:
    path = shutil.which(program)
    if not path:
        return ()
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()
    match = VERSION.search(told)
    return tuple(int(part or 0) for part in match.groups()) if match else ()
