# SPDX-License-Identifier: Apache-2.0
"""How engines are called."""

from __future__ import annotations

from benchmarks import engines
from engines import rootfs


def test_a_container_by_runtime_and_by_what_it_asks_for() -> None:
    named = {"runc": ("docker", "run"), "ours": ("docker", "run", "--runtime", "ours")}

    cases = engines.cases("docker", named, ("--rm",), {})

    assert [(case.name, case.over, case.words) for case, _ in cases] == [
        ("docker run, with runc alone", "", ("docker", "run", "--rm", rootfs.IMAGE, "true")),
        (
            "docker run, with ours, no GPU asked for",
            "docker run, with runc alone",
            ("docker", "run", "--runtime", "ours", "--rm", rootfs.IMAGE, "true"),
        ),
        (
            "docker run, with ours, 8 GPUs",
            "docker run, with runc alone",
            ("docker", "run", "--runtime", "ours", "--rm", "--env", "NVIDIA_VISIBLE_DEVICES=all")
            + (rootfs.IMAGE, "true"),
        ),
    ]
