# SPDX-License-Identifier: Apache-2.0
"""What an image requires, in csv mode: judged as the toolkit does, before anything is injected.

Ring: elsewhere; csv mode, where an image requires something.
"""

from __future__ import annotations

from nvidia_runtime.admission import requirements
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import cuda, facts
from nvidia_runtime.host.driver import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.snapshot import Settings

ROOT = "nvidia-container-cli.root"


def enforce(environment: dict[str, str], settings: Settings) -> None:
    """Raise `NvidiaRuntimeError` for a requirement that is not met, or cannot be judged."""
    if not requirements.read(environment):
        return
    host = facts.read() | cuda.facts(Driver(str(settings[ROOT]) or "/"))
    if failure := requirements.strict(environment, host):
        what = f"requirements not met: {failure}"
        hint = f"set {requirements.DISABLE}=true in the container if it runs here all the same"
        raise NvidiaRuntimeError(what, hint=hint)
