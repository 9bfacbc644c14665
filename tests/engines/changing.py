# SPDX-License-Identifier: Apache-2.0
"""What changes on a node while pods start: its CDI specs, and the tree that is installed there."""

from __future__ import annotations

import copy
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waiting
import yaml
from installer.node import PROGRAM, Node

from . import asking, processes

# Seconds between changes, in turn: some creates find all compiled, others in the midst of a change.
WRITING, UPGRADING = (0.05, 0.05, 0.05, 0.5), (0.0, 0.0, 2.0)
OTHERS = 4


@dataclass(slots=True)
class Change:
    """Something that is done over and over; how often it was, and why it ended by itself."""

    count: int = 0
    error: BaseException | None = None


@contextmanager
def repeated(step: Callable[[int], None], pauses: Sequence[float]) -> Iterator[Change]:
    """Do something over and over in the background; where it fails, so does the test."""
    change, end = Change(), threading.Event()

    def work() -> None:
        try:
            while not end.is_set():
                step(change.count)
                end.wait(pauses[change.count % len(pauses)])
                change.count += 1
        except BaseException as error:  # noqa: BLE001 (raised below)
            change.error = error

    thread = threading.Thread(target=work)
    thread.start()
    try:
        waiting.eventually(lambda: change.count or change.error, "it is done once")
        yield change
    finally:
        end.set()
        thread.join()
    if change.error:
        raise change.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """The folders of CDI specs, the latter of which counts more, and the spec of the GPUs.

    Each writing of that has its number in the spec's own edits and in each device's, so that a
    mixture of two would be seen in a container.
    """

    folders: tuple[Path, Path]
    spec: dict[str, Any]

    def write(self, number: int) -> None:
        """Write the spec of the GPUs again, and one that counts less; have others come and go."""
        lower, higher = self.folders
        dump = yaml.safe_dump if number % OTHERS == 0 else json.dumps  # the latter is YAML, too
        replace(higher / "nvidia.yaml", dump(self.marked(str(number))))
        replace(lower / "nvidia.json", json.dumps(self.marked("lower")))
        name = f"other{number % OTHERS}.json"
        replace(self.folders[number % 2] / name, json.dumps(other(number)))
        (self.folders[(number + 1) % 2] / name).unlink(missing_ok=True)

    def marked(self, mark: str) -> dict[str, Any]:
        """Return the spec with a mark in the edits of all."""
        spec = copy.deepcopy(self.spec)
        parts = [(asking.MARKS[0], spec), *((asking.MARKS[1], it) for it in spec["devices"])]
        for name, part in parts:
            part["containerEdits"].setdefault("env", []).append(f"{name}={mark}")
        return spec


def replace(file: Path, text: str) -> None:
    """Write a file as a whole."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.replace(file)


def other(number: int) -> dict[str, Any]:
    """Return a spec of another vendor."""
    device = {"name": "0", "containerEdits": {"env": [f"OTHER={number}"]}}
    return {"cdiVersion": "0.5.0", "kind": f"vendor{number % OTHERS}.test/x", "devices": [device]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrades:
    """An installer that is run over and over, each time from a bundle that is another one.

    It does all of its steps, and ends when they are done (``--no-daemon``): a new tree, the link,
    and no trees that nobody uses; the engine's file says the same each time and is left alone.  One
    that is told to end takes back what it told the engine, which refuses such pods from then on.
    """

    node: Node
    enter: tuple[str, ...]

    def install(self, number: int) -> str:
        """Install the bundle of a number; return what was said."""
        (self.node.source / "share/version").write_text(f"1.0.{number}")
        (module,) = self.node.source.rglob("nvidia_runtime/runtime.py")
        head, _, _ = module.read_text().partition("# of upgrade ")
        module.write_text(f"{head}# of upgrade {number}\n")
        words = [*self.enter, sys.executable, "-c", PROGRAM, *self.node.words("--no-daemon")]
        done = processes.run(words, env=self.node.environment())
        assert done.returncode == 0, done.stderr
        return done.stderr

    def upgrade(self, number: int) -> None:
        """Install another one than before; the engine is not told again."""
        said = self.install(number + 1)
        assert f"toolkit-1.0.{number + 1}-" in said, said
        assert f"wrote {self.node.config}" not in said, said
