# SPDX-License-Identifier: Apache-2.0
"""Trees beside each other, and the link that names one: what is damaged, left over, or in use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import shim
import waiting

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import tree, wrappers

from .node import Node, bundle

pytestmark = shim.needs_root


def design(source: Path, link: Path, *runtimes: str) -> tree.Design:
    return tree.Design(
        bundle=tree.read(str(source)), link=str(link), runtimes=runtimes or ("runc",)
    )


@pytest.fixture
def link(node: Node) -> Path:
    return node.toolkit


def write(source: Path, link: Path, *runtimes: str) -> Path:
    """Write a tree, and have the link name it."""
    wanted = design(source, link, *runtimes)
    path, is_there = tree.place(wanted)
    if not is_there:
        tree.write(wanted, path, "")
    tree.turn(str(link), path)
    return Path(path)


def test_same_tree_is_found_again(small_bundle: Path, link: Path) -> None:
    first = write(small_bundle, link)

    assert tree.place(design(small_bundle, link)) == (str(first), True)
    assert tree.place(design(small_bundle, link, "crun"))[0] != str(first)


@pytest.mark.parametrize("name", ["bin/busybox", "nvidia-container-runtime", "share/version"])
def test_damaged_tree_is_not_taken(name: str, small_bundle: Path, link: Path) -> None:
    first = write(small_bundle, link)
    (first / name).write_bytes(b"")

    second = write(small_bundle, link)

    assert second == Path(f"{first}-2")
    assert tree.remove_old(str(link), is_alone=True) == []
    assert {path.name for path in link.parent.iterdir()} == {second.name, link.name}


def test_what_its_user_changes_is_no_damage(small_bundle: Path, link: Path) -> None:
    path = write(small_bundle, link)
    (path / wrappers.CONFIG).write_text("# mine\n")
    (path / "lib/__pycache__").mkdir()
    (path / "lib/__pycache__/x.pyc").touch()

    assert tree.is_whole(str(path))


def test_folder_of_nvidias_is_exchanged(small_bundle: Path, link: Path) -> None:
    (link / "sub").mkdir(parents=True)
    (link / "sub/file").touch()

    path = write(small_bundle, link)

    assert os.readlink(link) == path.name
    assert sorted(entry.name for entry in link.parent.iterdir()) == [link.name, path.name]


def test_what_is_left_over_goes(small_bundle: Path, link: Path) -> None:
    write(small_bundle, link)
    for name in (".toolkit.new", ".toolkit.old"):
        (link.parent / name / "sub").mkdir(parents=True)
    (link.parent / ".toolkit.link").symlink_to("x")
    (link.parent / "mine").mkdir()

    tree.sweep(str(link))

    assert [path.name for path in link.parent.iterdir() if path.name.startswith(".")] == []
    assert (link.parent / "mine").is_dir()


def test_tree_in_which_a_process_is_stays(small_bundle: Path, link: Path) -> None:
    first = write(small_bundle, link)
    with subprocess.Popen([first / "bin/busybox", "sleep", "1000"]) as process:
        write(small_bundle, link, "crun")
        waiting.eventually(lambda: tree.is_used(str(first)), "busybox runs", process)

        assert tree.remove_old(str(link), is_alone=True) == [str(first)]
        assert (first / "bin/busybox").exists()
        process.kill()
        process.wait()
    assert tree.remove_old(str(link), is_alone=True) == []
    assert not first.exists()


def test_only_our_trees_are_removed(small_bundle: Path, link: Path) -> None:
    write(small_bundle, link)
    for name in ("toolkit-mine", "toolkit-1.0-short", "toolkit.bak"):
        (link.parent / name).mkdir()

    tree.remove_old(str(link), is_alone=True)

    assert {"toolkit-mine", "toolkit-1.0-short", "toolkit.bak"} <= {
        path.name for path in link.parent.iterdir()
    }


def test_place_that_is_too_long(small_bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / ("x" * 100) / "toolkit"

    with pytest.raises(NvidiaRuntimeError, match="is too long for the first line of a program"):
        write(small_bundle, link)

    assert list(link.parent.iterdir()) == []


def test_bundle_without_an_interpreter(tmp_path: Path) -> None:
    source = bundle(tmp_path / "other/bundle")
    (source / "bin/python3").unlink()

    with pytest.raises(NvidiaRuntimeError, match="is no bundle to install from"):
        tree.read(str(source))
