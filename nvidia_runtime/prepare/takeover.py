# SPDX-License-Identifier: Apache-2.0
"""Do on the host what CDI specs want hooks in the container for: decide what, and how.

A hook of NVIDIA's is a few verbs of which we know what they leave behind in the container's root.
Before the container exists that can be had without running anything in it.  What cannot, since a
volume will cover it, say, is left to one call of our own hook.  `plan` looks and decides, nothing
is written; `carry_out` writes.
"""

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.oci.bundle import root_path
from nvidia_runtime.prepare import verbs
from nvidia_runtime.prepare.survey import Survey
from nvidia_runtime.prepare.work import Conditions, NotContainersError, Planning, Work, open_root
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import IN_CONTAINER_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.start import Launch
    from nvidia_runtime.store.snapshot import Settings

FILTER = "nvidia-container-runtime.device-node-modification"
STAGE = "createContainer"
# Never empty: runc before 1.3 would hand on the container's (CVE-2025-23266).
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "NVIDIA_CTK_DEBUG=false")


def prepare(
    edits: "list[Document]",
    bundle: "Bundle",
    launch: "Launch",
    runtime: str,
    settings: "Settings",
) -> "tuple[list[Document], list[str], Callable[[], list[str]] | None, list[str]]":
    """Return the edits without the hooks done here, why others stay, what to do last, warnings."""
    value: str = settings[IN_CONTAINER_HOOKS]
    program, state = (
        lowlevel.beside(launch.launcher, start.CDI_HOOKS[0]),
        files.state_folder(make=True),
    )
    conditions = Conditions(value, runtime, program, state)
    conditions.by_filter = settings[FILTER] == "seccomp"
    folder = bundle.path.rpartition("/")[0]
    with verbs.TimeLimit(bundle.path):
        work = plan(edits, bundle.spec, folder, bundle.path, conditions)
    if work.is_empty():
        return work.edits, work.reasons + work.warnings, None, work.warnings
    from nvidia_runtime.prepare import carry_out

    return work.edits, work.reasons, lambda: carry_out.carry_out(work), work.warnings


def plan(
    edits: "list[Document]", spec: "Document", folder: str, path: str, conditions: Conditions
) -> Work:
    """Decide for a container what becomes of the hooks among its edits.

    ``spec`` is config.json before the edits, in the bundle ``folder``; ``path`` is its path.
    Raises `NvidiaRuntimeError` where the setting forbids hooks and something needs one.
    """
    calls = [understood(hook) for hook in hooks_of(edits)]
    if conditions.value == "toolkit" or not any(calls):
        return Work(edits)
    work = Work(edits, root_path(spec, folder), conditions.state)
    work.bundle = folder
    steps = [step for call in calls for step in call]
    left = steps
    if conditions.value != "always":
        left = _take(work, steps, spec, conditions, folder)
    if left and conditions.value == "never":
        hint = f'set {IN_CONTAINER_HOOKS} to "auto" to allow a hook for it'
        raise NvidiaRuntimeError("; ".join(work.reasons), where=f"{path}: hooks", hint=hint)
    work.edits = _without_hooks(edits, calls, left, conditions.program)
    if work.mounts:
        work.edits.append({"mounts": work.mounts})
    if work.seccomp:
        work.edits.append({"seccomp": work.seccomp})
    return work


def _take(
    work: Work, steps: "list[Step]", spec: "Document", conditions: Conditions, folder: str
) -> "list[Step]":
    """Plan all steps that can be done on the host; return those that are left, in their order."""
    try:
        root = open_root(work.root)
    except NotContainersError as error:
        work.reasons.append(f"nothing is prepared: the container's root {error}")
        return []
    except (OSError, ValueError) as error:
        work.reasons.append(f"hooks stay as they are: the container's root: {error}")
        return steps
    with root, Survey(root, spec, work.edits, folder) as view:
        work.coming = view.coming
        planning = Planning(work, spec, conditions, view)
        for step in steps:
            verbs.module(step).plan(planning, step)
    return planning.left


def hooks_of(edits: "list[Document]") -> "list[Document]":
    """List the hooks of the stage in which the toolkit's run."""
    return [hook for edit in edits for hook in edit.get("hooks", {}).get(STAGE, ())]


def understood(hook: "Document") -> "list[Step]":
    """Return the steps of a hook of NVIDIA's, none if we do not know all of its words."""
    words: list[str] = hook.get("args") or []
    name = hook["path"].rpartition("/")[2]
    if name in start.CDI_HOOKS:
        words = words[1:]
    elif name == "nvidia-ctk" and words[1:2] == ["hook"]:
        words = words[2:]
    else:
        return []
    try:
        call = verbs.parse(words, lambda _: "")
    except NvidiaRuntimeError:
        return []
    if call.warnings or call.help or call.version:
        return []
    if any(step.texts.get("container-spec") for step in call.steps):
        return []  # the state of some other container
    return call.steps


def _without_hooks(
    edits: "list[Document]", calls: "list[list[Step]]", left: "list[Step]", program: str
) -> "list[Document]":
    """Return the edits without the hooks that we understand; one of ours takes the first place."""
    understood_calls = iter(calls)
    combined = [_hook(left, program)] if left else []
    changed = []
    for edit in edits:
        stages = edit.get("hooks", {})
        if STAGE not in stages:
            changed.append(edit)
            continue
        kept = []
        for hook in stages[STAGE]:
            if next(understood_calls):
                kept += combined
                combined = []
            else:
                kept.append(hook)
        stages = {**stages, STAGE: kept}
        if not kept:
            del stages[STAGE]
        changed.append({**edit, "hooks": stages})
    return changed


def _hook(steps: "list[Step]", program: str) -> "Document":
    """Return one call of our hook for these steps."""
    if not program:
        what = "nvidia-cdi-hook is not beside the runtime, and something has to be done by it"
        raise NvidiaRuntimeError(what, hint="reinstall the package")
    words = [program.rpartition("/")[2]]
    for number, step in enumerate(steps):
        words += [*([verbs.THEN] if number else []), *verbs.words(step)]
    return {"path": program, "args": words, "env": list(ENVIRONMENT)}
