# SPDX-License-Identifier: Apache-2.0
"""Which control groups are a container's alone, and what judges its device nodes.

Its own groups are the innermost that has its id in the name, as all engines name them, and what is
in it.
"""

from __future__ import annotations

import os

from nvidia_runtime.linux import device_judges
from nvidia_runtime.linux.control_groups import Group
from nvidia_runtime.linux.device_judges import Judge

SCOPE = ".scope"
# Of an id behind any word: engines make ids of this size at least, others are chosen by hand.
SHORTEST_ID = 12
RUNTIMES = ("runc", "crun")


def judges(pid: int, container: str) -> list[Judge]:
    """Return all that judges the accesses of a container.

    Raises `NvidiaRuntimeError` where that may not be read.
    """
    return device_judges.judges(pid, lambda group: own(group, container))


def own(group: Group, container: str) -> list[Group]:
    """Return the groups that are a container's alone, the outermost first; it is in ``group``."""
    chain = group.chain()
    for index in range(len(chain) - 1, -1, -1):
        if is_named_after(os.path.basename(chain[index].path), container):
            return chain[index:]
    return []


def is_named_after(name: str, container: str) -> bool:
    """Whether a group's name is a container's: ID, or as engines name a unit, docker-ID.scope."""
    stem = name.removesuffix(SCOPE)
    if not container or stem == container:
        return bool(container)
    prefix = stem.removesuffix(f"-{container}")
    # session-1.scope is a user's, not that of a container 1.
    return prefix != stem and (len(container) >= SHORTEST_ID or prefix in RUNTIMES)


def unit(groups: list[Group], container: str) -> str:
    """Return the unit of systemd's that has a container, "" if systemd has no part in it."""
    for group in groups:
        for one in own(group, container):
            name = os.path.basename(one.path)
            if name.endswith(SCOPE) and is_named_after(name, container):
                return name
    return ""
