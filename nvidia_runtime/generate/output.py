# SPDX-License-Identifier: Apache-2.0
"""A generated spec as a file: YAML or JSON by the file's name, replaced in one step.

Ring: elsewhere.
"""

from __future__ import annotations

import json
import os

from nvidia_runtime.cdi import yaml_text
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, Any]

FORMATS = ("yaml", "json")
# Programs of other users read specs, whatever the umask of who writes them.
MODE = 0o644


def name_file(path: str, form: str) -> str:
    """Give the name of the file to write: readers of CDI take .yaml and .json, no others."""
    return path if format_of(path) else f"{path}.{form}"


def format_of(path: str) -> str:
    """Give the format that a file's name says, "" if it says none."""
    extension = path.rpartition("/")[2].rpartition(".")[2]
    return extension if extension in FORMATS else ""


def encode(spec: Spec, path: str) -> bytes:
    """Write a spec as text: JSON for a path that says so, else YAML."""
    if format_of(path) == "json":
        return json.dumps(spec, separators=(",", ":")).encode()
    return yaml_text.dumps(spec).encode()


def write(path: str, data: bytes) -> None:
    """Replace a file, making its folders; a link is followed.  Raises `NvidiaRuntimeError`."""
    try:
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if not os.path.exists(folder):
            os.makedirs(folder, mode=0o755, exist_ok=True)
        temporary = f"{folder}/.{os.path.basename(target)[:100]}.{os.getpid()}"
        if os.path.lexists(temporary):  # of a process that was killed here
            os.unlink(temporary)
        try:
            _write_new(temporary, data)
            os.rename(temporary, target)
        except OSError:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except ValueError as error:  # a NUL in the path
        raise NvidiaRuntimeError(os_reason(error), path) from None


def _write_new(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, MODE)
