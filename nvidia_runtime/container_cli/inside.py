# SPDX-License-Identifier: Apache-2.0
"""Let a container that exists have what it gets: a process of its own does it, and ends.

What hooks of CDI specs would do is done by `prepare`, as before a container exists; what is left to
a hook there is done here when everything is mounted.  The device rules come last: mounts and nodes
can be taken back where a group cannot be changed, but a rule stays.
"""

import resource

from nvidia_runtime.container_cli.placing import Placing
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import namespaces
from nvidia_runtime.prepare import carry_out, takeover, verbs
from nvidia_runtime.prepare.container import Container
from nvidia_runtime.prepare.work import Conditions
from nvidia_runtime.rootfs import mounted_libraries
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.existing import Existing
    from nvidia_runtime.container_cli.given import Given
    from nvidia_runtime.prepare.work import Work

# We mount below /proc, as crun does.
LIKE = "crun"
HOOK = "/usr/bin/nvidia-cdi-hook"


def give(
    container: "Existing",
    given: "Given",
    rootfs: str,
    *,
    with_nodes: bool,
    with_rules: bool,
) -> tuple[list[str], list[str]]:
    """Put everything there, or nothing that counts; return what was done, and what could not be.

    Raises `NvidiaRuntimeError` when what was mounted has been unmounted again.
    """
    _open_many()
    work = _plan(container, given, rootfs)
    placing = Placing(container, work.warnings)
    done = carry_out.carry_out(work)
    del done[len(done) - len(work.warnings) :]
    nodes = [node for edits in work.edits for node in edits.get("devices", ())]
    mounts = [
        mount
        for edits in work.edits
        for name in ("mounts", "topmost")
        for mount in edits.get(name, ())
    ]
    try:
        with verbs.TimeLimit(rootfs):
            if with_nodes:
                placing.make_nodes(nodes, given.nodes)
            placing.copy(mounts)
            container.enter()
            placing.mount()
            done += placing.done + _finish(container, work)
            # A user has no programs or lists of rules, and could change none.
            if with_rules and nodes and namespaces.are_users_initial():
                from nvidia_runtime.container_cli import rules  # bpf, dataclasses

                container.leave()  # its table of mounts has no control groups of ours
                rules.give(container.pid, nodes, container.check)
    except BaseException:
        container.enter()
        placing.take_back()
        raise
    return done, given.warnings + work.warnings


def _plan(container: "Existing", given: "Given", rootfs: str) -> "Work":
    """Plan what hooks would do, with the mounts that the container has already."""
    state = files.state_folder(make=True)
    conditions = Conditions("auto", LIKE, HOOK, state)  # none is called
    with verbs.TimeLimit(rootfs):
        work = takeover.plan(given.edits, container.spec(), rootfs, rootfs, conditions)
        if work.folders:
            suspects = mounted_libraries.suspects_of_hook(container.root, work.folders)
            work.suspects += [path for path in suspects if path not in work.suspects]
    return work


def _finish(container: "Existing", work: "Work") -> list[str]:
    """Do the steps that had to wait for the mounts."""
    here = Container(work.warnings, container.root)
    for hook in takeover.hooks_of(work.edits):
        steps = takeover.understood(hook)
        if not steps:
            work.warnings.append(f"a hook is not run: {hook.get('path')}")
        for step in steps:
            verbs.module(step).run(here, step)
    return here.done


def _open_many() -> None:
    """Allow as many open files as may be: a copy of each mount is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError) as error:
        raise NvidiaRuntimeError(f"the limit of open files cannot be raised: {error}") from None
