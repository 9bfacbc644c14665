# SPDX-License-Identifier: Apache-2.0
"""The device rules of a container that exists: what its control group has to allow for its nodes.

Only its innermost group is changed, or what is in its scope of systemd's, and never one that we are
in ourselves: that is not the container's alone.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import control_groups, device_grant
from nvidia_runtime.linux.control_groups import Group
from nvidia_runtime.linux.device_rules import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document

SCOPE = ".scope"
# Of a login, or the first process: not a container's.
OTHERS = ("session-", "init.")
HINT = "give --no-cgroups where no control group keeps the container from its devices"


def give(pid: int, nodes: list[Document], check: Callable[[], None]) -> None:
    """Allow a container's first process its nodes; ``pid`` 0 is who called us.

    ``check`` raises an error once the number may be another's; it is asked when the groups have
    been read.  Raises `NvidiaRuntimeError` where a group refuses them and cannot be changed.
    """

    def owned(group: Group) -> list[Group]:
        check()
        return own(group, ours)

    ours = {group.path for one in control_groups.of_process(os.getpid()) for group in one.chain()}
    wanted = [rule for node in nodes if (rule := _rule(node))]
    try:
        device_grant.give(pid or os.getppid(), owned, wanted)
    except NvidiaRuntimeError as error:
        error.hint = f"{error.hint}; {HINT}" if error.hint else HINT
        raise


def own(group: Group, ours: set[str]) -> list[Group]:
    """Return the groups that are a container's alone, the outermost first; it is in ``group``."""
    chain = [one for one in group.chain() if one.path not in ours]
    for number, one in enumerate(chain):
        name = os.path.basename(one.path)
        if name.endswith(SCOPE) and not name.startswith(OTHERS):
            return chain[number:]
    return chain[-1:]


def _rule(node: Document) -> Rule | None:
    access = node.get("permissions", "rwm")
    if node["type"] not in ("b", "c") or not set(access) <= set("rwm"):
        return None
    return Rule(kind=node["type"], major=node["major"], minor=node["minor"], access=access)
