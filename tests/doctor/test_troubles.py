# SPDX-License-Identifier: Apache-2.0
"""The page of the commonest troubles says what doctor prints: each fault is made, then compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.cli.manual import troubles
from nvidia_runtime.cli.manual.trouble_table import TROUBLES, Find
from nvidia_runtime.doctor import examination

from . import stand_ins, test_containers, test_devices, test_specs, test_system
from .patient import examine
from .stand_ins import info

# What differs from one machine to the next.
EXAMPLES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "2026-11-30 20:50"),
    (r"(?<=process )\d+|(?<=pid )\d+|(?<=/proc/)\d+", "4711"),
)
GENERATE = "nvidia-ctk cdi generate {} --output=/etc/cdi/nvidia.yaml 2>/dev/null"
NARROW = test_system.NARROW.format(0, 0)
CONTAINERD_1 = stand_ins.toml(stand_ins.V1, version=1)

# By code: the engines of a machine, and what is done there.
FAULTS: dict[str, tuple[str, str]] = {
    "NCT-0701": (stand_ins.docker(), test_containers.running() + test_containers.LOST),
    "NCT-0420": (stand_ins.docker(file={}, answer=info(Runtimes={"runc": {"path": "runc"}})), ""),
    "NCT-0621": (
        stand_ins.podman(),
        test_system.SELINUX + test_system.audited(test_system.OPEN) + NARROW,
    ),
    "NCT-0626": (stand_ins.docker(), test_system.logged(test_system.KILLED)),
    "NCT-0711": (stand_ins.docker(), test_containers.ignored(test_containers.SCOPE)),
    "NCT-0414": (
        stand_ins.containerd(file="version = 2\n"),
        "sleep 0.1; nvidia-ctk runtime configure --runtime=containerd >/dev/null",
    ),
    "NCT-0422": (stand_ins.containerd(file=CONTAINERD_1, version="2.1.3"), ""),
    "NCT-0303": (stand_ins.podman(), ""),
    "NCT-0301": (
        stand_ins.podman(),
        test_specs.write("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: 0\n"),
    ),
    "NCT-0121": (stand_ins.docker(), ""),
    "NCT-0703": (
        stand_ins.docker(),
        test_containers.running(mounts={test_containers.OLD_CUDA: test_containers.CUDA}),
    ),
    "NCT-0211": (
        stand_ins.podman(),
        f"chgrp 44 /dev/nvidia*; chmod 660 /dev/nvidia*; {test_devices.ALICE}",
    ),
    "NCT-0316": (stand_ins.podman(version="4.9.3"), GENERATE.format("--spec-version=content")),
    "NCT-0311": (
        stand_ins.podman(),
        GENERATE.format("") + "; sed -i 's/580[.]95[.]05/570.86.15/g' /etc/cdi/nvidia.yaml",
    ),
}
OPTIONS: dict[str, dict[str, Any]] = {"NCT-0121": {"mismatch": True}}
FINDS = [find for trouble in TROUBLES for find in trouble.finds]


def example(text: str) -> str:
    """Return a text with the page's examples in the place of what differs."""
    for pattern, replacement in EXAMPLES:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize("find", FINDS, ids=lambda find: find.code)
def test_doctor_prints_what_the_page_says(find: Find) -> None:
    if find.code == "NCT-0701" and not Path("/sys/fs/cgroup/devices").is_dir():
        pytest.skip("no cgroup v1 here")
    engine, fault = FAULTS[find.code]
    machine = stand_ins.machine(engine)

    answer = examine(
        "t4x1",
        f"{machine}\n{fault}",
        env={"PATH": stand_ins.PATH},
        **OPTIONS.get(find.code, {}),
    )

    finding = answer.finding(find.code)
    printed = {name: example(finding[name]) for name in ("what", "where", "next")}
    assert printed == {"what": find.what, "where": find.where, "next": find.command}
    assert finding["severity"] == (find.severity or examination.codes()[find.code].severity)


def test_every_code_of_the_page_is_one() -> None:
    assert set(re.findall(r"NCT-\d{4}", troubles.page())) <= set(examination.codes())


def test_every_find_has_its_fault() -> None:
    assert [find.code for find in FINDS] == list(FAULTS)


def test_the_commonest_are_there() -> None:
    """The messages that users search for, as engines print them."""
    text = "\n".join(message for trouble in TROUBLES for message in trouble.messages)

    for message in (
        "Failed to initialize NVML: Unknown Error",
        'could not select device driver "" with capabilities: [[gpu]]',
        "Insufficient Permissions",
        "unresolvable CDI devices nvidia.com/gpu=all",
        "Driver/library version mismatch",
        'unknown field "additionalGids"',
        'no runtime for "nvidia" is configured',
    ):
        assert message in text
