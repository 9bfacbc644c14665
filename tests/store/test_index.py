# SPDX-License-Identifier: Apache-2.0
"""An index of a snapshot says what a look for one line says, and thousands cost one look."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.sources import specs
from nvidia_runtime.store import index, lines
from nvidia_runtime.store.snapshot import Snapshot

KEYS = (
    "a/b=0",
    "@0",
    "again",
    "header",
    "",
    "a",
    "a/b=",
    "a/b=0\t0",
    "a/b=0\n",
    "\u00e4",
    "\udcff",
)


class Counted(bytes):
    """The bytes of a file, which count how many of them are gone through."""

    looked = 0

    def find(self, *args: Any) -> int:
        start = super().find(*args)
        self.looked += start if start >= 0 else len(self)
        return start

    def split(self, *args: Any, **options: Any) -> list[bytes]:
        self.looked += len(self)
        return super().split(*args, **options)


def compiled(*rows: str) -> Counted:
    sealed = (lines.seal(row) for row in ("header\tx", *rows))
    return Counted("".join(f"{row}\n" for row in sealed).encode())


def devices(count: int) -> tuple[tuple[str, ...], Counted]:
    """Make a snapshot's lines, one spec a device; return their names, too."""
    names = tuple(f"vendor{number}.com/device=0" for number in range(count))
    rows = (f"@{at}\t{{}}\t{{}}\n{name}\t{at}\t{{}}" for at, name in enumerate(names))
    return names, compiled(*(row for pair in rows for row in pair.split("\n")))


@pytest.mark.parametrize("key", KEYS)
def test_index_finds_what_a_look_finds(key: str) -> None:
    data = compiled("@0\t{}", "a/b=0\t0\t{}", "again\t1", "again\t2", "\tno key", "no tab")

    assert index.of(data)(key) == lines.find_line(data, key)


def test_damaged_line() -> None:
    data = bytes(compiled("a\t1", "b\t2")).replace(b"b\t2", b"b\t3")

    find = index.of(data)

    assert find("a") == [b"1"]
    with pytest.raises(ValueError, match="a damaged line"):
        find("b")


@pytest.mark.parametrize("count", [specs.MANY + 1, 1000])
def test_many_devices_cost_one_look(count: int) -> None:
    names, data = devices(count)
    registry = Snapshot.__new__(Snapshot)
    registry.data = data

    sources = specs.sources(names, registry)

    assert [source.name for source in sources if source.name] == [*names]
    assert data.looked == len(data)


def test_few_devices_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names, data = devices(specs.MANY)
    registry = Snapshot.__new__(Snapshot)
    registry.data = data
    monkeypatch.delattr(index, "of")

    assert len(specs.sources(names, registry)) == 2 * len(names)
