# SPDX-License-Identifier: Apache-2.0
"""Containers that say what is in them: by the default mode, or by `configure` at prestart."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines import processes
from engines.bundles import Bundles, await_exit
from engines.machine import Runtime

Document = dict[str, Any]
Change = Callable[[Document], None]
TESTS = os.fspath(Path(__file__).resolve().parents[1])
START = "import sys; sys.path[:0] = {}; from {} import main; main()"
# Of each name: type, mode, owner, numbers and where it leads or what is in it; each mount with its
# options; and what opening a node says, for which its control group is asked.
SHOW = """
PATH=/bin:/sbin
find / -path /proc -prune -o -path /sys -prune -o -print | busybox sort | while read -r name; do
  stat -c '%n %F %a %u:%g %t:%T' "$name"
  if [ -L "$name" ]; then busybox readlink "$name"
  elif [ -f "$name" ]; then busybox sha256sum <"$name"; fi
done
busybox cut -d' ' -f5,6 /proc/self/mountinfo | busybox sort
for name in $(find /dev -name 'nvidia*' -type c | busybox sort); do
  said=$( (: <"$name") 2>&1); echo "$name ${said##*: }"
done
"""
ALL = ("compute", "utility", "video", "graphics", "display", "ngx", "compat32")
ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


def program(module: str) -> tuple[str, ...]:
    """Return the words of a program that is one of the tests' modules."""
    code = START.format([os.path.dirname(TESTS), TESTS], module)
    return (sys.executable, "-I", "-c", code)


def call(**fields: Any) -> Change:
    """Return the change that calls `configure` at prestart, as docker's --gpus does."""

    def change(document: Document) -> None:
        words = {"pid": None, "capabilities": ALL, **fields}
        args = [*program("container_cli.entry"), json.dumps(words)]
        hook = {"path": sys.executable, "args": args, "env": ENVIRONMENT}
        document["hooks"] = {"prestart": [hook]}

    return change


def ask(*env: str) -> Change:
    """Return the change by which our runtime gives devices, in its default mode."""

    def change(document: Document) -> None:
        document["process"]["env"] += env

    return change


def said(bundles: Bundles, *changes: Change, by_us: bool = False) -> list[str]:
    """Run a container to its end, by our runtime or without it; return what it says."""
    code, out, errors = run(bundles, *changes, by_us=by_us)
    assert code == 0, errors + out
    return out.splitlines()


def run(bundles: Bundles, *changes: Change, by_us: bool = False) -> tuple[int, str, str]:
    """Run a container to its end, or as far as it gets; return its code and output."""
    program = json.loads((bundles.runtime.path.parent / "config.toml").read_text().split("= ")[1])
    plain = Runtime(path=Path(program[0]), calls=bundles.folder, log=bundles.folder)
    words = bundles.words(bundles.runtime if by_us else plain)
    bundle = bundles.bundle(("sh", "-c", SHOW), None)
    document = json.loads((bundle / "config.json").read_text())
    document["hostname"] = "compared"
    for change in changes:
        change(document)
    (bundle / "config.json").write_text(json.dumps(document))
    code = bundles.create(bundle, words)
    if code == 0:
        container = bundles.begin(bundle, words)
        code = await_exit(container.pid)
        container.remove()
    else:
        processes.run([*words, "delete", "--force", bundle.name])
    return code, (bundle / "stdout").read_text(), (bundle / "stderr").read_text()
