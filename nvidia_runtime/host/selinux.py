# SPDX-License-Identifier: Apache-2.0
"""SELinux as it is now: whether it denies, its booleans, and the types of files."""

from __future__ import annotations

import os

from nvidia_runtime.store import files

FOLDER = "/sys/fs/selinux"
ATTRIBUTE = "security.selinux"


def is_enforcing() -> bool | None:
    """Whether SELinux denies what its policy does not allow; None on a machine without it."""
    text = files.read_text(f"{FOLDER}/enforce")
    return None if text is None else text.strip() == "1"


def boolean(name: str) -> bool | None:
    """Whether a boolean of the policy is on; None where the policy lacks it."""
    text = files.read_text(f"{FOLDER}/booleans/{name}")
    return None if text is None else text.split()[:1] == ["1"]


def type_of(path: str) -> str:
    """Return the type of a file, "" where it has none."""
    try:
        context = os.fsdecode(os.getxattr(path, ATTRIBUTE))
    except (OSError, ValueError):
        return ""
    return (context.split(":") + ["", "", ""])[2].rstrip("\0")
