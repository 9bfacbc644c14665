# SPDX-License-Identifier: Apache-2.0
"""The file that makes cri-o run the prestart hook, for --config-mode=hook: a way of the past."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.engines import oci_hook
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.installer import tree, wrappers
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.installer.options import Engine
    from nvidia_runtime.installer.record import Record


def write(engine: Engine, link: str, record: Record) -> list[str]:
    """Write the file; return its path if it was changed."""
    path = os.path.join(engine.hooks_folder, engine.hook_name)
    text = oci_hook.text(f"{link}/{wrappers.HOOKS[0]}")
    try:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    return []
        os.makedirs(engine.hooks_folder, 0o755, exist_ok=True)
        record.hook = [path, tree.digest(text)]
        files.replace(path, text.encode(), 0o644, sync=True, mark="new")
    except (OSError, ValueError) as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    return [path]


def remove(record: Record, warn: Callable[[str], None]) -> list[str]:
    """Remove the file that we wrote; return its path if it was there."""
    if len(record.hook) < 2 or not os.path.exists(record.hook[0]):
        return []
    path, digest = record.hook
    try:
        with open(path, encoding="utf-8") as file:
            is_ours = tree.digest(file.read()) == digest
        if is_ours:
            os.unlink(path)
    except (OSError, ValueError) as error:
        raise NvidiaRuntimeError(f"cannot be removed: {os_reason(error)}", path) from None
    if not is_ours:
        warn(f"{path} was changed since and stays")
    return [path] if is_ours else []
