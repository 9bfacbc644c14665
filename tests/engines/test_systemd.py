# SPDX-License-Identifier: Apache-2.0
"""What users meet: runc with systemd's cgroup driver, and ``systemctl daemon-reload``.

systemd is process 1 of a machine of its own, runc and our runtime are the real ones; a node without
a driver answers ENXIO to who may open it, and EPERM else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import booted
import pytest
import shim
from booted import Booted
from cli.test_json import check

from . import bundles
from .bundles import spec
from .engine import FOREVER
from .installed import require
from .test_devices import GRANTED, REFUSED

ID = "c0ffee00"
UNIT = f"docker-{ID}.scope"
ROOT = """
set -e
mkdir -p /c/rootfs/bin
cp "$(command -v busybox)" /c/rootfs/bin/busybox
for applet in sh sleep touch; do ln -s busybox /c/rootfs/bin/$applet; done
"""
OPEN = "for node in /dev/nvidia0 /dev/nvidiactl; do (: <>$node) 2>&1; done"
NAMES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.linux import bpf
group = os.open(f"/sys/fs/cgroup/system.slice/{sys.argv[2]}", os.O_RDONLY)
print(*(repr(bpf.read(number).name) for number in bpf.query(group)[0]))
"""
# It has no streams of ours, which would be kept open.
CREATE = """
"$1" --systemd-cgroup create --bundle /c "$2" </dev/null >/c/said 2>&1 || { cat /c/said; exit 1; }
exec runc start "$2"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    """Boot a machine with a GPU and a container that has it."""
    for program in ("runc", "busybox", "dbus-daemon"):
        require(program)
    with booted.machine("t4x1") as machine:
        machine.succeed("systemctl", "start", "dbus")
        machine.succeed("sh", "-c", ROOT)
        document = spec(FOREVER, gpus="all", group="")
        document["linux"]["cgroupsPath"] = f"system.slice:docker:{ID}"
        document["mounts"] = bundles.MOUNTS
        machine.write("/c/config.json", json.dumps(document))
        launcher = str(shim.BIN / "nvidia-container-runtime")
        machine.succeed("sh", "-c", CREATE, "sh", launcher, ID)
        yield machine


def opened(machine: Booted) -> list[str]:
    """Open the GPU's nodes in the container; return what the kernel says."""
    said = machine.run("runc", "exec", ID, "sh", "-c", OPEN).stdout
    return [line.rpartition(": ")[2] for line in said.splitlines()]


def lost(machine: Booted) -> list[dict[str, Any]]:
    """Return what explain says that the container has not."""
    document = check("output/explain", machine.succeed(booted.PROGRAM, "explain", ID, "--json"))
    return [one for one in document["now"]["things"] if one["state"] != "ok"]


def programs(machine: Booted) -> list[str]:
    """Return the names of the programs of the container's group: runc's has none."""
    return machine.succeed(sys.executable, "-c", NAMES, str(shim.TREE), UNIT).split()


def test_daemon_reload_takes_rules_away_and_repair_gives_them_back(machine: Booted) -> None:
    """Each time anew, until systemd is told of them."""
    assert (opened(machine), lost(machine)) == ([GRANTED, GRANTED], [])
    for _ in range(3):
        machine.succeed("systemctl", "daemon-reload")
        if opened(machine) == [GRANTED, GRANTED]:
            pytest.skip("this runc tells systemd of all devices")
        assert opened(machine) == [REFUSED, REFUSED]
        rules = {one["name"] for one in lost(machine) if one["kind"] == "rule"}
        assert rules >= {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"}

        (done,) = check("output/repair", machine.succeed(booted.PROGRAM, "repair", ID, "--json"))
        assert {one["name"] for one in done["rules"] if one["state"] == "restored"} == rules
        assert done["unit"] == UNIT
        assert (opened(machine), lost(machine)) == ([GRANTED, GRANTED], [])

    machine.succeed("sh", "-c", done["keep"])
    machine.succeed("systemctl", "daemon-reload")

    assert (opened(machine), lost(machine)) == ([GRANTED, GRANTED], [])
    # Ours came in the place of systemd's, and would keep back what an administrator allows later.
    assert programs(machine) == ["''", "'nv_sd_devices'", "'sd_devices'"]
    machine.succeed(booted.PROGRAM, "repair", ID)
    assert programs(machine) == ["''", "'sd_devices'"]
    assert (opened(machine), lost(machine)) == ([GRANTED, GRANTED], [])
