# SPDX-License-Identifier: Apache-2.0
"""Which CDI versions the container engines installed here understand.

An engine refuses a spec of a version that its CDI library does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.cdi.versions import VERSIONS

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Engine, Version

# Names of devices that begin with a digit, and additional groups.
LEAST = "0.5.0"
GIDS_SINCE = "0.7.0"


def newest_version() -> tuple[str, str]:
    """Return the newest CDI version that all installed engines know, and which of them sets it.

    Both are "" where there is no engine with CDI.
    """
    newest = by_engine()
    if not newest:
        return "", ""
    reason = min(newest, key=lambda name: VERSIONS.index(newest[name]))
    return newest[reason], reason


def by_engine() -> dict[str, str]:
    """Return the newest CDI version that each installed engine with CDI knows, by its name."""
    from nvidia_runtime.engines import supported  # its formats; most specs need no engine's version

    newest = {}
    for engine in supported.ENGINES.values():
        # The daemon's program: the client's version is not the engine's.
        version = _version_of(engine.program)
        if version and (cdi := newest_for(engine, version)):
            newest[f"{engine.name} {'.'.join(map(str, version))}"] = cdi
    return newest


def newest_for(engine: Engine, version: Version) -> str:
    """Return the newest CDI version that a version of an engine knows, "" if it knows none."""
    return next((cdi for since, cdi in reversed(engine.cdi_versions) if since <= version), "")


def has_least(version: str) -> bool:
    """Whether a CDI version has what every spec of GPUs needs."""
    return VERSIONS.index(version) >= VERSIONS.index(LEAST)


def has_gids(version: str) -> bool:
    """Whether a CDI version has additional groups."""
    return VERSIONS.index(version) >= VERSIONS.index(GIDS_SINCE)


def _version_of(name: str) -> Version:
    import shutil  # with archives, which most commands spare

    from nvidia_runtime.engines import program  # starts processes

    path = shutil.which(name)
    version = program.version(path, path) if path else ()
    return (*version, 0)[:3] if version else ()
