# SPDX-License-Identifier: Apache-2.0
"""Specs as files: their names, formats, and how they are replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import output


@pytest.mark.parametrize(
    ("path", "form", "expected"),
    [
        ("/etc/cdi/nvidia.yaml", "yaml", "/etc/cdi/nvidia.yaml"),
        ("/etc/cdi/nvidia.json", "yaml", "/etc/cdi/nvidia.json"),
        ("/etc/cdi/nvidia", "yaml", "/etc/cdi/nvidia.yaml"),
        ("/etc/cdi/nvidia", "json", "/etc/cdi/nvidia.json"),
        ("/etc/cdi/nvidia.yml", "yaml", "/etc/cdi/nvidia.yml.yaml"),
        ("/etc/cdi.json/nvidia", "yaml", "/etc/cdi.json/nvidia.yaml"),
    ],
)
def test_name(path: str, form: str, expected: str) -> None:
    assert output.name_file(path, form) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.json", b'{"a":[1]}'), ("a.yaml", b"---\na:\n    - 1\n"), ("", b"---\na:\n    - 1\n")],
)
def test_encode(path: str, expected: bytes) -> None:
    assert output.encode({"a": [1]}, path) == expected


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new/cdi/nvidia.yaml"
    before = os.umask(0o077)
    try:
        output.write(os.fspath(path), b"one")
        inode = path.stat().st_ino
        output.write(os.fspath(path), b"two")
    finally:
        os.umask(before)

    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != inode
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["nvidia.yaml"]


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("old")
    (tmp_path / "link.yaml").symlink_to("real.yaml")

    output.write(f"{tmp_path}/link.yaml", b"new")

    assert (tmp_path / "link.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("file/x.yaml", "cannot be written: not a directory", id="below a file"),
        pytest.param("folder", "cannot be written: is a directory", id="a folder"),
        pytest.param("a\0b", "embedded null", id="NUL"),
    ],
)
def test_what_cannot_be_written(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    with pytest.raises(NvidiaRuntimeError) as error:
        output.write(f"{tmp_path}/{name}", b"x")

    assert says in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    """Process ids are used again: in a container it is always the same one."""
    file = tmp_path / "nvidia.yaml"
    (tmp_path / f".{file.name}.{os.getpid()}").write_text("half")

    output.write(str(file), b"whole")

    assert file.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == [file.name]
