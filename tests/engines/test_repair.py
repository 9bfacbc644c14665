# SPDX-License-Identifier: Apache-2.0
"""`nvidia-ctk repair`: a container gets the device rules back that it has lost, and no others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli.test_json import check

from nvidia_runtime.containers import drift
from nvidia_runtime.linux import bpf, device_program
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED
from nvidia_runtime.linux.device_rules import Rule

from . import cgroups
from .bundles import Bundles
from .engine import FOREVER, Engine
from .machine import MAJOR, Machine
from .running import LOST, PATHS, RULES, Live, run, things
from .test_devices import GRANTED, REFUSED


def test_lost_rules_are_given_back(live: Live) -> None:
    live.lose()

    tried = run("repair", live.container.id, "--dry-run")
    assert (tried.returncode, live.opened()) == (0, [REFUSED, REFUSED])
    assert tried.stdout.splitlines()[0] == f"{live.container.id}: 2 device rules are missing"
    done = run("repair", live.container.id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{live.container.id}: 2 device rules restored",
        *(f"  {rule}  {path}" for rule, path in zip(RULES, PATHS, strict=True)),
    ]
    assert live.opened() == [GRANTED, GRANTED]
    assert [one for one in things(live) if one["state"] != "ok"] == []


def test_repair_that_is_not_needed_changes_nothing(live: Live) -> None:
    live.lose()
    assert run("repair", live.container.id).returncode == 0
    before = live.programs() if live.hierarchy == UNIFIED else None

    (entry,) = check("output/repair", run("repair", "--all", "--json").stdout)

    assert (entry["container"], entry["rules"]) == (live.container.id, [])
    if before:
        assert live.programs() == before


def test_nothing_else_is_granted(live: Live) -> None:
    """What the container never had stays refused, and so does what was taken from it since."""
    script = f"mknod /dev/other c {MAJOR} 1; mknod /dev/tty2 c 4 2"
    assert live.container.exec("sh", "-c", script).returncode == 0
    live.lose()
    assert run("repair", live.container.id).returncode == 0

    for node in ("/dev/other", "/dev/tty2"):
        said = live.container.exec("sh", "-c", f"(: <>{node}) 2>&1").stdout.strip()
        assert said.endswith(REFUSED)


@pytest.mark.parametrize("live", ["runc_v2", "crun_v2"], indirect=True)
def test_programs_do_not_pile_up(live: Live) -> None:
    """systemd attaches its program anew whenever it reloads; it never detaches one of ours."""
    for _ in range(3):
        live.lose()
        assert run("repair", live.container.id).returncode == 0
        assert live.opened() == [GRANTED, GRANTED]
        assert [program.name for program in live.programs()] == ["", "nv_sd_devices"]
    changed = device_program.with_rules(LOST, [Rule(kind="c", major=10, minor=229)])
    live.lose(changed)

    assert run("repair", live.container.id).returncode == 0
    (_, own) = live.programs()
    assert own.name == "nv_sd_devices"
    assert own.instructions
    assert own.instructions.endswith(changed)


def test_node_that_is_another_device_by_now(live: Live, machine: Machine) -> None:
    """A driver was loaded again, with another major: what has the old one must not be granted."""
    live.lose()
    node = machine.scratch / "dev/nvidia0"
    mode = node.stat().st_mode
    node.unlink()
    os.mknod(node, mode, os.makedev(MAJOR + 1, 0))
    try:
        said = run("repair", live.container.id, "--json").stdout
        (entry,) = check("output/repair", said)
        assert [(one["name"], one["state"]) for one in entry["rules"]] == [
            ("/dev/nvidia0", "failed"),
            ("/dev/nvidiactl", "restored"),
        ]
        assert entry["rules"][0]["why"] == (
            f"{node} is c {MAJOR + 1}:0 on the host now: "
            "restart the container: its node is another device's by now"
        )
        assert live.opened() == [REFUSED, GRANTED]
        (device,) = [one for one in things(live) if one["state"] == "different"]
        assert device["why"] == f"{node} is c {MAJOR + 1}:0 on the host now"
    finally:
        node.unlink()
        os.mknod(node, mode, os.makedev(MAJOR, 0))
        node.chmod(mode & 0o777)


@pytest.mark.parametrize("live", ["runc_v2", "crun_v2"], indirect=True)
def test_group_above_that_refuses_stays_as_it_is(live: Live) -> None:
    """It is not the container's alone."""
    above = os.open(os.path.dirname(live.folder), os.O_RDONLY)
    try:
        with bpf.loaded(LOST, "sd_devices") as program:
            bpf.attach(above, program, bpf.F_ALLOW_MULTI)
            try:
                done = run("repair", live.container.id)
            finally:
                bpf.detach(above, program)
    finally:
        os.close(above)

    assert done.returncode == 1
    assert f"of {os.path.dirname(live.folder)}: refuses its devices; it is not" in done.stdout
    assert live.opened() == [GRANTED, GRANTED]


@pytest.mark.parametrize("live", ["runc_v1"], indirect=True)
def test_group_above_that_lacks_a_rule(live: Live) -> None:
    """On cgroup v1 no group has a rule that the one above lacks."""
    above = Path(live.folder).parent
    (above / "devices.deny").write_text(RULES[0])
    try:
        done = run("repair", live.container.id)
    finally:
        # What is refused is refused in groups beside the container's, too, which allow all else.
        for group in (above, *filter(Path.is_dir, above.rglob("*"))):
            if (group / "devices.list").read_text().startswith("a "):
                (group / "devices.allow").write_text(RULES[0])

    assert done.returncode == 1
    assert f"{above}: cannot be changed: a group above refuses them; " in done.stdout
    assert run("repair", live.container.id).returncode == 0
    assert live.opened() == [GRANTED, GRANTED]


@pytest.mark.parametrize("live", ["runc_v1", "runc_v2"], indirect=True)
def test_process_in_a_group_inside_of_the_containers(live: Live) -> None:
    """As systemd in a container makes them; both belong to the container."""
    outer = Path(live.folder)
    inner = outer / "init.scope"
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(live.pid))
    try:
        Live(container=live.container, pid=live.pid, hierarchy=live.hierarchy, group=outer).lose()
        assert [one["name"] for one in things(live) if one["state"] != "ok"] == PATHS

        assert run("repair", live.container.id).returncode == 0
        assert [one for one in things(live) if one["state"] != "ok"] == []
    finally:
        for pid in (inner / "cgroup.procs").read_text().split():
            (outer / "cgroup.procs").write_text(pid)
        inner.rmdir()
    assert live.opened() == [GRANTED, GRANTED]


def test_container_has_no_part_in_what_it_is_granted(live: Live) -> None:
    """Another device by the name of one that it was given is not granted."""
    script = f"rm /dev/nvidia0; mknod /dev/nvidia0 c {MAJOR} 1"
    assert live.container.exec("sh", "-c", script).returncode == 0
    live.lose()

    assert run("repair", live.container.id).returncode == 0

    assert live.opened() == [REFUSED, GRANTED]
    (wrong,) = [one for one in things(live) if one["state"] != "ok"]
    assert (wrong["asked"], wrong["got"]) == (f"c {MAJOR}:0", f"c {MAJOR}:1")


def test_config_json_alone_grants_nothing(live: Live) -> None:
    """A bundle may be a user's; what it says has to be what the host has by this path."""
    said = json.loads(run("explain", live.container.id, "--json").stdout)
    file = Path(said["bundle"], "config.json")
    text = file.read_text()
    file.write_text(text.replace('"minor":0', '"minor":1'))
    assert file.read_text() != text

    (entry,) = check("output/repair", run("repair", live.container.id, "--json").stdout)

    assert [(one["rule"], one["state"]) for one in entry["rules"]] == [
        (f"c {MAJOR}:1 rwm", "failed")
    ]
    script = f"mknod /dev/other c {MAJOR} 1; (: <>/dev/other) 2>&1"
    assert live.container.exec("sh", "-c", script).stdout.strip().endswith(REFUSED)


@pytest.mark.parametrize("live", ["runc_v2"], indirect=True)
def test_all_go_on_after_an_error(live: Live, live_runc_v1: Bundles) -> None:
    """One whose program is not understood stays as it is; the other is repaired."""
    rows = [(0xBF, 0x16, 0, 0), (0x85, 0, 0, 5), (0xBF, 0x61, 0, 0)]  # it asks for the time
    live.lose(b"".join(device_program.INSTRUCTION.pack(*row) for row in rows) + LOST)
    other = live_runc_v1.start(gpus="0")
    another = Live(container=other, pid=other.pid, hierarchy=DEVICES)
    another.lose()

    done = run("repair", "--all", "--json")
    opened = another.opened()
    other.kill()
    other.remove()

    assert (done.returncode, opened) == (1, [GRANTED, GRANTED])
    assert live.opened() == [REFUSED, REFUSED]
    entries = {one["container"]: one for one in check("output/repair", done.stdout)}
    assert {one["state"] for one in entries[other.id]["rules"]} == {"restored"}
    (why,) = {one["why"] for one in entries[live.container.id]["rules"]}
    assert why.endswith("is not understood: instruction 1 is 0x85")


def test_container_that_does_not_run(live_runc_v1: Bundles) -> None:
    container = live_runc_v1.start(gpus="0")
    container.kill()

    one, every = run("repair", container.id), run("repair", "--all")

    container.remove()
    assert one.returncode == 1
    assert one.stderr.startswith(f"nvidia-ctk: container {container.id}: does not run\n")
    assert (every.returncode, every.stdout) == (0, "")
    assert every.stderr == "no container with a record runs\n"


@pytest.mark.parametrize("name", ["docker", "containerd", "podman"])
def test_engines(name: str, request: pytest.FixtureRequest) -> None:
    """Wherever they keep bundles and states, and however they name groups."""
    engine: Engine = request.getfixturevalue(f"live_{name}")
    container = engine.start(gpus="0")
    try:
        (now,) = [one for one in drift.of_running() if one.container == container.id]
        hierarchy = DEVICES if cgroups.usual() == "v1" else UNIFIED
        live = Live(container=container, pid=now.pid, hierarchy=hierarchy)
        # The program may not have begun, and its environment with it.
        wrong = [one for one in now.drifts if one.state not in ("ok", "unknown")]
        assert (wrong, now.doubt) == ([], "")
        live.lose()
        assert live.opened() == [REFUSED, REFUSED]

        (now,) = [one for one in drift.of_running() if one.container == container.id]
        assert [one.name for one in now.lost_rules()] == PATHS
        assert run("repair", container.id).returncode == 0
        assert live.opened() == [GRANTED, GRANTED]
    finally:
        engine.clean()


def test_unit_of_systemd(live_runc_v1: Bundles) -> None:
    """It will take them away again; the group is named as systemd's driver names it."""
    bundle = live_runc_v1.bundle(FOREVER, "0")
    file = bundle / "config.json"
    document = json.loads(file.read_text())
    unit = f"runc-{bundle.name}.scope"
    document["linux"]["cgroupsPath"] = f"/{live_runc_v1.group}/{unit}"
    file.write_text(json.dumps(document))
    words = live_runc_v1.words(live_runc_v1.runtime)
    assert live_runc_v1.create(bundle, words) == 0
    container = live_runc_v1.begin(bundle, words)
    try:
        live = Live(container=container, pid=container.pid, hierarchy=DEVICES)
        live.lose()
        done = run("repair", container.id)

        assert (done.returncode, live.opened()) == (0, [GRANTED, GRANTED])
        rules = " ".join(f"'DeviceAllow=/dev/char/{MAJOR}:{minor} rwm'" for minor in (0, 255))
        assert done.stderr.splitlines() == [
            f"warning: {container.id}: systemd does not know these rules, and takes them away again "
            f"at its next daemon-reload, unless: systemctl set-property --runtime {unit} {rules}",
            "hint: runc 1.1.7 or newer, or the engine's cgroup driver cgroupfs, keeps new containers "
            "from it",
        ]
    finally:
        container.kill()
        container.remove()
