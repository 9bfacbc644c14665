# SPDX-License-Identifier: Apache-2.0
"""Whether a newly generated CDI spec may replace the one before it, and what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nvidia_runtime.host import facts, library_set
from nvidia_runtime.store import files

Spec = dict[str, Any]
Edits = dict[str, Any]

MOST_NAMED = 8
CUDA = facts.VERSIONED[0]
VERSION_WORD = "--host-driver-version="


def lost_devices(old: Spec | None, new: Spec, problems: Iterable[str]) -> list[str]:
    """List the devices of the old spec that the new one lacks because of a problem.

    With another version of the driver the old spec is useless, and no device is lost.
    """
    if old is None or driver_version(old) != driver_version(new):
        return []
    present = _devices(new)
    return [name for name in _devices(old) if name in set(problems) and name not in present]


def lost_libraries(old: Spec | None, new: Spec) -> list[str]:
    """Return the host paths of libraries that the new spec lacks and must not lack.

    With another version of the driver none is lost.
    """
    if old is None or driver_version(old) != driver_version(new):
        return []
    return library_set.lost(mounts(old), mounts(new))


def differences(old: Spec | None, new: Spec) -> list[str]:
    """Return what is different in the new spec, a sentence for each difference."""
    if old == new:
        return []
    if old is None:
        return [_named("device", "", list(_devices(new)))]
    before, after = driver_version(old), driver_version(new)
    sentences = [f"driver {before or 'unknown'} -> {after or 'unknown'}"] if before != after else []
    sentences += _sets("device", _devices(old), _devices(new))
    nodes, new_nodes = _nodes(old), _nodes(new)
    sentences += _sets("device node", nodes, new_nodes)
    sentences += [
        f"{path} is {_numbers(numbers)}, was {_numbers(nodes[path])}"
        for path, numbers in new_nodes.items()
        if nodes.get(path, numbers) != numbers
    ]
    sentences += _sets("mount", mounts(old), mounts(new))
    sentences += _sets("variable", _variables(old), _variables(new))
    if _hooks(old) != _hooks(new):
        sentences.append("hooks changed")
    return sentences or ["other details changed"]


def driver_version(spec: Spec) -> str:
    """Return the version of the driver whose libraries a spec mounts, "" if it mounts none.

    libcuda and libnvidia-ml tell it, and where a spec lacks both, the hook for other libraries.
    """
    for edits in _all_edits(spec):
        for mount in _list(edits, "mounts"):
            if version := facts.library_version(str(mount.get("hostPath"))):
                return version
    words = [str(word) for hook in _hooks(spec) for word in hook.get("args") or ()]
    versions = [word.removeprefix(VERSION_WORD) for word in words if word.startswith(VERSION_WORD)]
    return next(filter(files.is_driver_version, versions), "")


def missing_cuda(spec: Spec) -> str:
    """Return where libcuda would lie beside the libraries that a spec mounts, "" if it has it."""
    version = driver_version(spec)
    if not version:
        return ""
    paths = mounts(spec)
    beside = [path for path in paths if path.endswith(f".so.{version}")]
    if not beside or any(f"/{CUDA}" in path for path in paths):
        return ""
    return f"{beside[0].rpartition('/')[0]}/{CUDA}{version}"


def _sets(noun: str, old: Iterable[str], new: Iterable[str]) -> list[str]:
    old, new = dict.fromkeys(old), dict.fromkeys(new)
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    pairs = ((" added", added), (" removed", removed))
    return [_named(noun, word, names) for word, names in pairs if names]


def _named(noun: str, word: str, names: list[str]) -> str:
    """Say ``2 devices added: 0, 1``."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} {noun}{plural}{word}: {', '.join([*names[:MOST_NAMED], *more])}"


def _devices(spec: Spec) -> dict[str, Edits]:
    return {
        str(device.get("name")): device.get("containerEdits") or {}
        for device in _list(spec, "devices")
    }


def _all_edits(spec: Spec) -> Iterator[Edits]:
    yield spec.get("containerEdits") or {}
    yield from _devices(spec).values()


def _nodes(spec: Spec) -> dict[str, tuple[Any, Any]]:
    """Return the numbers of each device node, by its path in the container."""
    return {
        str(node.get("path")): (node.get("major"), node.get("minor", 0))
        for edits in _all_edits(spec)
        for node in _list(edits, "deviceNodes")
    }


def mounts(spec: Spec) -> list[str]:
    """Return the host paths of all mounts of a spec."""
    entries = [mount for edits in _all_edits(spec) for mount in _list(edits, "mounts")]
    return [str(mount.get("hostPath")) for mount in entries]


def _variables(spec: Spec) -> list[str]:
    return [str(variable) for edits in _all_edits(spec) for variable in edits.get("env") or []]


def _hooks(spec: Spec) -> list[Any]:
    return [hook for edits in _all_edits(spec) for hook in _list(edits, "hooks")]


def _list(edits: Edits, key: str) -> list[dict[str, Any]]:
    """Return the objects of a list; a file that is not ours may contain anything."""
    items = edits.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _numbers(numbers: tuple[Any, Any]) -> str:
    return f"{numbers[0]}:{numbers[1]}" if numbers[0] is not None else "any"
