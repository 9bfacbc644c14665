# SPDX-License-Identifier: Apache-2.0
"""Merged caches are remembered by what they were made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvidia_runtime import document
from nvidia_runtime.rootfs import loader_cache, resolver
from nvidia_runtime.rootfs.merged_caches import FOLDER, MOST, MOST_BYTES, SEAL, Memory

ROWS = [(b"libcuda.so.1", 0x0303, b"/usr/lib64/libcuda.so.1")]


def image(folder: Path) -> resolver.Place:
    """Return the root of an image with a cache of one row of its own."""
    (folder / "etc").mkdir(parents=True)
    root = resolver.open_root(str(folder))
    own = [(b"libc.so.6", 0x0303, b"/lib64/libc.so.6")]
    loader_cache.add(root, loader_cache.read(root), own)
    return root


def start(root: resolver.Place, state: Path) -> bool:
    """Start a container: say whether the cache had to be written."""
    return loader_cache.add(root, loader_cache.read(root), ROWS, (), state=str(state))


def test_second_container_gets_what_the_first_got(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    one, other = image(tmp_path / "one"), image(tmp_path / "other")

    assert start(one, state)
    assert start(other, state)

    data = (tmp_path / "one/etc/ld.so.cache").read_bytes()
    assert (tmp_path / "other/etc/ld.so.cache").read_bytes() == data
    assert any(file.read_bytes()[:-SEAL].endswith(data) for file in (state / FOLDER).iterdir())
    assert not start(one, state)
    assert not start(one, state)  # by the note that nothing changes


def test_other_rows_are_another_result(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    root = image(tmp_path / "one")
    start(root, state)
    more = [*ROWS, (b"libnvidia-ml.so.1", 0x0303, b"/usr/lib64/libnvidia-ml.so.1")]

    assert loader_cache.add(root, loader_cache.read(root), more, (), state=str(state))

    names = [name for name, _, _, _ in loader_cache.read(root).cache.rows()]
    assert b"libnvidia-ml.so.1" in names


def test_folder_does_not_grow(tmp_path: Path) -> None:
    for number in range(MOST + 8):
        Memory(str(tmp_path), b"data", number).write(b"result")

    assert 0 < len(os.listdir(tmp_path / FOLDER)) <= MOST


def test_oldest_results_go_where_all_are_too_large(tmp_path: Path) -> None:
    """An image says how large its cache is."""
    for number in range(12):
        Memory(str(tmp_path), b"data", number).write(b"x" * (3 << 20))

    sizes = [path.stat().st_size for path in (tmp_path / FOLDER).iterdir()]
    assert len(sizes) == 5
    assert sum(sizes) <= MOST_BYTES
    assert Memory(str(tmp_path), b"data", 11).read()
    assert Memory(str(tmp_path), b"data", 0).read() is None


def test_result_with_a_bit_turned_over_counts_for_nothing(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path), b"data", "rest")
    memory.write(b"result")
    (file,) = (tmp_path / FOLDER).iterdir()
    data = file.read_bytes()
    for at in range(8 * len(data)):
        turned = bytearray(data)
        turned[at // 8] ^= 1 << at % 8
        file.write_bytes(turned)

        assert memory.read() is None

    file.write_bytes(data)
    assert memory.read() == b"result"


def test_an_image_whose_digest_is_anothers_gets_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be made to fit: what decides is compared."""
    monkeypatch.setattr(document, "digest", lambda _: "x" * SEAL)
    one, other = Memory(str(tmp_path), b"data", 1), Memory(str(tmp_path), b"data of another", 1)
    one.write(b"result")

    assert other.read() is None
    other.write(b"its own")

    assert other.read() == b"its own"
    assert one.read() is None


def test_fifo_is_not_waited_for(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path), b"data", "rest")
    memory.write(b"result")
    (file,) = (tmp_path / FOLDER).iterdir()
    file.unlink()
    os.mkfifo(file)

    assert memory.read() is None
    memory.write(b"again")
    assert memory.read() == b"again"


@pytest.mark.parametrize("state", ["", "/nowhere"])
def test_no_state_folder_is_no_error(state: str, tmp_path: Path) -> None:
    root = image(tmp_path / "one")

    assert loader_cache.add(root, loader_cache.read(root), ROWS, (), state=state)
    assert not loader_cache.add(root, loader_cache.read(root), ROWS, (), state=state)


def test_result_is_nobody_elses(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path), b"data", "rest")
    memory.write(b"result")

    (file,) = (tmp_path / FOLDER).iterdir()
    assert (file.stat().st_mode & 0o777, (tmp_path / FOLDER).stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )
    assert Memory(str(tmp_path), b"data", "rest").read() == b"result"
    assert Memory(str(tmp_path), b"other", "rest").read() is None
