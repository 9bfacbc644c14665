# SPDX-License-Identifier: Apache-2.0
"""CDI specs in /etc/cdi that no longer fit the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import shim

from . import test_machine as machines

CTK = (
    f"PYTHONPATH={shim.TREE} {sys.executable} -c"
    " 'from nvidia_runtime.cli import main; main()' --quiet"
)
FILE = "/etc/cdi/nvidia.yaml"
GENERATE = f"{CTK} cdi generate --output={FILE} && {machines.SETTLE}"
ALL = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=all"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ngx.so.580.95.05"
MISFITS = {
    "library-gone": (
        f"rm {LIBRARY}",
        f"asks for {LIBRARY}, which does not exist on this host",
    ),
    "another-driver": (
        "echo 999.1 > /sys/module/nvidia/version",
        "is for driver 580.95.05, but 999.1 is loaded",
    ),
    "node-gone": (
        "rm /dev/nvidia-uvm-tools",
        "asks for /dev/nvidia-uvm-tools, which does not exist on this host",
    ),
}


@pytest.mark.parametrize("change", ["library-gone", "node-gone"])
def test_spec_of_ours_is_written_anew(change: str, tmp_path: Path) -> None:
    command, reason = MISFITS[change]
    log = tmp_path / "log"
    settings = f'debug = "{log}"\n'
    jobs = [
        machines.job(ALL, shell=GENERATE),
        machines.job(ALL, shell=f"{command}; {machines.SETTLE}"),
        machines.job(ALL, shell=f"grep -c nvidia-ngx.so {FILE} > {tmp_path}/count || true"),
    ]

    ends = machines.create("a100x8", tmp_path, *jobs, settings=settings)

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * 3
    assert f"the CDI spec {FILE} {reason}; wrote it anew" in log.read_text()
    sources = [mount["source"] for mount in ends[1]["spec"]["mounts"]]
    assert (LIBRARY in sources) == (change != "library-gone")
    assert ends[2]["spec"] == ends[1]["spec"]


@pytest.mark.parametrize("change", ["library-gone", "node-gone"])
def test_spec_of_somebody_else_is_named(change: str, tmp_path: Path) -> None:
    """One that was edited by hand is the editor's."""
    command, reason = MISFITS[change]
    jobs = [
        machines.job(ALL, shell=f"{GENERATE} && echo '# mine' >> {FILE}"),
        machines.job(ALL, shell=command),
    ]

    before, after = machines.create("a100x8", tmp_path, *jobs)

    assert (before["code"], after["code"]) == (0, 1)
    assert after["err"] == (
        f"nvidia-container-runtime: {FILE}: the CDI spec {reason}\n"
        "hint: if 'nvidia-ctk cdi generate' wrote it, generate it anew:"
        f" nvidia-ctk cdi generate --output={FILE}\n"
    )
    assert after["spec"] == jobs[1]["spec"]


# Kinds of other writers' specs, and whom the hint sends to.
WRITERS = {
    "k8s.gpu.nvidia.com/claim": "restart the DRA driver on this node, or delete the pod",
    "k8s.compute-domain.nvidia.com/claim": "restart the DRA driver on this node, or delete the pod",
    "k8s.device-plugin.nvidia.com/gpu": "restart NVIDIA's device plugin on this node",
    "example.com/card": "whoever wrote it for example.com/card has to write it anew",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_hint_writes_over_no_spec_of_other_writers(kind: str, tmp_path: Path) -> None:
    """A claim of a DRA driver that names another driver's libraries."""
    file = "/var/run/cdi/claim.yaml"
    text = f"""cdiVersion: 0.5.0
kind: {kind}
devices: [{{name: a, containerEdits: {{deviceNodes: [{{path: /dev/nvidia0}}]}}}}]
containerEdits: {{mounts: [{{hostPath: /lib/libcuda.so.570.10.01, containerPath: /x}}]}}
"""
    write = f"mkdir -p /var/run/cdi; cat > {file} <<'END'\n{text}END\n"

    (end,) = machines.create(
        "t4x1", tmp_path, machines.job(f"NVIDIA_VISIBLE_DEVICES={kind}=a", shell=write)
    )

    assert (end["code"], end["err"]) == (
        1,
        f"nvidia-container-runtime: {file}: the CDI spec is for driver 570.10.01, but 580.95.05 is"
        f" loaded\nhint: {WRITERS[kind]}\n",
    )


def test_device_that_a_spec_of_ours_lacks_is_found(tmp_path: Path) -> None:
    """A GPU that was not there when the spec was made."""
    hidden = "/proc/driver/nvidia/gpus/0000:bd:00.0"
    jobs = [
        machines.job(
            "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0",
            shell=f"mv {hidden} /opt/away; {GENERATE}; mv /opt/away {hidden}",
        ),
        machines.job("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=7"),
    ]

    ends = machines.create("a100x8", tmp_path, *jobs)

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * 2
    assert "/dev/nvidia5" in machines.paths(ends[1])


def test_regenerated_file_has_the_same_options(tmp_path: Path) -> None:
    asked = "NVIDIA_VISIBLE_DEVICES=example.com/card=gpu1"
    generate = f"{CTK} cdi generate --vendor=example.com --class=card"
    generate += f" --device-name-strategy=type-index --output={FILE}"
    jobs = [
        machines.job(asked, shell=f"{generate}; {machines.SETTLE}"),
        machines.job(asked, shell=f"{MISFITS['library-gone'][0]}; {machines.SETTLE}"),
    ]

    ends = machines.create("a100x8", tmp_path, *jobs)

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * 2
    assert LIBRARY not in [mount["source"] for mount in ends[1]["spec"]["mounts"]]


def test_unknown_device_does_not_write_a_spec_again(tmp_path: Path) -> None:
    look = f"stat -c %i {FILE} >> {tmp_path}/inodes"
    unknown = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=99"
    jobs = [
        machines.job(ALL, shell=GENERATE),
        machines.job(unknown, shell=look),
        machines.job(ALL, shell=look),
    ]

    ends = machines.create("h100x8", tmp_path, *jobs)

    assert [end["code"] for end in ends] == [0, 1, 0]
    before, after = (tmp_path / "inodes").read_text().split()
    assert before == after


def test_two_specs_of_ours_are_written_anew(tmp_path: Path) -> None:
    other = f"{CTK} cdi generate --vendor=example.com --output=/etc/cdi/other.yaml"
    asked = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0,example.com/gpu=1"
    jobs = [
        machines.job(asked, shell=f"{other}; {GENERATE}"),
        machines.job(asked, shell=f"{MISFITS['library-gone'][0]}; {machines.SETTLE}"),
    ]

    ends = machines.create("a100x8", tmp_path, *jobs)

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * 2
    assert LIBRARY not in [mount["source"] for mount in ends[1]["spec"]["mounts"]]


NOTES = "/var/lib/nvidia-container-runtime/generated.json"
# What others could have written says nothing about which files are ours.
UNTRUSTED = {
    "others-may-write": f"chmod 666 {NOTES}",
    "of-somebody-else": f"chown 4321 {NOTES}",
    "no-object": f"echo '[]' > {NOTES}",
    "no-entry": f"echo '{{\"{FILE}\": 3}}' > {NOTES}",
}


@pytest.mark.parametrize("case", UNTRUSTED, ids=str)
def test_notes_that_others_may_write_are_not_read(case: str, tmp_path: Path) -> None:
    command, reason = MISFITS["library-gone"]
    jobs = [
        machines.job(ALL, shell=f"umask 0; {GENERATE}; stat -c %a {NOTES} > {tmp_path}/mode"),
        machines.job(ALL, shell=f"{UNTRUSTED[case]}; {command}"),
    ]

    _, after = machines.create("a100x8", tmp_path, *jobs)

    assert (tmp_path / "mode").read_text() == "644\n"
    assert (after["code"], f"the CDI spec {reason}" in after["err"]) == (1, True)
    assert "Traceback" not in after["err"]


def test_what_is_known_can_be_shown_and_dropped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    show = (
        f"{CTK} snapshot show >> {out}; {CTK} snapshot drop >> {out}; {CTK} snapshot show >> {out}"
    )
    jobs = [machines.FIRST, machines.FIRST, {**machines.FIRST, "shell": show}]

    machines.create("t4x1", tmp_path, *jobs)

    lines = [line for line in out.read_text().splitlines() if "machine" in line]
    state = f"(mode auto, {tmp_path}/config.toml): fresh"
    uuid = "GPU-de566282-43e0-59b1-bccd-b3623a2d0f99"
    assert lines[0] == f"machine       0, {uuid}, all, none {state}"
    assert lines[1].startswith("removed /run/nvidia-container-runtime/machine-")
    assert len(lines) == 2
