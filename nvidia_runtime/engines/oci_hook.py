# SPDX-License-Identifier: Apache-2.0
"""The file that makes podman and cri-o run the prestart hook: hooks.d(5), oci-hooks(5)."""

from __future__ import annotations

import json
import os

from nvidia_runtime.errors import NvidiaRuntimeError

# The folders of the programs that nvidia-container-cli runs.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def document(program: str) -> dict[str, object]:
    """Return the document, in version 1.0.0, for the absolute path of a hook."""
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
    """Return the text of the file."""
    return json.dumps(document(program), indent=2) + "\n"
