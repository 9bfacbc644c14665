# SPDX-License-Identifier: Apache-2.0
"""Mounts by ctypes, in a namespace of a child; what they do as a whole is in tests/simulate."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvidia_runtime.linux import mount

TREE = os.fspath(Path(__file__).resolve().parents[2])
INSIDE = """
import os, sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.linux import mount
mount.unshare(mount.CLONE_NEWNS)
mount.make_private("/")
os.chdir(sys.argv[1])
{script}
"""


def inside(script: str, folder: Path) -> list[str]:
    """Run Python in a mount namespace of its own; return its lines."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    words = [sys.executable, "-I", "-c", INSIDE.format(tree=TREE, script=script), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_file_system_of_a_kind_with_options(tmp_path: Path) -> None:
    script = """
mount.mount("tmpfs", ".", "mode=711")
os.chdir(sys.argv[1])
print(oct(os.stat(".").st_mode & 0o777)); open("file", "w").close(); print(os.listdir())
"""
    assert inside(script, tmp_path) == ["0o711", "['file']"]
    assert list(tmp_path.iterdir()) == []


def test_bind_shows_what_is_mounted_inside_too(tmp_path: Path) -> None:
    for name in ("from/inner", "to"):
        (tmp_path / name).mkdir(parents=True)
    script = """
mount.mount("tmpfs", "from/inner"); open("from/inner/file", "w").close()
mount.bind("from", "to"); print(os.listdir("to/inner"))
mount.detach("to"); print(os.listdir("to"))
"""
    assert inside(script, tmp_path) == ["['file']", "[]"]


def test_root_is_another_and_the_old_one_out_of_sight(tmp_path: Path) -> None:
    script = """
mount.mount("tmpfs", "."); os.mkdir(sys.argv[1] + "/only")
mount.become_root(sys.argv[1]); print(os.listdir("/"), os.getcwd())
"""
    assert inside(script, tmp_path) == ["['only'] /"]


def test_error_names_the_place() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    with pytest.raises(OSError, match="/nowhere") as error:
        mount.mount("tmpfs", "/nowhere")

    assert (error.value.errno, error.value.filename) == (errno.ENOENT, "/nowhere")
