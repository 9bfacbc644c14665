# SPDX-License-Identifier: Apache-2.0
"""What doctor says of containers that run: a process with a root of its own, a record, a state.

Real containers that lose their rules are in tests/engines/test_doctor_containers.py.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
import simulated

from nvidia_runtime.doctor import containers
from nvidia_runtime.doctor.finding import NOTE

from .patient import examine

STATE = "/run/nvidia-container-runtime/containers"
CUDA = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
OLD_CUDA = "/run/old/libcuda.so.570.86.15"
CONTROL, GPU, UVM = "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm"
NUMBERS = {CONTROL: (195, 255), GPU: (195, 0)}
ID = "0123456789abcdef" * 4
# A root of its own, as far as /dev goes.
DEV = "mount -t tmpfs tmpfs /dev"
PODMAN = {"io.container.manager": "libpod", "name": "web-1"}


def nodes(numbers: dict[str, tuple[int, int]]) -> str:
    """Return the shell lines that make nodes."""
    return "".join(f"; mknod {path} c {pair[0]} {pair[1]}" for path, pair in numbers.items())


def started(inside: str, env: str = "") -> str:
    """Return the shell lines that start a process, which ends with us; $! is its id then."""
    # It is what it shall be when it has put a file there.
    script = f"{inside}; touch /run/ready; exec sleep 100"
    return (
        f"{env} setpriv --pdeathsig KILL unshare --mount sh -euc {shlex.quote(script)} &\n"
        "until test -e /run/ready; do sleep 0.01; done\n"
    )


def running(
    inside: str = "",
    given: dict[str, tuple[int, int]] | None = None,
    mounts: dict[str, str] | None = None,
    names: dict[str, str] | None = None,
    warnings: list[str] | None = None,
) -> str:
    """Return the shell lines that make a container with a record.

    ``inside`` is what happens in it, ``given`` are its nodes and ``mounts`` its files by their
    sources, as its record and its config.json have them.
    """
    given = NUMBERS if given is None else given
    edits = {
        "devices": [{"path": path, "type": "c"} for path in given],
        "mounts": [{"source": one, "destination": two} for one, two in (mounts or {}).items()],
    }
    record = {
        "container": ID,
        "bundle": "/run/bundle",
        "root": "/run/states",
        "labels": PODMAN if names is None else names,
        "requested": ["nvidia.com/gpu=0"],
        "warnings": warnings or [],
        "injected": [{"device": "nvidia.com/gpu=0", "from": {"generator": "x"}, "edits": edits}],
    }
    devices = [
        {"path": path, "type": "c", "major": pair[0], "minor": pair[1]}
        for path, pair in given.items()
    ]
    rules = [
        {"allow": True, "type": "c", "major": pair[0], "minor": pair[1], "access": "rwm"}
        for pair in given.values()
    ]
    spec = {
        "ociVersion": "1.0.2",
        "root": {"path": "/"},
        "process": {"args": ["sleep"]},
        "linux": {"devices": devices, "resources": {"devices": rules}},
    }
    binds = "".join(f"; mount --bind {one} {two}" for one, two in (mounts or {}).items())
    return (
        f"mkdir -p {STATE} /run/bundle /run/states/{ID} /run/old; chmod 755 {STATE}/..\n"
        f"touch {OLD_CUDA}; chmod 700 {STATE}\n"
        f"echo {shlex.quote(json.dumps(record))} >{STATE}/{ID}.json\n"
        f"echo {shlex.quote(json.dumps(spec))} >/run/bundle/config.json\n"
        f"{started(f'{DEV}{nodes(given)}{binds}{inside}')}"
        "start=$(sed 's/.*) //' /proc/$!/stat | cut -d' ' -f20)\n"
        'echo "{\\"init_process_pid\\": $!, \\"init_process_start\\": $start}" '
        f">/run/states/{ID}/state.json\n"
    )


def ignored(group: str, value: str = "all", inside: str = DEV) -> str:
    """Return the shell lines that make a container without a record, whose image asks for GPUs."""
    return (
        f"{started(inside, f'NVIDIA_VISIBLE_DEVICES={value}')}"
        f"echo '0::{group}' >/dev/group; mount --bind /dev/group /proc/$!/cgroup\n"
    )


def failed() -> str:
    """Return the shell lines that make the record of a create that failed."""
    record = {"container": ID, "bundle": "/run/bundle", "failure": {"error": "no such device"}}
    return (
        f"mkdir -p {STATE} {STATE}/../failed; chmod 755 {STATE}/..\n"
        f"echo {shlex.quote(json.dumps(record))} >{STATE}/../failed/{ID}.json\n"
    )


# Another group in the place of the real one, which has lost all but /dev/null.
LOST = f"""
mount -t tmpfs tmpfs /sys/fs/cgroup/devices; mkdir /sys/fs/cgroup/devices/{ID}
echo 'c 1:3 rwm' >/sys/fs/cgroup/devices/{ID}/devices.list
echo '5:devices:/{ID}' >/dev/group; mount --bind /dev/group /proc/$!/cgroup
"""
LOADED = (
    "rm /dev/kmsg; read up _ </proc/uptime\n"
    'echo "6,1,$((${up%.*} + 5))000000,-;nvidia-uvm: Loaded the UVM driver, major device number 511."'
    " >/dev/kmsg\n"
)
SCOPE = f"/system.slice/docker-{ID}.scope"

FAULTS = [
    pytest.param(
        running() + LOST,
        "NCT-0701",
        "web-1: 2 of its device rules are gone (c 195:0 rwm, c 195:255 rwm)",
        "nvidia-ctk repair web-1",
        id="lost rules",
        marks=pytest.mark.skipif(
            not Path("/sys/fs/cgroup/devices").is_dir(), reason="no cgroup v1 here"
        ),
    ),
    pytest.param(
        running(given={**NUMBERS, UVM: (400, 0)}),
        "NCT-0702",
        "web-1: its /dev/nvidia-uvm is c 400:0, but /dev/nvidia-uvm is c 511:0 on the host now",
        "podman restart web-1",
        id="other numbers",
    ),
    pytest.param(
        running(mounts={OLD_CUDA: CUDA}),
        "NCT-0703",
        "web-1: it has libraries of driver 570.86.15, and 580.95.05 is loaded",
        "podman restart web-1",
        id="another driver",
    ),
    pytest.param(
        running(given={**NUMBERS, UVM: (511, 0)}) + LOADED,
        "NCT-0704",
        "web-1: nvidia-uvm was loaded on ",
        "podman restart web-1",
        id="nvidia-uvm was loaded anew",
    ),
    pytest.param(
        running() + f"rm {GPU}",
        "NCT-0705",
        "web-1: there is no /dev/nvidia0 any more",
        "podman restart web-1",
        id="a GPU that is gone",
    ),
    pytest.param(
        running(warnings=["/etc/nvidia is read-only", "another"]),
        "NCT-0708",
        f"{ID[:12]}: /etc/nvidia is read-only (and 1 more)",
        f"nvidia-ctk explain {ID[:12]}",
        id="a warning: U4, U7, U10",
    ),
    pytest.param(
        running(f"; rm {GPU}"),
        "NCT-0706",
        "web-1: /dev/nvidia0 is gone in it",
        "nvidia-ctk explain web-1",
        id="a node that was removed",
    ),
    pytest.param(
        running(f"; rm {GPU}; mknod {GPU} c 1 3"),
        "NCT-0706",
        "web-1: /dev/nvidia0 is c 1:3 in it, not c 195:0",
        "nvidia-ctk explain web-1",
        id="a node that was replaced",
    ),
    pytest.param(
        running(f"; umount {CUDA}", mounts={CUDA: CUDA}),
        "NCT-0706",
        f"web-1: {CUDA} is gone in it",
        "nvidia-ctk explain web-1",
        id="a library that was unmounted",
    ),
    pytest.param(
        f"{failed()}touch -d '2 days ago' {STATE}/../failed/other.json",
        "NCT-0707",
        "0123456789ab: no such device",
        "nvidia-ctk explain 0123456789ab",
        id="a create that failed",
    ),
    pytest.param(
        ignored(SCOPE),
        "NCT-0711",
        "0123456789ab has NVIDIA_VISIBLE_DEVICES=all, and no node of the driver",
        "nvidia-ctk runtime status",
        id="another runtime",
    ),
    pytest.param(
        f"mkdir -p /var/lib/docker/containers/{ID}\n"
        f'echo \'{{"Name": "/web"}}\' >/var/lib/docker/containers/{ID}/config.v2.json\n'
        + ignored(f"/docker/{ID}", value="0,1"),
        "NCT-0711",
        "web has NVIDIA_VISIBLE_DEVICES=0,1",
        "nvidia-ctk runtime status",
        id="another runtime of docker",
    ),
]


@pytest.mark.parametrize(("fault", "code", "what", "command"), FAULTS)
def test_fault_is_found(fault: str, code: str, what: str, command: str) -> None:
    answer = examine("t4x1", fault)

    assert answer.codes("NCT-07") == [code]
    finding = answer.finding(code)
    assert what in finding["what"]
    assert finding["next"] == command
    assert finding["where"]


HEALTHY = [
    pytest.param(running(mounts={CUDA: CUDA}), id="a container with all it was given"),
    pytest.param(running() + "kill $!; wait $! || true", id="a container that has ended"),
    pytest.param(f"{failed()}sleep 0.01; {running()}", id="a create that failed and then worked"),
    pytest.param(failed() + f"echo x >{STATE}/../failed/{ID}.json", id="a failure that is none"),
    pytest.param(ignored(SCOPE, value="void"), id="a container that asks for nothing"),
    pytest.param(ignored(SCOPE, inside=":"), id="a container that got nodes in another way"),
    pytest.param(ignored("/user.slice"), id="a process that is in no container"),
    pytest.param(ignored(f"/machine.slice/libpod-conmon-{ID}.scope"), id="podman's monitor"),
    pytest.param(
        f"mkdir -p {STATE}; chmod 755 {STATE}/..; echo nonsense >{STATE}/a.json; mkfifo {STATE}/.b",
        id="a record that is none",
    ),
]


@pytest.mark.parametrize("fault", HEALTHY)
def test_healthy_container_is_silent(fault: str) -> None:
    answer = examine("t4x1", fault)

    assert answer.codes("NCT-07") == []
    assert answer.codes("NCT-00") == []


def test_pod_without_a_gpu_is_a_note() -> None:
    group = f"/kubepods.slice/kubepods-besteffort.slice/cri-containerd-{ID}.scope"

    assert examine("t4x1", ignored(group)).finding("NCT-0711")["severity"] == NOTE


def test_name_that_a_shell_would_obey_is_not_repeated() -> None:
    answer = examine("t4x1", running(f"; rm {GPU}", names={"nerdctl/name": "x; reboot"}))

    assert answer.finding("NCT-0706")["next"] == f"nvidia-ctk explain {ID[:12]}"


@pytest.mark.parametrize(
    ("names", "command"),
    [
        ({"nerdctl/name": "web"}, "nerdctl restart web"),
        ({"io.kubernetes.cri.sandbox-name": "pod"}, f"crictl stop {ID[:12]}"),
        ({}, "nvidia-ctk explain"),
    ],
)
def test_how_it_is_started_again(names: dict[str, str], command: str) -> None:
    answer = examine("t4x1", running(mounts={OLD_CUDA: CUDA}, names=names))

    assert answer.finding("NCT-0703")["next"].startswith(command)


@pytest.mark.parametrize("machine", simulated.names())
def test_healthy_machine_is_silent(machine: str) -> None:
    assert examine(machine).codes("NCT-07") == []


def test_every_code_has_a_fault() -> None:
    assert {code.id for code in containers.CODES} == {str(case.values[1]) for case in FAULTS}


def test_not_root() -> None:
    answer = examine("t4x1", 'exec setpriv --reuid 65534 --clear-groups "$@"')

    assert "containers" in {one["area"] for one in answer.document["skipped"]}
    assert os.geteuid() == 0
