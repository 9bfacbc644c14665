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


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's link needs root")
@pytest.mark.parametrize("is_sticky", [True, False], ids=["in a shared folder", "in one of root's"])
def test_link_that_anybody_may_have_made_is_not_followed(is_sticky: bool, tmp_path: Path) -> None:
    """The file that it leads to would be anybody's choice."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777 if is_sticky else 0o755)
    (tmp_path / "victim").write_text("old")
    (folder / "spec.yaml").symlink_to("../victim")
    os.lchown(folder / "spec.yaml", 65534, 65534)

    if not is_sticky:
        output.write(f"{folder}/spec.yaml", b"new")
        assert (tmp_path / "victim").read_text() == "new"
        return
    with pytest.raises(NvidiaRuntimeError) as error:
        output.write(f"{folder}/spec.yaml", b"new")

    link = f"{folder}/spec.yaml"
    assert str(error.value) == f"{link}: is not written: {link} is a link that another user made"
    assert (tmp_path / "victim").read_text() == "old"


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o644), (0o400, 0o600)]
)
def test_mode_of_a_file_that_not_everybody_may_read_stays(
    before: int, after: int, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text("old")
    (tmp_path / "spec.yaml").chmod(before)

    output.write(f"{tmp_path}/spec.yaml", b"new")

    assert (tmp_path / "spec.yaml").stat().st_mode & 0o777 == after
