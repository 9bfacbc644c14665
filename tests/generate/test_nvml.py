# SPDX-License-Identifier: Apache-2.0
"""CDI specs of machines with GPUs: what /proc says, what NVML says, what a machine lacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from . import on_machine

FULL = ("t4x1", "a100x8", "h100x8", "gb200x4")


@pytest.mark.parametrize("machine", FULL)
def test_full_gpus_need_no_nvml(machine: str, tmp_path: Path) -> None:
    """What /proc says is what NVML says."""
    silent = on_machine.generate(machine, tmp_path)
    asked = on_machine.generate(
        machine, tmp_path, before="rm -rf /proc/driver/nvidia/gpus/*", thorough=True
    )

    assert silent.calls["nvmlInit_v2"] == 0
    assert asked.calls["nvmlInit_v2"] == 1
    assert asked.spec == silent.spec
    assert asked.hidden == silent.hidden == []


def test_each_gpu_is_attached_once(tmp_path: Path) -> None:
    generated = on_machine.generate("a100x8", tmp_path, thorough=True)

    assert generated.calls["nvmlInit_v2"] == 1
    assert generated.calls["nvmlDeviceGetHandleByIndex_v2"] == 8
    assert generated.warnings == []


def test_slow_gpus_are_spoken_of(tmp_path: Path) -> None:
    """Without persistence mode each GPU is initialised again for each use."""
    generated = on_machine.generate(
        "t4x1", tmp_path, before="rm -r /proc/driver/nvidia/gpus/*", attach_us=300_000
    )

    (warning,) = generated.warnings
    assert re.sub(r"[\d.]+ s ", "1 s ", warning) == (
        "it took 1 s to initialise one GPU: is persistence mode off? "
        "'systemctl enable --now nvidia-persistenced' keeps GPUs ready"
    )


@pytest.mark.parametrize(
    ("before", "calls"),
    [
        pytest.param("true", 0, id="all is told"),
        pytest.param(
            "sed -i s/GPU-.*/GPU-????????-????/ /proc/driver/nvidia/gpus/*/information",
            1,
            id="never initialised, no UUID",
        ),
        pytest.param(
            "mkdir -p /proc/driver/nvidia/capabilities/gpu3/mig/gi1", 1, id="a GPU instance"
        ),
        pytest.param("rm -r /proc/driver/nvidia/gpus/*", 1, id="nothing in /proc"),
    ],
)
def test_nvml_is_asked_where_proc_does_not_say(before: str, calls: int, tmp_path: Path) -> None:
    generated = on_machine.generate("a100x8", tmp_path, before=before)

    assert generated.calls["nvmlInit_v2"] == calls
    assert len(generated.names()) == 17


def test_who_has_time_asks_whether_mig_is_on(tmp_path: Path) -> None:
    """A GPU in MIG mode without an instance looks like any other in /proc."""
    conf = "$NVIDIA_SIMULATED_MACHINE/mock-nvml.conf"
    empty = f"sed -i --follow-symlinks 's/^mig = disabled/mig = enabled/' {conf}"

    quick = on_machine.generate("a100x8", tmp_path, before=empty)
    assert "0" in quick.names()
    what, hint = on_machine.error("a100x8", tmp_path, before=empty, thorough=True)
    assert what == "all GPUs are in MIG mode and have no MIG device"
    assert "nvidia-smi mig -cgi" in hint


def test_mig_everywhere(tmp_path: Path) -> None:
    generated = on_machine.generate("a100x8mig56", tmp_path, strategies=["index"])

    assert len(generated.names()) == 57
    assert generated.nodes("7:6") == [
        "/dev/nvidia5",
        "/dev/nvidia-caps/nvidia-cap795",
        "/dev/nvidia-caps/nvidia-cap796",
    ]
    assert len(generated.nodes("all")) == 8 + 2 * 56
    assert [device["name"] for device in generated.hidden] == [str(index) for index in range(8)]
    assert generated.hidden[0]["containerEdits"]["deviceNodes"][0]["path"] == "/dev/nvidia2"
    assert generated.calls["nvmlInit_v2"] == 1


def test_mig_with_graphics(tmp_path: Path) -> None:
    """Only a MIG device of a profile with graphics has the GPU's DRM nodes."""
    generated = on_machine.generate("rtxpro_miggfx", tmp_path, strategies=["index"])

    drm = {
        name: [path for path in generated.nodes(name) if path.startswith("/dev/dri/")]
        for name in generated.names()
    }
    assert drm["0:0"] == ["/dev/dri/card1", "/dev/dri/renderD128"]
    assert generated.edits("0:0")["additionalGids"] == [44, 109]
    assert generated.edits("0:0")["hooks"][0]["args"][2:4] == [
        "--link",
        "../card1::/dev/dri/by-path/pci-0000:21:00.0-card",
    ]
    assert drm["0:1"] == []
    assert "hooks" not in generated.edits("0:1")


def test_pci_domains_above_zero(tmp_path: Path) -> None:
    generated = on_machine.generate("gb200x4", tmp_path, strategies=["index"])

    assert "/dev/dri/card1" in generated.nodes("0")
    links = generated.edits("3")["hooks"][0]["args"]
    assert any("/dev/dri/by-path/pci-0019:01:00.0-card" in word for word in links)
    folder = "/usr/lib/aarch64-linux-gnu"
    assert f"NVIDIA_CTK_LIBCUDA_DIR={folder}" in generated.spec["containerEdits"]["env"]


@pytest.mark.parametrize(
    ("machine", "id_", "names"),
    [
        pytest.param("a100x8mig", "7", ["7"], id="index"),
        pytest.param("a100x8mig", "0:3", ["0:3"], id="MIG index"),
        pytest.param("a100x8mig", "0", ["0"], id="a GPU in MIG mode as a whole"),
        pytest.param(
            "a100x8mig", "GPU-145f911f-2dc8-5e9a-bf60-a9c307c91566", ["0"], id="UUID of a GPU"
        ),
        pytest.param(
            "a100x8mig",
            "MIG-GPU-145f911f-2dc8-5e9a-bf60-a9c307c91566/9/0",
            ["0:2"],
            id="MIG device by its instances",
        ),
    ],
)
def test_ids(machine: str, id_: str, names: list[str], tmp_path: Path) -> None:
    generated = on_machine.generate(
        machine, tmp_path, ids=[id_], strategies=["index"], merged_device=False
    )

    assert generated.names() == names
    assert generated.hidden == []


def test_unknown_ids_are_all_named(tmp_path: Path) -> None:
    what, hint = on_machine.error("a100x8", tmp_path, ids=["0", "8", "GPU-1"])

    assert what == "this machine has no device '8', 'GPU-1'"
    assert hint == "it has 0, 1, 2, 3, 4, 5, 6, 7; 'nvidia-smi -L' shows their UUIDs"


def test_none_is_the_driver_without_a_gpu(tmp_path: Path) -> None:
    generated = on_machine.generate("a100x8mig", tmp_path, ids=["0", "none"])

    assert generated.spec["devices"] == [
        {"name": "none", "containerEdits": {"env": ["NVCT_EMPTY_DEVICE="]}}
    ]
    assert generated.spec["containerEdits"]["mounts"]
    assert generated.calls["nvmlInit_v2"] == 0


LOST = "look for 'Xid' in dmesg; 'nvidia-smi --gpu-reset' or a reboot may bring it back"
HEALTH = "does 'nvidia-smi' answer, and what does dmesg say of NVRM?"


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        pytest.param(
            {"crash": ["nvmlDeviceGetUUID@3"]},
            f"NVML crashed (SIGSEGV) when asked about it; {HEALTH}",
            id="crash",
        ),
        pytest.param(
            {"hang": ["nvmlDeviceGetUUID@3"]},
            f"NVML did not answer within 0.5 s when asked about it; {HEALTH}",
            id="hang",
        ),
        pytest.param(
            {"lose": [3]},
            f"is lost: it has fallen off the bus or is otherwise out of reach; {LOST}",
        ),
        pytest.param(
            {"fail": ["nvmlDeviceGetHandleByIndex_v2:16@3"]},
            "needs a reset; 'nvidia-smi --gpu-reset' does it while nobody uses the GPU",
            id="reset required",
        ),
    ],
)
def test_a_sick_gpu_costs_itself_alone(
    faults: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    generated = on_machine.generate("a100x8", tmp_path, thorough=True, patience=0.5, **faults)

    uuid = "GPU-0ca9f021-3268-5999-94cd-b49455fcb955"
    assert generated.problems.keys() == {"3", "gpu3", uuid}
    separator = "" if problem.startswith(("is ", "needs ")) else ":"
    assert generated.problems["3"] == f"GPU 3 (0000:4e:00.0){separator} {problem}"
    assert uuid not in generated.names()
    assert [name for name in generated.names() if len(name) == 1] == list("0124567")


def test_two_sick_gpus_are_told_apart_by_the_bus(tmp_path: Path) -> None:
    generated = on_machine.generate(
        "a100x8", tmp_path, thorough=True, crash=["nvmlDeviceGetName@1"], lose=[6]
    )

    assert generated.problems["1"].startswith("GPU 1 (0000:0f:00.0): NVML crashed (SIGSEGV)")
    assert generated.problems["6"].startswith("GPU 6 (0000:b7:00.0) is lost")


def test_a_gpu_that_nvml_does_not_know_is_spoken_of(tmp_path: Path) -> None:
    folder = "/proc/driver/nvidia/gpus"
    lost = f"cp -r {folder}/0000:4e:00.0 {folder}/0000:ff:00.0"
    lost += f" && sed -i s/0000:4e/0000:ff/ {folder}/0000:ff:00.0/information"

    generated = on_machine.generate("a100x8", tmp_path, before=lost, thorough=True)

    assert generated.warnings == [
        "NVML does not know 0000:ff:00.0; the driver does: what does dmesg say of NVRM?"
    ]
    assert len(generated.names()) == 17


def test_mig_devices_of_a_sick_gpu_are_gone_and_those_of_others_stay(tmp_path: Path) -> None:
    generated = on_machine.generate(
        "a100x8mig", tmp_path, crash=["nvmlDeviceGetMaxMigDeviceCount@1"], strategies=["index"]
    )

    assert "1" in generated.problems
    assert "0:6" in generated.names()
    assert [name for name in generated.names() if name.startswith("1")] == []


@pytest.mark.parametrize(
    ("faults", "what", "hint"),
    [
        pytest.param(
            {"fail": ["nvmlInit_v2:9"]},
            "the NVIDIA kernel module is not loaded (Driver Not Loaded)",
            "load it with 'modprobe nvidia', or look into dmesg why that fails",
            id="no kernel module",
        ),
        pytest.param(
            {"fail": ["nvmlInit_v2:18"]},
            "the driver's libraries are of another version than the loaded kernel module "
            "(Driver/library version mismatch)",
            "the driver was updated: reboot, or unload and load its kernel modules",
            id="mismatch",
        ),
        pytest.param(
            {"fail": ["nvmlInit_v2:999"]},
            "nvmlInit_v2 fails: Unknown Error",
            HEALTH,
            id="unknown error",
        ),
        pytest.param(
            {"without": ["nvmlDeviceGetUUID"]},
            "lacks the function nvmlDeviceGetUUID",
            "is the driver completely installed, and all of it in one version?",
            id="missing symbol",
        ),
        pytest.param(
            {"crash": ["nvmlInit_v2"]},
            "NVML crashed (SIGSEGV) while it was started",
            HEALTH,
            id="crash",
        ),
        pytest.param(
            {"hang": ["nvmlInit_v2"]},
            "NVML did not answer within 0.6 s while it was started",
            HEALTH,
            id="hang",
        ),
    ],
)
def test_nvml_does_not_start(faults: dict[str, Any], what: str, hint: str, tmp_path: Path) -> None:
    said = on_machine.error("a100x8", tmp_path, thorough=True, patience=0.2, **faults)

    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05"
    assert said == (f"{library}: {what}", hint)


def test_libraries_of_another_version_are_noticed_without_nvml(tmp_path: Path) -> None:
    what, hint = on_machine.error(
        "t4x1", tmp_path, before="echo 570.1.2 >/sys/module/nvidia/version"
    )

    assert what == "/: has the driver's libraries of version 580.95.05, but 570.1.2 is loaded"
    assert hint == "the driver was updated: reboot, or unload and load its kernel modules"


def test_no_libraries_at_all(tmp_path: Path) -> None:
    remove = "rm /usr/lib/x86_64-linux-gnu/libnvidia-ml.so* /usr/lib/x86_64-linux-gnu/libcuda.so*"

    what, _hint = on_machine.error("t4x1", tmp_path, before=f"{remove} && ldconfig")

    assert (
        what == "/: has no libcuda.so.VERSION and no libnvidia-ml.so.VERSION of version 580.95.05"
    )


@pytest.mark.parametrize(
    ("machine", "node", "names", "problem"),
    [
        pytest.param("a100x8", "/dev/nvidia0", {"2", "gpu2"}, "GPU 2", id="a GPU's"),
        pytest.param(
            "a100x8mig",
            "/dev/nvidia-caps/nvidia-cap337",
            {"0:0", "mig0:0"},
            "MIG device 0:0",
            id="a compute instance's",
        ),
    ],
)
def test_missing_node(
    machine: str, node: str, names: set[str], problem: str, tmp_path: Path
) -> None:
    generated = on_machine.generate(machine, tmp_path, before=f"rm {node}")

    assert names <= generated.problems.keys()
    assert len(generated.problems) == 3
    for name in names:
        assert generated.problems[name].startswith(f"{problem}: {node} is missing; ")
        assert name not in generated.names()


def test_no_table_of_mig_minors(tmp_path: Path) -> None:
    """The node of an instance is not guessed: it could be another container's."""
    generated = on_machine.generate(
        "a100x8mig", tmp_path, before="rm /proc/driver/nvidia-caps/mig-minors"
    )

    assert "0:0" in generated.problems
    assert (
        "its entry in /proc/driver/nvidia-caps/mig-minors is missing" in generated.problems["0:0"]
    )
    assert {"4", "5", "6", "7", "all"} <= set(generated.names())


def test_all_nodes_missing(tmp_path: Path) -> None:
    what, _hint = on_machine.error("t4x1", tmp_path, before="rm /dev/nvidia0")

    assert what.startswith("no device is usable: GPU 0: /dev/nvidia0 is missing; ")


def test_whose_appearance_changes_the_spec_is_watched(tmp_path: Path) -> None:
    generated = on_machine.generate("t4x1", tmp_path)

    assert {
        "/usr/lib/x86_64-linux-gnu",
        "/etc/ld.so.cache",
        "/run/nvidia-persistenced/socket",
        "/usr/bin",
        "/usr/share/egl/egl_external_platform.d",
    } <= set(generated.watched)


def test_coherence_is_asked_where_it_is_wanted(tmp_path: Path) -> None:
    generated = on_machine.generate("gb200x4", tmp_path, flags=["enable-coherent-annotations"])

    coherence = [device.get("annotations") for device in generated.spec["devices"]]
    assert coherence.count({"gpu.nvidia.com/coherent": "true"}) == 8
    assert generated.spec["cdiVersion"] == "0.7.0"
