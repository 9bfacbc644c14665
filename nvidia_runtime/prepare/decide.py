# SPDX-License-Identifier: Apache-2.0
"""What becomes of the hooks among a container's edits: done on the host, or left to a hook.

Few specs that people write have hooks, so what knows them is loaded only where there are some.
"""

from nvidia_runtime import start
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

    ``warnings`` are for the log, when all is done: they are in the record, too.
    """

    __slots__ = ("_work", "edits", "reasons", "warnings")

    def __init__(
        self,
        edits: "list[Document]",
        reasons: "list[str] | None" = None,
        work: "Callable[[], list[str]] | None" = None,
        warnings: "list[str] | None" = None,
    ) -> None:
        self.edits = edits
        self.reasons = reasons or []
        self.warnings = warnings if warnings is not None else []
        self._work = work

    def carry_out(self) -> list[str]:
        """Do what is to be done before config.json is replaced; return sentences for the record."""
        return self._work() if self._work else []


def plan(  # noqa: PLR0917 (what a create has read so far)
    edits: "list[Document]",
    bundle: "Bundle",
    launch: "Launch",
    runtime: str,
    settings: "Settings",
    mode: str,
) -> Preparation:
    """Decide for a container's edits; nothing is written before `Preparation.carry_out`.

    In legacy mode, and where the setting says so, hooks stay as they are.
    Raises `NvidiaRuntimeError` where the setting forbids hooks and something needs one.
    """
    if mode == "legacy" or settings[IN_CONTAINER_HOOKS] == "toolkit":
        return Preparation(edits)
    if not any("hooks" in edit for edit in edits):
        return Preparation(edits)
    start.preload(*MODULES)
    from nvidia_runtime.prepare import takeover

    return Preparation(*takeover.prepare(edits, bundle, launch, runtime, settings))
