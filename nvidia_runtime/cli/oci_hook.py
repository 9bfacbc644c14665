# SPDX-License-Identifier: Apache-2.0
"""The file by which podman and cri-o call the prestart hook: hooks.d(5), oci-hooks(5).

Ring: elsewhere.
"""

from __future__ import annotations

import json
import os

from nvidia_runtime.errors import NvidiaRuntimeError

# Where the programs are that nvidia-container-cli calls in turn.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def document(program: str) -> dict[str, object]:
    """Return the hook's document, version 1.0.0, for a hook program; its path must be absolute."""
    if not os.path.isabs(program):
        what = f"the path of the hook must be absolute, not {program!r}"
        hint = "--nvidia-runtime-hook-path=/usr/bin/nvidia-container-runtime-hook is the default"
        raise NvidiaRuntimeError(what, hint=hint)
    folder, name = os.path.split(program)
    path = PATH if folder in PATH.split(":") else f"{PATH}:{folder}"
    return {
        "version": "1.0.0",
        "hook": {"path": program, "args": [name, "prestart"], "env": [f"PATH={path}"]},
        "when": {"always": True, "commands": [".*"]},
        "stages": ["prestart"],
    }


def text(program: str) -> str:
    """Return the file's text."""
    return json.dumps(document(program), indent=2) + "\n"
