# SPDX-License-Identifier: Apache-2.0
"""Legacy mode: the prestart hook, which lets ``nvidia-container-cli`` do the injection.

Ring: create; legacy mode only.
"""

from nvidia_runtime import document, snapshot, start
from nvidia_runtime.oci import edit, lowlevel
from nvidia_runtime.resolve import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.policy import Admitted
    from nvidia_runtime.request import Request
    from nvidia_runtime.snapshot import Settings

HOOK = "nvidia-container-runtime-hook"


def sources(
    spec: "Document",
    asked: "Request",
    admitted: "Admitted",
    settings: "Settings",
    path: str,
) -> list[Source]:
    """Give what legacy mode injects: gated devices, graphics files, the hook unless it is there."""
    found: list[Source] = []
    if admitted.devices:
        from nvidia_runtime import legacy_extras  # only with devices

        found += legacy_extras.sources(asked, admitted, settings)
    if not edit.has_hook(spec, start.HOOKS, path):
        found.append(_hook(str(settings[f"{HOOK}.path"])))
    return found


def _hook(program: str) -> Source:
    path = executable(program, HOOK)
    name = path.rpartition("/")[2]
    hook = {"path": path, "args": [name, "prestart"]}
    text = document.dumps({"hooks": {"prestart": [hook]}}).decode()
    return Source("", '{"mode":"legacy"}', text)


def executable(program: str, default: str) -> str:
    """Give a program's path: absolute as it is, a name from PATH, else below /usr/bin."""
    if program[:1] == "/":
        return program
    if program and "/" not in program:
        folders = snapshot.environment(b"PATH").split(":")
        for folder in [*folders, *lowlevel.DEFAULT_PATH]:
            file = f"{folder}/{program}"
            if folder[:1] == "/" and lowlevel.is_executable(file):
                return file
    return f"/usr/bin/{default}"
