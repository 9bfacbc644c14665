# SPDX-License-Identifier: Apache-2.0
"""What devices need in a container, for programs that are no OCI runtime: to bind, link, find.

Made of container edits in the runtime-spec's form.  The links are those of hooks, and those that
ldconfig would make: where nothing runs in a container, somebody else has to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nvidia_runtime.prepare import takeover, verbs
from nvidia_runtime.rootfs import library_names, links
from nvidia_runtime.sources import specs
from nvidia_runtime.store import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nvidia_runtime.document import Document
    from nvidia_runtime.store.lines import Source

NODES, LIBRARIES, PROGRAMS, FILES = "nodes", "libraries", "programs", "files"
LINKS, FOLDERS, ENV, GROUPS, HOOKS = "links", "folders", "env", "groups", "hooks"
KINDS = (NODES, LIBRARIES, PROGRAMS, FILES, LINKS, FOLDERS, ENV, GROUPS, HOOKS)
# What these verbs do is said by links and folders.
SAID = ("create-symlinks", "update-ldcache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A path of the host, where it belongs in the container, and the mount's options."""

    kind: str
    source: str
    target: str
    options: tuple[str, ...] = ()
    # Of a library, as ld.so.cache has them: 0 is another file.
    flags: int = 0
    # Of a node.
    numbers: tuple[str, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """All that devices need; ``links`` are paths in the container and targets.

    ``folders`` are those where the loader has to find libraries.  ``hooks`` are words of what only
    a program at the container's start can do.
    """

    entries: tuple[Entry, ...]
    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    env: tuple[str, ...]
    groups: tuple[int, ...]
    hooks: tuple[str, ...]

    def of(self, kinds: Iterable[str]) -> FileList:
        """Return what is of some kinds."""
        return FileList(
            entries=tuple(entry for entry in self.entries if entry.kind in kinds),
            links=self.links if LINKS in kinds else (),
            folders=self.folders if FOLDERS in kinds else (),
            env=self.env if ENV in kinds else (),
            groups=self.groups if GROUPS in kinds else (),
            hooks=self.hooks if HOOKS in kinds else (),
        )


def read(sources: list[Source], state: str) -> FileList:
    """Return what sources of edits need; of two at one place in the container the last counts.

    ``state`` is our state folder, where sonames are remembered.  Raises `NvidiaRuntimeError` for a
    node that the host lacks.
    """
    entries: dict[str, Entry] = {}
    facts = libraries.Facts(state)
    env: dict[str, str] = {}
    for source in sources:
        for entry in (*_nodes(source), *_mounts(source.edits, facts)):
            entries[entry.target] = entry
        env |= {text.partition("=")[0]: text for text in source.edits.get("env", ())}
    facts.write()
    all_hooks = [hook for source in sources for hook in takeover.hooks_of([source.edits])]
    steps = [step for hook in all_hooks for step in takeover.understood(hook)]
    own = [links.parse(text) for step in steps for text in step.all("link")]
    wanted = {path: target for target, path in own}
    folders = list(dict.fromkeys(folder for step in steps for folder in step.all("folder")))
    by_soname = {path: target for path, target in _sonames(entries, facts) if path not in wanted}
    return FileList(
        entries=tuple(entries.values()),
        links=(*by_soname.items(), *wanted.items()),
        folders=tuple(folders),
        env=tuple(env.values()),
        groups=tuple(_groups(sources)),
        hooks=tuple(_others(all_hooks)),
    )


def _nodes(source: Source) -> Iterator[Entry]:
    nodes: list[Document] = source.edits.get("devices", [])
    paths: list[str] = [node["hostPath"] if "hostPath" in node else node["path"] for node in nodes]
    specs.fill_nodes(source.edits, source.origin)
    for node, path in zip(nodes, paths, strict=True):
        numbers = (node["type"], node.get("major", 0), node.get("minor", 0))
        yield Entry(kind=NODES, source=path, target=node["path"], numbers=numbers)


def _mounts(edits: Document, facts: libraries.Facts) -> Iterator[Entry]:
    for mount in edits.get("mounts", ()):
        path: str = mount["source"]
        target: str = mount["destination"]
        folder, name = os.path.split(target)
        kind, flags = FILES, 0
        if ".so" in name and (fact := facts.identify(path)):
            kind, flags = LIBRARIES, fact[1]
        elif os.path.basename(folder) in ("bin", "sbin"):
            kind = PROGRAMS
        options = tuple(mount.get("options", ()))
        yield Entry(kind=kind, source=path, target=target, options=options, flags=flags)


def _sonames(entries: dict[str, Entry], facts: libraries.Facts) -> Iterator[tuple[str, str]]:
    """Yield the links that ldconfig would make, where no file is to be."""
    for entry in entries.values():
        fact = facts.identify(entry.source) if entry.kind == LIBRARIES else None
        if fact and library_names.is_soname(fact[0]):
            folder, name = os.path.split(entry.target)
            path = f"{folder}/{os.fsdecode(fact[0])}"
            if path not in entries:
                yield path, name


def _groups(sources: list[Source]) -> list[int]:
    return sorted({gid for source in sources for gid in source.edits.get("additionalGids", ())})


def _others(hooks: list[Document]) -> list[str]:
    """Return the words of what neither a bind nor a link does."""
    said: dict[str, None] = {}
    for hook in hooks:
        steps = takeover.understood(hook)
        others = [verbs.said(step) for step in steps if step.verb not in SAID]
        words = [hook["path"], *hook.get("args", ())[1:]]
        said |= dict.fromkeys(others if steps else [" ".join(words)])
    return list(said)
