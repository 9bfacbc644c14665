# SPDX-License-Identifier: Apache-2.0
"""NVIDIA_MIG_CONFIG_DEVICES and NVIDIA_MIG_MONITOR_DEVICES, in every mode but legacy."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import test_machine as machines
from .test_renew import GENERATE

CONFIG, MONITOR = "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"
NODES = {CONFIG: "/dev/nvidia-caps/nvidia-cap1", MONITOR: "/dev/nvidia-caps/nvidia-cap2"}
MODES = ("jit-cdi", "cdi", "csv")


def job(*env: str, privileged: bool = True) -> machines.Document:
    """Ask for all GPUs, and for these variables."""
    asked = machines.job("NVIDIA_VISIBLE_DEVICES=all", *env, shell=GENERATE)
    capabilities = ["CAP_SYS_ADMIN"] if privileged else ["CAP_KILL"]
    asked["spec"]["process"]["capabilities"] = {"bounding": capabilities}
    return asked


@pytest.mark.parametrize("mode", MODES)
def test_nodes_that_manage_mig_devices(mode: str, tmp_path: Path) -> None:
    jobs = [
        job(),
        job(f"{CONFIG}=all"),
        job(f"{CONFIG}=all", f"{MONITOR}=all"),
        job(f"{MONITOR}=all", privileged=False),
        job(f"{MONITOR}=", privileged=False),
    ]

    ends = machines.create("a100x8mig", tmp_path, *jobs, settings=f'mode = "{mode}"\n')

    given = [[node for node in NODES.values() if node in machines.paths(end)] for end in ends]
    assert given == [[], [NODES[CONFIG]], list(NODES.values()), [], []]
    assert [end["code"] for end in ends] == [0, 0, 0, 1, 0]
    assert ends[3]["err"] == (
        f"nvidia-container-runtime: cannot set {MONITOR} in a container that is not privileged\n"
        f"hint: add CAP_SYS_ADMIN, or take {MONITOR} out\n"
    )


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("t4x1", "rm /proc/driver/nvidia-caps/mig-minors", "the driver offers no MIG"),
        ("a100x8", f"rm {NODES[CONFIG]}", f"{NODES[CONFIG]} is missing"),
    ],
)
def test_machine_without_the_node(name: str, change: str, why: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = {**job(f"{CONFIG}=all"), "shell": change}

    (end,) = machines.create(name, tmp_path, asked, settings=f'debug = "{log}"\n')

    assert (end["code"], end["err"]) == (0, "")
    assert f"the container sets {CONFIG} in vain: {why}" in log.read_text()
