# SPDX-License-Identifier: Apache-2.0
"""Mounts of CDI specs whose sources lie where anybody may put something else: only root's or ours.

A spec outlives a boot, and what it lists in /tmp does not.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source


def check(sources: list[Source], warnings: list[str]) -> list[Source]:
    """Leave out the mounts that anybody could have led elsewhere; say so in ``warnings``."""
    return [_check(source, warnings) for source in sources]


def _check(source: Source, warnings: list[str]) -> Source:
    origin = document.loads(source.origin.encode(), "snapshot")
    shared: "dict[str, list[str]]" = origin.get("shared") or {}
    kept = []
    for mount in source.edits.get("mounts", ()):
        complaint = next(filter(None, map(_complaint, shared.get(mount["source"], ()))), "")
        if complaint:
            of = f", which {origin['file']} asks for" if "file" in origin else ""
            warnings.append(f"left out the mount of {mount['source']}{of}: {complaint}")
        else:
            kept.append(mount)
    if len(kept) == len(source.edits.get("mounts", ())):
        return source
    text = document.dumps({**source.edits, "mounts": kept}).decode()
    return Source(source.name, source.origin, text)


def _complaint(path: str) -> str:
    """Say why a place is not to be trusted; one that is missing is told by who mounts it."""
    try:
        status = posix.lstat(path)
    except (OSError, ValueError):
        return ""
    if files.is_own(path):
        return ""
    if status.st_mode & 0o170000 == 0o120000:
        return f"{path} is a link, and anybody may make one there"
    return f"{path} belongs to user {status.st_uid}"
