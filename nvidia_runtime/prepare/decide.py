# SPDX-License-Identifier: Apache-2.0
"""What becomes of a container's hooks: done on the host, or left to a hook.

Those are meant that are among its edits, and those of NVIDIA's that an engine has written into
config.json, where that injects CDI devices by itself.
Few specs that people write have hooks, so what knows them is loaded only where there are some.
"""

from nvidia_runtime import start
from nvidia_runtime.oci import edit
from nvidia_runtime.store.snapshot import IN_CONTAINER_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.start import Launch
    from nvidia_runtime.store.snapshot import Settings

# What is needed for it, in the order of its imports.
MODULES = (
    *("prepare.verbs", "rootfs.resolver", "rootfs.files", "rootfs.library_names", "rootfs.ldcache"),
    *("rootfs.coming_mounts", "rootfs.links"),
    *("rootfs.loader_config", "rootfs.merged_caches", "rootfs.loader_cache"),
    *("rootfs.loader", "store.libraries", "prepare.survey", "prepare.work"),
    "prepare.takeover",
    # For the verbs that are in all specs that are generated.
    *("rootfs.application_profile", "rootfs.cuda_compat", "prepare.update_ldcache"),
    "prepare.carry_out",
)


class Preparation:
    """The edits to apply, the ``reasons`` for the record, and what is to be done on the host.

    ``warnings`` are for the log, when all is done: they are in the record, too.  ``hooks`` says
    what became of the hooks that we understand, None where there are none.
    """

    __slots__ = ("_work", "edits", "hooks", "reasons", "warnings")

    def __init__(
        self,
        edits: "list[Document]",
        reasons: "list[str] | None" = None,
        work: "Callable[[], list[str]] | None" = None,
        warnings: "list[str] | None" = None,
        hooks: "Document | None" = None,
    ) -> None:
        self.edits = edits
        self.reasons = reasons or []
        self.warnings = warnings if warnings is not None else []
        self.hooks = hooks
        self._work = work

    def carry_out(self) -> list[str]:
        """Do what is to be done before config.json is replaced; return sentences for the record."""
        return self._work() if self._work else []


def by_engine(spec: "Document") -> "dict[str, list[Document]]":
    """Return the hooks of a config.json, by stage, if some are of NVIDIA's CDI specs; else none."""
    hooks = spec.get("hooks")
    if not hooks or type(hooks) is not dict:
        return {}
    for present in hooks.values():
        for hook in present if type(present) is list else ():
            if edit.program_of(hook) in start.TOOLKIT_HOOKS:
                return hooks
    return {}


def plan(  # noqa: PLR0917 (what a create has read so far)
    edits: "list[Document]",
    bundle: "Bundle",
    launch: "Launch",
    runtime: str,
    settings: "Settings",
    mode: str,
) -> Preparation:
    """Decide for a container's edits, and for the hooks of NVIDIA's that an engine wrote.

    Nothing is written before `Preparation.carry_out`.  In legacy mode the hooks among the edits
    stay as they are, and where the setting says so, all do.
    Raises `NvidiaRuntimeError` where the setting forbids hooks and something needs one.
    """
    if settings[IN_CONTAINER_HOOKS] == "toolkit":
        return Preparation(edits)
    present = by_engine(bundle.spec)
    own, kept = ([], edits) if mode == "legacy" else (edits, [])
    if not present and not any("hooks" in edit for edit in own):
        return Preparation(edits)
    start.preload(*MODULES)
    from nvidia_runtime.prepare import takeover

    prepared = takeover.prepare(own, present, bundle, launch, runtime, settings)
    changed, reasons, work, warnings, hooks = prepared
    return Preparation(changed + kept, reasons, work, warnings, hooks)
