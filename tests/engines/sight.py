# SPDX-License-Identifier: Apache-2.0
"""What a container sees, nodes, mounts and environment, and what the kernel lets it open."""

from __future__ import annotations

from dataclasses import dataclass

from .machine import DATA_FOLDER, LIBRARY_FOLDER, MAJOR, NODES

# The nodes to open are made by the container itself, in /dev since other file systems may be
# nodev: that is what a container with CAP_MKNOD could do, and only the device cgroup is in its way.
PROBE = f"""
for node in $(find /dev -type c -o -type b); do
    stat -c 'node %n %t %T %a' "$node"
done
while read -r _ _ _ _ point options _; do
    echo "mount $point $options"
done </proc/self/mountinfo
env | sed 's/^/env /'
for file in {LIBRARY_FOLDER}/* {DATA_FOLDER}/*; do
    [ ! -s "$file" ] || echo "file $file $(cat "$file")"
done
for minor in {" ".join(str(minor) for minor, _ in NODES.values())}; do
    mknod "/dev/probe$minor" c {MAJOR} "$minor"
    said=$( (: <>"/dev/probe$minor") 2>&1)
    echo "open $minor ${{said##*: }}"
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A device node, by what identifies it to a program."""

    path: str
    major: int
    minor: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one container saw."""

    nodes: frozenset[Node]
    mounts: dict[str, frozenset[str]]
    env: dict[str, str]
    files: dict[str, str]
    opened: dict[int, str]


def parse(said: str) -> Sight:
    """Read what the probe printed."""
    rows = [line.split(" ", 1) for line in said.splitlines()]
    nodes = [text.split() for kind, text in rows if kind == "node"]
    mounts = [text.split() for kind, text in rows if kind == "mount"]
    opened = [text.split(" ", 1) for kind, text in rows if kind == "open"]
    return Sight(
        nodes=frozenset(
            Node(path=path, major=int(major, 16), minor=int(minor, 16), mode=int(mode, 8))
            for path, major, minor, mode in nodes
        ),
        mounts={point: frozenset(options.split(",")) for point, options in mounts},
        env=dict(text.split("=", 1) for kind, text in rows if kind == "env"),
        files=dict(text.split(" ", 1) for kind, text in rows if kind == "file"),
        opened={int(minor): answer for minor, answer in opened},
    )
