# SPDX-License-Identifier: Apache-2.0
"""What doctor says of device nodes, and of what GPUs say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
import simulated

from nvidia_runtime.doctor import devices
from nvidia_runtime.doctor.devices import gpus as devices_gpus
from nvidia_runtime.doctor.devices import mig as devices_mig
from nvidia_runtime.doctor.devices import nodes as devices_nodes
from nvidia_runtime.doctor.devices import soc, users
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code
from nvidia_runtime.host import processes

from .patient import AS_USER, after, done, examine

GPUS = "/proc/driver/nvidia/gpus"
CAPS = "/dev/nvidia-caps"
CHANNELS = "/dev/nvidia-caps-imex-channels"
LISTS = "/etc/nvidia-container-runtime/host-files-for-container.d"
LIB = "/usr/lib/x86_64-linux-gnu"
# Whatever the host has.
SYSTEMD = "mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; mkdir /run/systemd/system"
OLD_RUNC = """
printf '#!/bin/sh\\necho runc version 1.1.4\\n' > /usr/bin/runc; chmod +x /usr/bin/runc
"""
NO_USERS = "echo > /etc/subuid"
ALICE = "useradd -u 4711 alice 2>/dev/null; echo alice:100000:65536 > /etc/subuid"

ON_THE_HOST = pytest.mark.skipif(not processes.sees_all(), reason="in a container")


# Machine, what is done to it, code, severity, words of the sentence.
MENDED = [
    pytest.param(
        "t4x1",
        "rm /dev/nvidiactl /dev/nvidia-uvm-tools",
        devices_nodes.CONTROL_MISSING,
        ERROR,
        "/dev/nvidiactl, /dev/nvidia-uvm-tools",
        id="control nodes",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/nvidia-uvm-tools",
        devices_nodes.CONTROL_MISSING,
        WARNING,
        "/dev/nvidia-uvm-tools",
        id="a node for tools",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/nvidia-modeset",
        devices_nodes.CONTROL_MISSING,
        NOTE,
        "/dev/nvidia-modeset",
        id="a node for displays",
    ),
    pytest.param(
        "a100x8",
        "rm /dev/nvidia3 /dev/nvidia7",
        devices_nodes.GPU_NODE_MISSING,
        ERROR,
        "nvidia3 (0000:0f:00.0)",
        id="two GPUs' nodes",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/nvidia-uvm; mknod /dev/nvidia-uvm c 499 0",
        devices_nodes.WRONG_NUMBERS,
        ERROR,
        "is device 499:0, the driver's is 511:0",
        id="major of yesterday",
    ),
    pytest.param(
        "a100x8",
        "rm /dev/nvidia3; mknod /dev/nvidia3 c 195 4",
        devices_nodes.WRONG_NUMBERS,
        ERROR,
        "is device 195:4, the driver's is 195:3",
        id="another GPU's minor",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/nvidia0; mkdir /dev/nvidia0",
        devices_nodes.NOT_A_NODE,
        ERROR,
        "/dev/nvidia0 is no character device",
        id="folder of docker -v",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/nvidiactl; echo > /dev/nvidiactl",
        devices_nodes.NOT_A_NODE,
        ERROR,
        "is no character device",
        id="plain file",
    ),
    pytest.param(
        "t4x1",
        "rm /dev/dri/renderD128",
        devices_nodes.DRM_MISSING,
        WARNING,
        "/dev/dri/renderD128",
        id="render node",
    ),
    pytest.param(
        "t4x1", "rm -r /dev/dri", devices_nodes.DRM_MISSING, NOTE, "/dev/dri/card1", id="no DRM"
    ),
    pytest.param(
        "a100x8mig",
        f"rm {CAPS}/nvidia-cap33[0-9]",
        devices_mig.CAP_MISSING,
        ERROR,
        "nvidia-cap33",
        id="capabilities of MIG devices",
        marks=ON_THE_HOST,
    ),
    pytest.param(
        "a100x8mig56",
        f"rm -r {CAPS}; mkdir {CAPS}; mknod -m 400 {CAPS}/nvidia-cap1 c 237 1; "
        f"mknod -m 444 {CAPS}/nvidia-cap2 c 237 2",
        devices_mig.CAP_MISSING,
        ERROR,
        "112 of 112 are missing",
        id="capabilities of 56 MIG devices",
        marks=ON_THE_HOST,
    ),
    pytest.param(
        "a100x8mig",
        f"cd {CAPS}; for n in 336 337; do rm nvidia-cap$n; mknod nvidia-cap$n c 99 $n; done",
        devices_nodes.WRONG_NUMBERS,
        ERROR,
        "nvidia-cap336 is device 99:336, the driver's is 237:336; as wrong are /dev/nvidia-caps/",
        id="major of MIG devices",
    ),
    pytest.param(
        "h100x8",
        f"rm {CHANNELS}/channel0; echo 'CreateImexChannel0: 1' >> /proc/driver/nvidia/params",
        devices_mig.CHANNEL_MISSING,
        WARNING,
        "CreateImexChannel0 is 1",
        id="IMEX channel",
    ),
    pytest.param(
        "gb200x4",
        f"rm {CHANNELS}/channel0; mknod {CHANNELS}/channel0 c 99 0",
        devices_nodes.WRONG_NUMBERS,
        ERROR,
        "is device 99:0, the driver's is 234:0",
        id="major of IMEX channels",
    ),
    pytest.param(
        "t4x1",
        f"{SYSTEMD}\nrm /dev/char/195:*{OLD_RUNC}",
        users.LINKS_MISSING,
        WARNING,
        "which runc 1.1.4 needs",
        id="links for systemd",
    ),
    pytest.param(
        "t4x1",
        f"{SYSTEMD}\nln -snf ../null /dev/char/195:0; ln -snf ../nvidia9 /dev/char/195:255",
        users.LINKS_WRONG,
        WARNING,
        "/dev/char/195:255, /dev/char/195:0",
        id="links of yesterday",
    ),
    pytest.param(
        "t4x1",
        f"chgrp 44 /dev/nvidia*; chmod 660 /dev/nvidia*; {ALICE}",
        users.NO_ACCESS,
        WARNING,
        "mode 0660 and group video: alice may not",
        id="rootless user",
    ),
]
OTHERS = [
    pytest.param(
        "t4x1",
        f"chgrp 44 /dev/nvidia*; chmod 660 /dev/nvidia*; {NO_USERS}; {AS_USER}",
        users.NO_ACCESS,
        WARNING,
        "nobody may not",
        id="our own user",
    ),
    pytest.param(
        "t4x1",
        f"chmod 600 /dev/nvidia*; {ALICE}",
        users.NO_ACCESS,
        WARNING,
        "mode 0600 and group root: alice may not",
        id="nodes for root alone",
    ),
    pytest.param(
        "a100x8mig",
        f"rm {CAPS}/nvidia-cap1",
        devices_mig.MANAGING_MISSING,
        NOTE,
        "nvidia-cap1",
        id="MIG cannot be managed",
    ),
    pytest.param(
        "a100x8mig",
        "grep -v nvidia-caps /proc/devices > /tmp/x; cat /tmp/x > /proc/devices; rm /tmp/x",
        devices_mig.NO_CAPS,
        ERROR,
        "no nvidia-caps",
        id="no major of capabilities",
    ),
    pytest.param(
        "a100x8mig", "", devices_mig.EMPTY, NOTE, "GPU 3 (0000:4e:00.0)", id="one GPU not divided"
    ),
    pytest.param(
        "gb200x4",
        """mkdir -p /etc/nvidia-imex
        printf '10.0.0.1\\n10.0.0.2\\n' > /etc/nvidia-imex/nodes_config.cfg""",
        devices_mig.NO_IMEX,
        WARNING,
        "names other machines",
        id="no IMEX daemon",
        marks=ON_THE_HOST,
    ),
    pytest.param("orin", f"rm {LISTS}/*", soc.NO_LISTS, ERROR, "no file there", id="no CSV lists"),
    pytest.param(
        "orin",
        f"for f in {LISTS}/*; do echo nothing > $f; done",
        soc.NO_LISTS,
        ERROR,
        "there is no row",
        id="CSV lists without rows",
    ),
    pytest.param(
        "orin",
        "rm /usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1",
        soc.LISTED_MISSING,
        ERROR,
        "libcuda.so.1.1",
        id="listed libcuda",
    ),
    pytest.param(
        "orin",
        "rm /usr/lib/aarch64-linux-gnu/nvidia/libnv*",
        soc.LISTED_MISSING,
        WARNING,
        "of 6 libraries",
        id="listed libraries",
    ),
    pytest.param(
        "orin",
        "rm -r /dev/nv* /dev/dri",
        soc.LISTED_MISSING,
        ERROR,
        "all 10 devices",
        id="listed devices",
    ),
    pytest.param("wsl2", "rm /dev/dxg", soc.NO_DXG, ERROR, "/dev/dxg", id="no dxg"),
    pytest.param(
        "wsl2",
        "rm /usr/lib/wsl/lib/libdxcore.so; sed -i s/dxcore/dxnone/ /etc/ld.so.cache",
        soc.NO_DXCORE,
        ERROR,
        "libdxcore.so is not",
        id="no dxcore",
    ),
    pytest.param(
        "wsl2",
        "rm -r /usr/lib/wsl/drivers/*",
        soc.NO_STORE,
        ERROR,
        "no driver has libcuda.so.1.1",
        id="no driver of Windows",
    ),
    pytest.param(
        "wsl2",
        "echo > /usr/lib/wsl/lib/libdxcore.so",
        soc.NO_STORE,
        WARNING,
        "looking for the driver in",
        id="dxcore does not answer",
    ),
]
# What NVML does, by the options of a simulated machine.
SICK = [
    pytest.param(
        "a100x8",
        {"lose": [3]},
        devices_gpus.SICK,
        ERROR,
        "is lost: it has fallen off the bus",
        id="a lost GPU",
    ),
    pytest.param(
        "a100x8",
        {"fail": ["nvmlDeviceGetUUID:16@5"]},
        devices_gpus.SICK,
        ERROR,
        "GPU 5 (0000:90:00.0) needs a reset",
        id="a GPU that needs a reset",
    ),
    pytest.param(
        "a100x8",
        {"hang": ["nvmlDeviceGetUUID@3"]},
        devices_gpus.SILENT,
        ERROR,
        "GPU 3 (0000:4e:00.0): NVML did not answer within",
        id="a hang at a GPU",
    ),
    pytest.param(
        "t4x1",
        {"hang": ["nvmlDeviceGetUUID@0"]},
        devices_gpus.SILENT,
        ERROR,
        "GPU 0",
        id="a hang at the only GPU",
    ),
    pytest.param(
        "a100x8",
        {"crash": ["nvmlDeviceGetUUID@3"]},
        devices_gpus.SILENT,
        ERROR,
        "GPU 3 (0000:4e:00.0): NVML crashed (SIGSEGV)",
        id="a crash at a GPU",
    ),
    pytest.param(
        "t4x1",
        {"hang": ["nvmlInit_v2"]},
        devices_gpus.NVML_FAILS,
        ERROR,
        "did not answer within",
        id="a hang at the start",
    ),
    pytest.param(
        "a100x8",
        {"hang": ["nvmlInit_v2"]},
        devices_gpus.NVML_FAILS,
        WARNING,
        "8 GPUs may need longer",
        id="a start that takes long",
    ),
    pytest.param(
        "h100x8",
        {"hang": ["nvmlInit_v2"]},
        devices_gpus.NVML_FAILS,
        ERROR,
        "did not answer within",
        id="a hang with persistence",
    ),
    pytest.param(
        "t4x1",
        {"crash": ["nvmlInit_v2"]},
        devices_gpus.NVML_FAILS,
        ERROR,
        "crashed (SIGSEGV)",
        id="a crash at the start",
    ),
    pytest.param(
        "t4x1",
        {"fail": ["nvmlInit_v2:4"]},
        devices_gpus.NVML_FAILS,
        ERROR,
        "may not talk to the driver",
        id="no permission",
    ),
    pytest.param(
        "t4x1",
        {"attach_us": 1_200_000},
        devices_gpus.SLOW,
        WARNING,
        "s to initialise one GPU",
        id="a slow GPU",
    ),
    pytest.param(
        "a100x8",
        {"hang": [f"nvmlDeviceGetUUID@{index}" for index in range(8)]},
        devices_gpus.SILENT,
        ERROR,
        "likewise GPU 1",
        id="a hang at each GPU",
    ),
]


@pytest.mark.parametrize(("machine", "fault", "code", "severity", "words"), [*MENDED, *OTHERS])
def test_fault(machine: str, fault: str, code: Code, severity: str, words: str) -> None:
    answer = examine(machine, fault)

    heavy = [one for one in answer.document["findings"] if one["severity"] != NOTE]
    codes = [one["code"] for one in heavy if one["code"].startswith(("NCT-01", "NCT-02"))]
    assert set(codes) == ({code.id} if severity != NOTE else set())
    finding = next(one for one in answer.document["findings"] if one["code"] == code.id)
    assert finding["severity"] == severity
    assert words in finding["what"]


@pytest.mark.parametrize(("machine", "fault", "code", "severity", "words"), MENDED)
def test_command_helps(machine: str, fault: str, code: Code, severity: str, words: str) -> None:
    del severity, words

    assert code.id not in after(machine, fault, code.id).codes("NCT-02")


@pytest.mark.parametrize(("machine", "options", "code", "severity", "words"), SICK)
def test_sick(machine: str, options: dict[str, Any], code: Code, severity: str, words: str) -> None:
    answer = examine(machine, **options)

    assert [one for one in answer.codes() if one[:6] in ("NCT-00", "NCT-01", "NCT-02")] == [code.id]
    finding = answer.finding(code.id)
    assert finding["severity"] == severity
    assert words in finding["what"]


def test_gpu_that_nvml_leaves_out() -> None:
    """The node tells whether it is this place's."""
    fault = f"cp -r {GPUS}/0000:bd:00.0 {GPUS}/0000:be:00.0; cd {GPUS}/0000:be:00.0"
    fault += "\nsed -i -e s/0000:bd:00.0/0000:be:00.0/ -e 's/Minor:.*/Minor: 8/' information"
    node = "mknod -m 666 /dev/nvidia8 c 195 8"

    lost = examine("a100x8", f"{fault}\n{node}")
    elsewhere = examine("a100x8", fault)

    assert lost.codes("NCT-02") == [devices_gpus.LOST.id]
    assert "NVML knows 8 GPUs, and not 0000:be:00.0" in lost.finding("NCT-0223")["what"]
    assert elsewhere.codes("NCT-02") == [devices_gpus.ELSEWHERE.id]
    assert elsewhere.finding("NCT-0225")["severity"] == NOTE


def test_engine_in_a_container_with_one_gpu_of_eight() -> None:
    """`/proc` lists all; the nodes and NVML's answers are of one."""
    fault = f"""
    rm /dev/nvidia[013-7]
    conf={LIB}/mock-nvml.conf
    awk '/^.gpu/ {{ count++ }} count < 2' $conf > /tmp/x; cat /tmp/x > $conf; rm /tmp/x
    """

    answer = examine("a100x8", fault)

    assert answer.codes("NCT-02") == [devices_gpus.ELSEWHERE.id]
    what = answer.finding(devices_gpus.ELSEWHERE.id)["what"]
    assert what.endswith(
        "0000:0f:00.0, 0000:47:00.0, 0000:4e:00.0, 0000:87:00.0, 0000:90:00.0, "
        "0000:b7:00.0, 0000:bd:00.0"
    )


def test_driver_root_without_nodes() -> None:
    """The root of config.toml is that of the nodes, too, for the toolkit as for us."""
    root = f"/run/nvidia/driver{LIB}"
    files = f"{LIB}/libcuda.so* {LIB}/libnvidia*.so* {LIB}/mock-nvml.conf"
    text = '[nvidia-container-cli]\\nroot = "/run/nvidia/driver"\\n'
    fault = f"""
    mkdir -p {root} /etc/nvidia-container-runtime; mv {files} {root}; rm /etc/ld.so.cache
    printf '{text}' > /etc/nvidia-container-runtime/config.toml
    """

    answer = examine("t4x1", fault)
    mended = after("t4x1", fault, devices_nodes.CONTROL_MISSING.id)

    what = answer.finding(devices_nodes.CONTROL_MISSING.id)["what"]
    assert what.startswith("there is no /run/nvidia/driver/dev/nvidia-modeset, ")
    assert ", but /dev has it: " in what
    assert answer.finding(devices_nodes.CONTROL_MISSING.id)["fix"] is None
    assert mended.codes("NCT-02") == [devices_nodes.GPU_NODE_MISSING.id]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param("rm /dev/nvidiactl", devices_nodes.CONTROL_MISSING, id="nodes"),
        pytest.param(f"{SYSTEMD}\nrm /dev/char/195:*{OLD_RUNC}", users.LINKS_MISSING, id="links"),
    ],
)
def test_fix_mends_and_is_undone(fault: str, code: Code) -> None:
    fix, undo = (
        f"nvidia-ctk doctor {flag} --yes > /dev/null || true" for flag in ("--fix", "--undo")
    )

    assert code.id not in done("t4x1", fault, fix).codes("NCT-02")
    assert code.id in done("t4x1", fault, f"{fix}\n{undo}").codes("NCT-02")


def test_fix_of_control_nodes_names_all_that_it_makes() -> None:
    answer = examine(
        "t4x1", "rm /dev/nvidia-uvm /dev/nvidia-modeset; rm -r /sys/module/nvidia_modeset"
    )

    finding = answer.finding(devices_nodes.CONTROL_MISSING.id)
    assert finding["what"] == "there is no /dev/nvidia-uvm"
    assert finding["fix"]["words"] == ["system", "create-device-nodes", "--control-devices"]
    assert finding["fix"]["files"] == ["/dev/nvidia-modeset", "/dev/nvidia-uvm"]


def test_what_is_no_file_is_not_opened() -> None:
    """A FIFO would hang."""
    fault = """
    chmod 660 /dev/nvidia*; mkdir -p /etc/nvidia-imex /etc/modprobe.d
    rm -f /etc/subuid; mkfifo /etc/subuid /etc/nvidia-imex/nodes_config.cfg /etc/modprobe.d/x.conf
    """

    assert examine("gb200x4", fault).codes("NCT-00") == []


def test_all_gpus_are_undivided() -> None:
    fault = f"sed -i 's/^mig = disabled/mig = enabled/' {LIB}/mock-nvml.conf"

    answer = examine("a100x8", fault)

    assert answer.codes("NCT-02") == [devices_mig.EMPTY.id]
    assert answer.finding(devices_mig.EMPTY.id)["severity"] == ERROR


def test_every_code_has_its_fault() -> None:
    rows: list[Any] = [*MENDED, *OTHERS, *SICK]
    tried = {row.values[2] for row in rows} | {devices_gpus.LOST, devices_gpus.ELSEWHERE}

    assert set(devices.CODES) <= tried


@pytest.mark.parametrize("machine", simulated.names())
def test_silent(machine: str) -> None:
    findings = examine(machine, SYSTEMD).document["findings"]

    heavy = [one for one in findings if one["severity"] != NOTE]
    assert [one for one in heavy if one["code"].startswith("NCT-02")] == []
