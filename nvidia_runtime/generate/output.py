# SPDX-License-Identifier: Apache-2.0
"""A generated spec as a file: YAML or JSON by the file's name, replaced in one step."""

from __future__ import annotations

import os
import stat

from nvidia_runtime import document
from nvidia_runtime.cdi import yaml_text
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host import shared_places
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, Any]

FORMATS = ("yaml", "json")
# Other users' programs read specs, whatever our umask is.
MODE = 0o644


def name_file(path: str, form: str) -> str:
    """Return the name of the file to write: readers of CDI take only .yaml and .json."""
    return path if format_of(path) else f"{path}.{form}"


def format_of(path: str) -> str:
    """Return the format by a file's name, "" if it has none."""
    extension = path.rpartition("/")[2].rpartition(".")[2]
    return extension if extension in FORMATS else ""


def encode(spec: Spec, path: str) -> bytes:
    """Return the text of a spec: JSON for such a path, else YAML."""
    if format_of(path) == "json":
        return document.quote(spec).encode()
    return yaml_text.dumps(spec).encode()


def write(path: str, data: bytes, mode: int = MODE) -> None:
    """Replace a file, making its folders; a link is followed, unless anybody may have made it.

    A file that only its owner may read stays one.  Raises `NvidiaRuntimeError`.
    """
    try:
        target = os.path.realpath(path)
        if link := shared_places.stranger(os.path.abspath(path)):
            what = f"is not written: {link} is a link that another user made"
            raise NvidiaRuntimeError(what, path, hint="name a file in a folder of your own")
        if os.path.exists(target):
            mode &= os.stat(target).st_mode | stat.S_IRUSR | stat.S_IWUSR
        folder = os.path.dirname(target)
        if not os.path.exists(folder):
            os.makedirs(folder, mode=0o755, exist_ok=True)
        files.replace(target, data, mode, sync=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except ValueError as error:  # a NUL in the path
        raise NvidiaRuntimeError(os_reason(error), path) from None
