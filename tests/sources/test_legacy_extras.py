# SPDX-License-Identifier: Apache-2.0
"""Legacy mode beside its prestart hook: who asks for what gets which edits, in which order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host import trees

from nvidia_runtime.admission import request
from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.admission.request import Request
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.gpu import Gpu
from nvidia_runtime.sources import legacy, legacy_extras
from nvidia_runtime.store import snapshot
from nvidia_runtime.store.lines import Source

GRAPHICS = f"{trees.LIBRARIES}/libnvidia-vulkan-producer.so.{trees.VERSION}"
COMPAT: dict[str, object] = {snapshot.COMPAT_MODE: "hook"}


def sources(
    root: Path,
    settings: dict[str, object],
    capabilities: str = "",
    gates: tuple[str, ...] = (),
) -> list[Source]:
    """Ask for GPU 0 of a machine whose driver lies below a root."""
    asked = Request()
    asked.environment = {request.DRIVER_CAPABILITIES: capabilities}
    admitted = Admitted(("0",), "environment")
    admitted.gates = gates
    values = {**config.defaults(), snapshot.DRIVER_ROOT: f"{root}", **settings}
    return legacy.extras(asked, admitted, values)


def verbs(parts: list[Source]) -> list[str]:
    """Name the hooks by what they do, as the container runs them."""
    hooks = [source.edits.get("hooks", {}) for source in parts]
    return [hook["args"][2] for by_stage in hooks for hook in by_stage.get("createContainer", [])]


@pytest.mark.parametrize("capabilities", ["", "compute,utility", " graphics", "graphics2"])
def test_nothing_is_looked_up_that_nobody_asks_for(capabilities: str) -> None:
    assert sources(Path("/nowhere"), {}, capabilities) == []


@pytest.mark.parametrize("capabilities", ["graphics", "compute,display", "all"])
def test_graphics(capabilities: str, tmp_path: Path) -> None:
    trees.make(tmp_path, {**trees.DRIVER, GRAPHICS: ""})
    (source,) = sources(tmp_path, {}, capabilities)

    assert json.loads(source.origin) == {"mode": "legacy", "generator": "graphics"}
    assert json.loads(source.text) == source.edits
    assert list(source.edits) == ["mounts", "hooks"]
    assert verbs([source]) == ["create-symlinks"]


def test_compatibility_hook_and_then_the_loaders_cache(tmp_path: Path) -> None:
    trees.make(tmp_path, {**trees.DRIVER, GRAPHICS: ""})

    assert verbs(sources(tmp_path, COMPAT)) == ["enable-cuda-compat", "update-ldcache"]
    assert verbs(sources(tmp_path, COMPAT, "graphics")) == [
        "enable-cuda-compat",
        "create-symlinks",
        "update-ldcache",
    ]


@pytest.mark.parametrize("mode", ["ldconfig", "mount", "disabled", ""])
def test_other_compatibility_modes_have_no_hook(mode: str) -> None:
    assert sources(Path("/nowhere"), {snapshot.COMPAT_MODE: mode}) == []


def test_compatibility_hook_is_switched_off_by_its_feature() -> None:
    assert sources(Path("/nowhere"), {**COMPAT, legacy.NO_COMPAT_HOOK: True}) == []


def test_gates_go_first_and_set_no_variable(tmp_path: Path) -> None:
    trees.make(tmp_path, trees.DRIVER)
    trees.mknod(tmp_path / "dev/gdrdrv", 510, 0, mode=0o660, gid=44)
    parts = sources(tmp_path, COMPAT, gates=("gds", "gdrcopy"))

    names = [json.loads(source.origin)["generator"] for source in parts]
    assert names == ["gdrcopy", "cuda-compat", "cuda-compat"]
    assert list(parts[0].edits) == ["devices", "additionalGids"]


def test_groups_of_nodes_are_left_out_by_a_feature(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/gdrdrv", 510, 0, mode=0o660, gid=44)
    (source,) = sources(tmp_path, {snapshot.NO_GIDS: True}, gates=("gdrcopy",))

    assert list(source.edits) == ["devices"]


NEEDS = "has no libcuda.so.VERSION or libnvidia-ml.so.VERSION to tell the driver's version, "
GRAPHICS_NEED = "graphics or display in NVIDIA_DRIVER_CAPABILITIES"
COMPAT_NEED = 'nvidia-container-runtime.modes.legacy.cuda-compat-mode = "hook"'


@pytest.mark.parametrize(
    ("capabilities", "settings", "needs"),
    [
        ("graphics", {}, GRAPHICS_NEED),
        ("", COMPAT, COMPAT_NEED),
        ("all", COMPAT, f"{COMPAT_NEED} and {GRAPHICS_NEED}"),
    ],
)
def test_no_driver(
    capabilities: str, settings: dict[str, object], needs: str, tmp_path: Path
) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        sources(tmp_path, settings, capabilities)

    assert str(error.value) == f"{tmp_path}: {NEEDS}which is needed for {needs}"
    assert error.value.hint == (
        "install the driver there, or set nvidia-container-cli.root to where it is"
    )
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        pytest.param(("all",), [2, 3], id="all"),
        pytest.param(("none",), [], id="none"),
        pytest.param(("0",), [2], id="the index, not the minor number"),
        pytest.param(("2",), [], id="no such index"),
        pytest.param(("GPU-b",), [3], id="uuid"),
        pytest.param(("0000:07:00.0",), [2], id="bus id"),
        pytest.param(("00000000:0F:00.0", "0"), [2, 3], id="bus id as nvidia-smi writes it"),
        pytest.param(("0:0", "MIG-a"), [], id="MIG devices"),
    ],
)
def test_select(devices: tuple[str, ...], expected: list[int]) -> None:
    gpus = [Gpu(0), Gpu(1)]
    gpus[0].bus_id, gpus[0].uuid, gpus[0].minor = "0000:07:00.0", "GPU-a", 2
    gpus[1].bus_id, gpus[1].uuid, gpus[1].minor = "0000:0f:00.0", "GPU-b", 3

    assert [gpu.minor for gpu in legacy_extras.select(gpus, devices)] == expected


def test_loaded_driver_counts_where_no_library_has_a_version(tmp_path: Path) -> None:
    tree = {"usr/lib64/libcuda.so.1.1": "", "sys/module/nvidia/version": "540.4.0\n"}
    installed = Driver(trees.make(tmp_path, tree))

    assert legacy_extras._version(installed, compat=True, graphics=False) == "540.4.0"
