# SPDX-License-Identifier: Apache-2.0
"""CDI specs of the Windows Subsystem for Linux, with and without an answer of libdxcore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from host import dxcore_library, trees
from sources import test_machine as machines
from sources.test_renew import GENERATE

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Generated, Options
from nvidia_runtime.simulate import catalogue, wsl_files

from . import on_machine

WSL = "usr/lib/wsl"
STORE_FILES = (
    *("libcuda.so.1.1", "libcuda_loader.so", "libnvidia-ptxjitcompiler.so.1"),
    *("libnvidia-ml.so.1", "libnvidia-ml_loader.so", "libnvdxgdmal.so.1", "nvcubins.bin"),
    *("nvidia-smi", "libnvwgf2umx.so", "nvdxgdmal64.dll", "nv_disp.inf"),
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a system with three driver stores, of which the second is in use by dxcore."""
    monkeypatch.setenv("DXCORE", "ok")
    for store in ("old", "other", "été"):
        names = STORE_FILES if store != "other" else ("igc64.so",)
        trees.make(tmp_path, {f"{WSL}/drivers/{store}/{name}": "" for name in names})
    (tmp_path / WSL / "lib").mkdir()
    shutil.copy(dxcore_library.library(), tmp_path / WSL / "lib/libdxcore.so")
    trees.mknod(tmp_path / "dev/dxg", 10, 125)
    return tmp_path


def generate(root: Path, mode: str = "wsl", **changes: Any) -> Generated:
    return machine.generate(
        Options(mode).but(driver_root=f"{root}", kernel_root=f"{root}", **changes)
    )


def test_the_store_of_the_driver_in_use(root: Path) -> None:
    """The first adapter is too old, the second has no CUDA."""
    generated = generate(root)
    common = generated.spec["containerEdits"]
    store = "/usr/lib/wsl/drivers/été"

    assert [mount["containerPath"] for mount in common["mounts"]] == [
        "/usr/lib/wsl/lib/libdxcore.so",
        *sorted(f"{store}/{name}" for name in STORE_FILES if name != "nv_disp.inf"),
    ]
    assert common["mounts"][1]["hostPath"] == f"{root}{store}/libcuda.so.1.1"
    assert [hook["args"][1:] for hook in common["hooks"]] == [
        ["create-symlinks", "--link", f"{store}/nvidia-smi::/usr/bin/nvidia-smi"],
        ["update-ldcache", "--folder", "/usr/lib/wsl/lib", "--folder", store],
    ]
    assert generated.warnings == []


def test_one_device_by_all_names(root: Path) -> None:
    generated = generate(root, ids=("GPU-1", "1"))
    (device,) = generated.spec["devices"]

    assert device["name"] == "all"
    assert [node["path"] for node in device["containerEdits"]["deviceNodes"]] == ["/dev/dxg"]
    assert {entry["name"] for entry in generated.hidden} == {"0", "1", "GPU-1"}
    assert all(entry["containerEdits"] == device["containerEdits"] for entry in generated.hidden)


def test_none_is_the_driver_without_a_device(root: Path) -> None:
    generated = generate(root, ids=("none",), merged_device=False)

    assert generated.spec["devices"] == [
        {"name": "none", "containerEdits": {"env": ["NVCT_EMPTY_DEVICE="]}}
    ]


@pytest.mark.parametrize("behaviour", ["error", "crash"])
def test_without_an_answer_the_newest_store_is_taken(
    behaviour: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DXCORE", behaviour)
    os.utime(root / WSL / "drivers/été/libcuda.so.1.1", (1, 1))
    generated = generate(root)
    (warning,) = generated.warnings

    assert "/usr/lib/wsl/drivers/old/libcuda.so.1.1" in [
        mount["containerPath"] for mount in generated.spec["containerEdits"]["mounts"]
    ]
    assert warning.startswith(f"{root}/usr/lib/wsl/lib/libdxcore.so: ")
    assert warning.endswith("looking for the driver in /usr/lib/wsl/drivers")


def test_what_a_store_lacks_is_named(root: Path) -> None:
    for name in ("nvidia-smi", "nvcubins.bin"):
        (root / WSL / "drivers/été" / name).unlink()
    generated = generate(root)

    assert generated.warnings == [f"{root}/{WSL}/drivers/été has no nvcubins.bin, nvidia-smi"]
    assert [hook["args"][1] for hook in generated.spec["containerEdits"]["hooks"]] == [
        "update-ldcache"
    ]


def test_auto_is_wsl(root: Path) -> None:
    assert generate(root, "auto").spec == generate(root).spec


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("dev", "there is no such node: Windows shares no GPU"),
        (f"{WSL}/lib", "there is no such library"),
        (f"{WSL}/drivers", "no driver has libcuda.so.1.1"),
    ],
)
def test_what_must_be_there(missing: str, sentence: str, root: Path) -> None:
    shutil.rmtree(root / missing)
    with pytest.raises(NvidiaRuntimeError, match=sentence) as caught:
        generate(root)

    assert caught.value.where.startswith(f"{root}/")
    assert "in Windows" in caught.value.hint


class TestSeveralGpus:
    """Two GPUs, each with a driver of its own, as Windows installs them for different generations."""

    FIRST, SECOND = (f"{wsl_files.STORES}/{name}" for name in catalogue.find("wsl2x2").stores)
    UUIDS = tuple(gpu.uuid for gpu in catalogue.find("wsl2x2").gpus)

    def test_names_of_each(self, tmp_path: Path) -> None:
        generated = on_machine.generate("wsl2x2", tmp_path)

        assert sorted(generated.names()) == sorted(["0", "1", *self.UUIDS, "all"])
        assert {tuple(generated.nodes(name)) for name in generated.names()} == {("/dev/dxg",)}
        assert (generated.hidden, generated.warnings) == ([], [])

    def test_drivers_of_both(self, tmp_path: Path) -> None:
        generated = on_machine.generate("wsl2x2", tmp_path)
        common = generated.spec["containerEdits"]

        paths = [mount["containerPath"] for mount in common["mounts"]]
        for store in (self.FIRST, self.SECOND):
            assert {f"{store}/libcuda.so.1.1", f"{store}/nvcubins.bin"} <= {*paths}
        assert [hook["args"][1:] for hook in common["hooks"]] == [
            ["create-symlinks", "--link", f"{self.FIRST}/nvidia-smi::/usr/bin/nvidia-smi"],
            [
                *("update-ldcache", "--folder", "/usr/lib/wsl/lib"),
                *("--folder", self.FIRST, "--folder", self.SECOND),
            ],
        ]
        assert generated.watched[1:3] == [self.FIRST, self.SECOND]

    @pytest.mark.parametrize("strategy", ["index", "uuid", "type-index"])
    def test_naming(self, strategy: str, tmp_path: Path) -> None:
        names = {"index": ["0", "1"], "uuid": sorted(self.UUIDS), "type-index": ["gpu0", "gpu1"]}

        generated = on_machine.generate("wsl2x2", tmp_path, strategies=[strategy])

        assert generated.names() == sorted([*names[strategy], "all"])

    def test_containers_ask_by_any_of_them(self, tmp_path: Path) -> None:
        """By the machine, and by a spec; a GPU that Windows does not have is an error."""
        asked = ["0", "1", self.UUIDS[1], "0,1", "all", f"nvidia.com/gpu={self.UUIDS[0]}", "2"]
        jobs = [machines.job(f"NVIDIA_VISIBLE_DEVICES={ids}") for ids in asked]
        jobs[0]["shell"] = GENERATE

        ends = machines.create("wsl2x2", tmp_path, *jobs)

        assert [machines.paths(end) for end in ends] == [["/dev/dxg"]] * 6 + [[]]
        assert [end["code"] for end in ends] == [0] * 6 + [1]
        assert "this machine has no device '2'" in ends[6]["err"]

    def test_where_nvml_is_silent_any_name_means_all(self, tmp_path: Path) -> None:
        generated = on_machine.generate(
            "wsl2x2", tmp_path, ids=["1"], fail=["nvmlInit_v2:999"], merged_device=False
        )

        assert generated.names() == ["all"]
        assert [device["name"] for device in generated.hidden] == ["0", "1"]
        assert generated.warnings[0].endswith(": GPUs have no names but all")
