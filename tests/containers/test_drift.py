# SPDX-License-Identifier: Apache-2.0
"""Records of containers that run, compared; processes of our own stand for the containers'."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from shim import needs_root

from nvidia_runtime.containers import drift, repair
from nvidia_runtime.containers.asked import Asked, Node
from nvidia_runtime.containers.repair import Repair, Rescue
from nvidia_runtime.linux.device_rules import Rule
from nvidia_runtime.oci import lifecycle

MAJOR = 120


class Machine:
    """The folders of records and of the low-level runtime's states."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "containers"
        self.records.mkdir()

    def record(self, name: str, **fields: Any) -> None:
        whole = {"container": name, "root": str(self.folder / "runc"), "injected": [], **fields}
        (self.records / f"{name}.json").write_text(json.dumps(whole))

    def state(self, name: str, pid: int) -> None:
        """Let a process be a container's."""
        folder = self.folder / "runc" / name
        folder.mkdir(parents=True)
        text = Path(f"/proc/{pid}/stat").read_text()
        start = int(text.rpartition(")")[2].split()[19])
        state = {"init_process_pid": pid, "init_process_start": start}
        (folder / "state.json").write_text(json.dumps(state))

    def nows(self, patience: float = 10) -> list[drift.Now]:
        return drift.of_running(patience, str(self.records))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_only_what_runs_is_compared(machine: Machine) -> None:
    for name in ("runs", "gone", "other"):
        machine.record(name)
    machine.state("runs", os.getpid())

    (now,) = machine.nows()

    assert (now.container, now.pid, now.drifts) == ("runs", os.getpid(), ())
    assert drift.of("gone", {"root": str(machine.folder)}).pid == 0


def test_what_is_no_record_is_left_out(machine: Machine) -> None:
    machine.record("runs")
    machine.state("runs", os.getpid())
    listed = {"damaged": "{", "list": "[]", ".new": "{}", "text": "", "deep": "[" * 100_000}
    for name, text in listed.items():
        (machine.records / f"{name}.json").write_text(text)
    (machine.records / "folder.json").mkdir()
    (machine.records / "notes").write_text("")

    assert [now.container for now in machine.nows()] == ["runs"]
    assert drift.of_running(1, f"{machine.folder}/none") == []


DAMAGED = {
    "deep": "[" * 100_000,
    "endless": '{"init_process_pid": 1e400, "init_process_start": 1}',
    "a list": "[]",
    "words": '{"init_process_pid": "../1", "init_process_start": "1"}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_state_that_is_damaged_is_unknown(name: str, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/state.json").write_text(DAMAGED[name])

    assert lifecycle.process("c", str(tmp_path)) == (lifecycle.UNKNOWN, 0)


@needs_root
def test_without_time_rules_are_compared(machine: Machine) -> None:
    """They are read from the kernel, which answers; a container's files may not."""
    bundle = machine.folder / "bundle"
    bundle.mkdir()
    devices = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]
    rules = [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}]
    linux = {"devices": devices, "resources": {"devices": rules}}
    (bundle / "config.json").write_text(json.dumps({"linux": linux}))
    edits = {"devices": [{"path": "/dev/null"}]}
    machine.record("runs", bundle=str(bundle), injected=[{"edits": edits}])
    machine.state("runs", os.getpid())

    (now,) = machine.nows(patience=-1)

    (rule,) = [one for one in now.drifts if one.kind == "rule"]
    assert (rule.asked, rule.got, rule.state) == ("c 1:3 rw", "c 1:3 rw", "ok")
    assert now.lost_rules() == []


def given(*nodes: Node) -> Asked:
    return Asked(nodes=nodes, mounts=(), libraries=(), variables={}, doubt="")


def node(host_path: str, numbers: tuple[int, int] | None = None, access: str = "rw") -> Node:
    return Node(path="/dev/nvidia0", host_path=host_path, kind="c", numbers=numbers, access=access)


def test_more_rules_than_there_is_time_for() -> None:
    (rule,) = drift.rules("c1", os.getpid(), given(node("/dev/null", (1, 3))), deadline=0)

    assert (rule.state, rule.why) == ("unknown", "there are too many rules")


def test_process_that_has_ended() -> None:
    pid = 1 << 30

    (rule,) = drift.rules("c1", pid, given(node("/dev/null", (1, 3))))

    assert rule.state == "unknown"
    assert rule.why == f"/proc/{pid}/cgroup: cannot be read: no such file or directory"


@needs_root
def test_numbers_that_no_config_json_tells_are_the_hosts(tmp_path: Path) -> None:
    path = tmp_path / "node"
    os.mknod(path, stat.S_IFBLK, os.makedev(MAJOR, 7))

    assert drift.rule_of(node(str(path))) == Rule(kind="b", major=MAJOR, minor=7, access="rw")
    assert drift.rule_of(node(str(path), (1, 2))) == Rule(kind="c", major=1, minor=2, access="rw")


@pytest.mark.parametrize("name", ["gone", "file"])
def test_without_any_numbers_there_is_no_rule(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    (rule,) = drift.rules("c1", os.getpid(), given(node(str(tmp_path / name))))

    assert drift.rule_of(node(str(tmp_path / name))) is None
    assert rule.state == "unknown"


@pytest.mark.parametrize(
    ("unit", "states", "command"),
    [
        ("", ["restored"], ""),
        ("docker-c1.scope", ["failed", "lost"], ""),
        (
            "docker-c1.scope",
            ["restored", "failed"],
            "systemctl set-property --runtime docker-c1.scope 'DeviceAllow=/dev/char/195:0 rw'",
        ),
    ],
)
def test_command_by_which_systemd_keeps_rules(unit: str, states: list[str], command: str) -> None:
    rules = [
        Rescue(name="/dev/nvidia0", rule=f"c 195:{minor} rw", state=state)
        for minor, state in enumerate(states)
    ]

    assert Repair(container="c1", rules=tuple(rules), unit=unit).keeping() == command


def test_block_device_is_named_by_its_own_folder() -> None:
    rule = Rescue(name="/dev/x", rule="b 8:0 r", state=repair.RESTORED)

    command = Repair(container="c1", rules=(rule,), unit="a.scope").keeping()

    assert command.endswith("'DeviceAllow=/dev/block/8:0 r'")
