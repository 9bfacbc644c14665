# SPDX-License-Identifier: Apache-2.0
"""The device rules of a container that exists: whose group is changed, and which never."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import device_groups
import pytest

from nvidia_runtime.container_cli import existing, rules
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import bpf, device_program
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED, Group
from nvidia_runtime.linux.device_rules import Rule, questions

TREE = os.fspath(Path(__file__).resolve().parents[2])
NODE = {"path": "/dev/nvidia0", "type": "c", "major": device_groups.MAJOR, "minor": 7}
RULE = Rule(kind="c", major=device_groups.MAJOR, minor=7)
OTHER = Rule(kind="c", major=device_groups.MAJOR, minor=8)
# In a group of its own, for itself.
ITSELF = """
import os, sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.container_cli import rules
from nvidia_runtime.errors import NvidiaRuntimeError
open(f"{sys.argv[2]}/cgroup.procs", "w").write(str(os.getpid()))
try:
    rules.give(os.getpid(), [{"type": "c", "major": int(sys.argv[3]), "minor": 7}], lambda: None)
except NvidiaRuntimeError as error:
    sys.exit(f"{error}; {error.hint}")
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/docker/3f2a", ["/docker/3f2a"]),
        ("/system.slice/docker-3f2a.scope", ["/system.slice/docker-3f2a.scope"]),
        (
            "/a.slice/crun-c1.scope/container",
            ["/a.slice/crun-c1.scope", "/a.slice/crun-c1.scope/container"],
        ),
        ("/user.slice/session-1.scope/c1", ["/user.slice/session-1.scope/c1"]),
        ("/init.scope", ["/init.scope"]),
        ("/engine", []),
        ("/engine/call", []),
        ("/engine/c1", ["/engine/c1"]),
        ("/", []),
    ],
)
def test_own_groups(path: str, expected: list[str]) -> None:
    """We are in /engine/call: what is above us is not the container's alone."""
    group = Group(hierarchy=UNIFIED, top="/sys/fs/cgroup", path=path)

    assert [one.path for one in rules.own(group, {"/engine", "/engine/call"})] == expected


@contextmanager
def refused(hierarchy: str, folder: Path) -> Iterator[device_groups.Member]:
    """Keep a process in a group that refuses it all devices."""
    with device_groups.group(hierarchy, denied=hierarchy == DEVICES) as path:
        if hierarchy == UNIFIED:
            with (
                device_groups.opened(path) as group,
                bpf.loaded(device_program.refusing(), "") as program,
            ):
                bpf.attach(group, program, bpf.F_ALLOW_MULTI)
        with device_groups.member(path, folder) as process:
            yield process


@pytest.mark.parametrize("hierarchy", [DEVICES, UNIFIED])
def test_container_gets_its_nodes_and_no_others(hierarchy: str, tmp_path: Path) -> None:
    with refused(hierarchy, tmp_path) as process:
        before = [process.may(question, RULE) for question in questions("rwm")]
        rules.give(process.process.pid, [NODE], lambda: None)

        assert before == [False] * 4
        assert [process.may(question, RULE) for question in questions("rwm")] == [True] * 4
        assert not any(process.may(question, OTHER) for question in questions("rw"))


def test_own_group_is_not_changed(tmp_path: Path) -> None:
    with device_groups.group(DEVICES, denied=True) as folder:
        words = [sys.executable, "-I", "-c", ITSELF, TREE, folder, str(device_groups.MAJOR)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert f"{folder}/devices.list: refuses its devices" in done.stderr
        assert "it is not the container's alone, and stays as it is" in done.stderr
        assert rules.HINT in done.stderr
        assert (Path(folder) / "devices.list").read_text() == ""


@pytest.mark.parametrize("hierarchy", [DEVICES, UNIFIED])
def test_another_process_gets_nothing_by_the_number(hierarchy: str, tmp_path: Path) -> None:
    """The container's process has ended, and its number is another's by now."""
    ended = subprocess.Popen(["true"])
    held = os.pidfd_open(ended.pid)
    ended.wait()
    container = existing.Existing.__new__(existing.Existing)
    with refused(hierarchy, tmp_path) as process:
        container.pid, container._process = process.process.pid, held
        with pytest.raises(NvidiaRuntimeError, match="has ended meanwhile"):
            rules.give(container.pid, [NODE], container.check)

        assert [process.may(question, RULE) for question in questions("rwm")] == [False] * 4
    os.close(held)
