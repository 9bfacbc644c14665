# SPDX-License-Identifier: Apache-2.0
"""Do on the host what CDI specs want hooks in the container for: decide what, and how.

It is the same whether we inject what a spec says or an engine has done so: then its hooks, mounts
and device nodes are in config.json.
A hook of NVIDIA's is a few verbs of which we know what they leave behind in the container's root.
Before the container exists that can be had without running anything in it.  What cannot, since a
volume will cover it, say, is left to one call of our own hook.  `plan` looks and decides, nothing
is written; `carry_out` writes.
"""

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import edit, lowlevel
from nvidia_runtime.oci.bundle import root_path
from nvidia_runtime.prepare import verbs
from nvidia_runtime.prepare.survey import Survey
from nvidia_runtime.prepare.work import Conditions, NotContainersError, Planning, Work, open_root
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import IN_CONTAINER_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.start import Launch
    from nvidia_runtime.store.snapshot import Settings

FILTER = "nvidia-container-runtime.device-node-modification"
# In which a hook may do what can be had before the container exists; CDI's of NVIDIA are in the
# third.  Programs of the last are the container's.
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer")
IN_CONTAINER = "startContainer"
# Never empty: runc before 1.3 would hand on the container's (CVE-2025-23266).
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "NVIDIA_CTK_DEBUG=false")


class Call:
    """A hook that we understand: its stage and steps, and those of them that are ``left``.

    ``twins`` are later hooks that have a step of this one, too, and do it.
    """

    __slots__ = ("left", "stage", "steps", "twins")

    def __init__(self, stage: str, steps: "list[Step]") -> None:
        self.stage = stage
        self.steps = steps
        self.left: list[Step] = []
        self.twins: list[Call] = []

    def is_done(self) -> bool:
        """Whether no step is left to a hook."""
        return not (self.left or any(twin.left for twin in self.twins))

    def stays(self) -> bool:
        """Whether the hook stays as it is: no program of ours is in the container."""
        return bool(self.left) and self.stage == IN_CONTAINER


def prepare(  # noqa: PLR0917 (as `decide.plan`)
    edits: "list[Document]",
    present: "dict[str, list[Document]]",
    bundle: "Bundle",
    launch: "Launch",
    runtime: str,
    settings: "Settings",
) -> "tuple[list[Document], list[str], Callable[[], list[str]] | None, list[str], Document | None]":
    """Return the edits without the hooks done here, and the rest of a `decide.Preparation`."""
    value: str = settings[IN_CONTAINER_HOOKS]
    program, state = (
        lowlevel.beside(launch.launcher, start.CDI_HOOKS[0]),
        files.state_folder(make=True),
    )
    conditions = Conditions(value, runtime, program, state)
    conditions.by_filter = settings[FILTER] == "seccomp"
    folder = bundle.path.rpartition("/")[0]
    with verbs.TimeLimit(bundle.path):
        work = plan(edits, bundle.spec, folder, bundle.path, conditions, present)
    hooks = None if work.hooks is None else {"left": work.hooks, "idle": work.idle}
    if work.is_empty():
        return work.edits, work.reasons + work.warnings, None, work.warnings, hooks
    from nvidia_runtime.prepare import carry_out

    return work.edits, work.reasons, lambda: carry_out.carry_out(work), work.warnings, hooks


def plan(  # noqa: PLR0917 (as the tests have it: a container, and what it depends on besides)
    edits: "list[Document]",
    spec: "Document",
    folder: str,
    path: str,
    conditions: Conditions,
    present: "dict[str, list[Document]] | None" = None,
) -> Work:
    """Decide for a container what becomes of the hooks among its edits.

    ``spec`` is config.json before the edits, in the bundle ``folder``; ``path`` is its path.
    ``present`` are its own hooks, by stage, if an engine has written some of NVIDIA's there.
    Raises `NvidiaRuntimeError` where the setting forbids hooks and something needs one.
    """
    if conditions.value == "toolkit":
        return Work(edits)
    lists = [present or {}, *[change.get("hooks", {}) for change in edits]]
    places = [_call(stage, hook) for stages in lists for stage, hook in _each(stages)]
    calls = [call for call in places if call]
    work = Work(edits, root_path(spec, folder), conditions.state)
    work.bundle = folder
    if calls:
        work.hooks = {}
        _take(work, calls, spec, conditions)
    if any(call.left for call in calls) and conditions.value == "never":
        hint = f'set {IN_CONTAINER_HOOKS} to "auto" to allow a hook for it'
        raise NvidiaRuntimeError("; ".join(work.reasons), where=f"{path}: hooks", hint=hint)
    _rewrite(work, lists, places, conditions.program)
    if present:
        _tell(work, present, places)
    if work.mounts:  # an engine's mounts are in an order of their own
        kind = "mounts" if any("mounts" in change for change in edits) else "topmost"
        work.edits.append({kind: work.mounts})
    if work.seccomp:
        work.edits.append({"seccomp": work.seccomp})
    return work


def _each(stages: "dict[str, list[Document]]") -> "Iterator[tuple[str, Document]]":
    """List the hooks of the stages in which some may be done here, with their stages."""
    for stage in STAGES:
        for hook in _list(stages, stage):
            yield stage, hook


def _take(work: Work, calls: list[Call], spec: "Document", conditions: Conditions) -> None:
    """Plan all steps that can be done on the host; note with each call those that are left."""
    once = _once(calls)
    if conditions.value == "always":
        for call, step in once:
            call.left.append(step)
        return
    try:
        root = open_root(work.root)
    except NotContainersError as error:
        work.reasons.append(f"nothing is prepared: the container's root {error}")
        work.idle += [step.verb for _, step in once]
        return
    except (OSError, ValueError) as error:
        work.reasons.append(f"hooks stay as they are: the container's root: {error}")
        for call, step in once:
            call.left.append(step)
        return
    with root, Survey(root, spec, work.edits, work.bundle) as view:
        work.coming = view.coming
        planning = Planning(work, spec, conditions, view)
        for call, step in once:
            count = len(planning.left)
            verbs.module(step).plan(planning, step)
            call.left += planning.left[count:]


def _once(calls: list[Call]) -> "list[tuple[Call, Step]]":
    """List the steps, of equal ones the last: an engine and we may inject the same device."""
    steps = {tuple(verbs.words(step)): (call, step) for call in calls for step in call.steps}
    if len(steps) == sum(len(call.steps) for call in calls):
        return list(steps.values())
    once = []
    for call in calls:
        for step in call.steps:
            twin, last = steps[tuple(verbs.words(step))]
            if last is step:
                once.append((call, step))
            elif twin is not call:
                call.twins.append(twin)
    return once


def hooks_of(edits: "list[Document]") -> "list[Document]":
    """List the hooks of the stages in which some may be done here."""
    return [hook for change in edits for _, hook in _each(change.get("hooks", {}))]


def _call(stage: str, hook: "Document") -> Call | None:
    steps = understood(hook)
    return Call(stage, steps) if steps else None


def understood(hook: "Document") -> "list[Step]":
    """Return the steps of a hook of NVIDIA's, none if we do not know all of its words."""
    name = edit.program_of(hook)
    words = (hook.get("args") or []) if name else []
    if type(words) is not list or not all(type(word) is str for word in words):
        return []
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


def _rewrite(
    work: Work,
    lists: "list[dict[str, list[Document]]]",
    places: "list[Call | None]",
    program: str,
) -> None:
    """Take out the hooks that we understand; one of ours takes the first place of its stage."""
    combined: "dict[str, list[Document]]" = {}
    for stage in STAGES:
        left = [step for call in places if call and call.stage == stage for step in call.left]
        if left and work.hooks is not None:
            work.hooks[stage] = list(map(verbs.said, left))
        if left and stage != IN_CONTAINER:
            combined[stage] = [_hook(left, program)]
    remaining = iter(places)
    present, *others = [_without(stages, remaining, combined) for stages in lists]
    work.edits = work.edits[:]
    for number, changed in enumerate(others):
        if changed:
            stages = {**lists[number + 1], **changed}
            stages = {stage: hooks for stage, hooks in stages.items() if hooks}
            work.edits[number] = {**work.edits[number], "hooks": stages}
    _guard(lists[0], present)
    if present:
        work.edits.insert(0, {"stages": present})


def _tell(work: Work, present: "dict[str, list[Document]]", places: "list[Call | None]") -> None:
    """Say how many of the hooks that an engine wrote are done here."""
    own = places[: sum(1 for _ in _each(present))]
    done = sum(1 for call in own if call and call.is_done())
    hooks = [hook for stage in edit.STAGES for hook in _list(present, stage)]
    count = sum(edit.program_of(hook) in start.TOOLKIT_HOOKS for hook in hooks)
    work.reasons.append(f"{done} of {count} hooks that the engine injected are done here")


def _without(
    stages: "dict[str, list[Document]]",
    places: "Iterator[Call | None]",
    combined: "dict[str, list[Document]]",
) -> "dict[str, list[Document]]":
    """Return the lists of hooks in which some are done here, without these."""
    changed: "dict[str, list[Document]]" = {}
    for stage in STAGES:
        kept: "list[Document]" = []
        is_same = True
        for hook in _list(stages, stage):
            call = next(places)
            if call is None or call.stays():
                kept.append(hook)
            else:
                is_same = False
                kept += combined.pop(stage, [])
        if not is_same:
            changed[stage] = kept
    return changed


def _guard(present: "dict[str, list[Document]]", changed: "dict[str, list[Document]]") -> None:
    """Let NVIDIA's hooks that stay have an environment where an engine's spec has none."""
    for stage in edit.STAGES:
        hooks = changed[stage] if stage in changed else _list(present, stage)
        bare = [
            edit.program_of(hook) in start.TOOLKIT_HOOKS and not hook.get("env") for hook in hooks
        ]
        if any(bare):
            changed[stage] = [
                {**hook, "env": list(verbs.ENVIRONMENT)} if is_bare else hook
                for hook, is_bare in zip(hooks, bare, strict=True)
            ]


def _list(stages: "dict[str, list[Document]]", stage: str) -> "list[Document]":
    """Return the hooks of a stage; what an engine wrote may be anything, its runtime judges it."""
    hooks = stages.get(stage)
    return hooks if type(hooks) is list else []


def _hook(steps: "list[Step]", program: str) -> "Document":
    """Return one call of our hook for these steps."""
    if not program:
        what = "nvidia-cdi-hook is not beside the runtime, and something has to be done by it"
        raise NvidiaRuntimeError(what, hint="reinstall the package")
    words = [program.rpartition("/")[2]]
    for number, step in enumerate(steps):
        words += [*([verbs.THEN] if number else []), *verbs.words(step)]
    return {"path": program, "args": words, "env": list(ENVIRONMENT)}
