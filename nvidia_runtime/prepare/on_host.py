# SPDX-License-Identifier: Apache-2.0
"""Between a create and the preparation on the host: what the one hands to the other.

Ring: create, for specs with hooks.
"""

import posix

from nvidia_runtime.oci import lowlevel
from nvidia_runtime.prepare import decide
from nvidia_runtime.prepare.steps import Setting
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.start import Launch
    from nvidia_runtime.store.snapshot import Settings

    Work = Callable[[], list[str]]

HOOK = "nvidia-cdi-hook"
MOST_LINKS = 8


def plan(
    edits: "list[Document]",
    found: "Bundle",
    launch: "Launch",
    runtime: str,
    settings: "Settings",
) -> "tuple[list[Document], list[str], Work | None]":
    """Return the edits without the hooks done here, why others stay, and what to do last."""
    value: str = settings[decide.SETTING]
    setting = Setting(value, runtime, _own_hook(launch), files.state_folder(make=True))
    setting.by_filter = settings[decide.FILTER] == "seccomp"
    folder = found.path.rpartition("/")[0]
    planned = decide.plan(edits, found.spec, folder, found.path, setting)
    if not planned.has_work():
        return planned.edits, planned.reasons, None
    from nvidia_runtime.prepare import carry_out

    return planned.edits, planned.reasons, lambda: carry_out.carry_out(planned)


def _own_hook(launch: "Launch") -> str:
    """Return the path of the hook beside our launcher, or beside what that leads to, or ""."""
    path = launch.launcher
    for _ in range(MOST_LINKS):
        folder = path.rpartition("/")[0]
        hook = f"{folder}/{HOOK}"
        if hook[:1] == "/" and lowlevel.is_executable(hook):
            return hook
        try:
            target = posix.readlink(path)
        except OSError:
            break
        path = target if target[:1] == "/" else f"{folder}/{target}"
    return ""
