# SPDX-License-Identifier: Apache-2.0
"""CDI specs of Tegra systems: one GPU by the lists, and a card beside it by NVML."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated
from host import trees

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import csv_mixed, machine
from nvidia_runtime.generate.options import Generated, Options
from nvidia_runtime.host.gpu import Gpu
from nvidia_runtime.simulate import catalogue, elf

LIB = "usr/lib/aarch64-linux-gnu"
TREE = {
    "csv/devices.csv": "dev, /dev/nvhost-gpu\ndev, /dev/nvmap\ndev, /dev/absent\n",
    "csv/drivers.csv": (
        f"lib, /{LIB}/tegra/libcuda.so.1.1\nsym, /{LIB}/libcuda.so\ndir, /etc/firmware\n"
    ),
    "csv/odd.csv": "lib, /etc/x.conf\nlib, /etc/x.conf\ndev, nvmap\nsym, /etc/x.conf\n",
    f"driver/{LIB}/libcuda.so": "-> tegra/libcuda.so.1.1",
    "driver/etc/firmware/": "",
    "driver/etc/x.conf": "",
    "driver/proc/": "",
}
# What a namespace of a simulated machine runs: a spec by a mode and ids, as JSON.
PROGRAM = """
import json, sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Options
mode, ids, flags, files = json.loads(sys.argv[1])
options = Options(mode, tuple(ids))
options.flags = frozenset(flags)
options.csv_files = tuple(files)
try:
    made = machine.generate(options)
except NvidiaRuntimeError as error:
    print(json.dumps([str(error), error.hint]))
else:
    print(json.dumps([made.spec, made.problems, [each["name"] for each in made.hidden]]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    trees.make(tmp_path, TREE)
    trees.mknod(tmp_path / "driver/dev/nvhost-gpu", 505, 1, mode=0o660, gid=44)
    trees.mknod(tmp_path / "driver/dev/nvmap", 505, 0)
    library = tmp_path / f"driver/{LIB}/tegra/libcuda.so.1.1"
    library.parent.mkdir()
    library.write_bytes(elf.shared_object("libcuda.so.1", "aarch64"))
    (library.parent / "libcuda.so.1").symlink_to(library.name)
    return tmp_path


def generate(root: Path, *lists: str, **changes: Any) -> Generated:
    options = Options("csv").but(
        driver_root=f"{root}/driver",
        kernel_root=f"{root}/driver",
        csv_files=tuple(f"{root}/csv/{name}.csv" for name in lists),
        **changes,
    )
    return machine.generate(options)


def paths(edits: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits.get("deviceNodes", ())]


def words(edits: dict[str, Any]) -> list[list[str]]:
    """Return the arguments of the hooks, without their program."""
    return [hook["args"][1:] for hook in edits.get("hooks", ())]


def test_one_gpu(root: Path) -> None:
    generated = generate(root, "devices", "drivers")
    devices = {device["name"]: device["containerEdits"] for device in generated.spec["devices"]}
    common = generated.spec["containerEdits"]

    assert list(devices) == ["0", "all"]
    assert devices["0"] == devices["all"]
    assert paths(devices["0"]) == ["/dev/nvhost-gpu", "/dev/nvmap"]
    assert devices["0"]["additionalGids"] == [44]
    assert [(mount["hostPath"], mount["containerPath"]) for mount in common["mounts"]] == [
        (f"{root}/driver/etc/firmware", "/etc/firmware"),
        (f"{root}/driver/{LIB}/tegra/libcuda.so.1.1", f"/{LIB}/tegra/libcuda.so.1.1"),
    ]
    assert words(common) == [
        [
            *("create-symlinks", "--link", f"libcuda.so.1::/{LIB}/tegra/libcuda.so"),
            *("--link", f"libcuda.so.1.1::/{LIB}/tegra/libcuda.so.1"),
        ],
        ["create-symlinks", "--link", f"tegra/libcuda.so.1.1::/{LIB}/libcuda.so"],
        ["update-ldcache", "--folder", f"/{LIB}/tegra"],
    ]
    assert common["env"] == ["NVIDIA_VISIBLE_DEVICES=void"]
    assert generated.warnings[-1] == "left out what the lists name and is not here: /dev/absent"


def test_absolute_links_of_a_driver_root(root: Path) -> None:
    """They mean that root's files, and the container's have no driver root in them."""
    (root / "csv/absolute.csv").write_text(f"sym, /{LIB}/libabsolute.so\ndir, /opt/firmware\n")
    links = {f"{LIB}/libabsolute.so": f"/{LIB}/tegra/libcuda.so.1.1", "opt/firmware": "/etc/fw"}
    trees.make(root / "driver", {"etc/fw/": "", **{at: f"-> {to}" for at, to in links.items()}})

    common = generate(root, "devices", "absolute").spec["containerEdits"]

    (link,) = [hook for hook in words(common) if hook[0] == "create-symlinks"]
    assert link[1:] == ["--link", f"/{LIB}/tegra/libcuda.so.1.1::/{LIB}/libabsolute.so"]
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in common["mounts"]}
    assert mounts["/opt/firmware"] == f"{root}/driver/etc/fw"


def test_odd_rows_are_taken_once(root: Path) -> None:
    generated = generate(root, "odd")
    (device, _) = generated.spec["devices"]

    assert paths(device["containerEdits"]) == ["/dev/nvmap"]
    assert [mount["containerPath"] for mount in generated.spec["containerEdits"]["mounts"]] == [
        "/etc/x.conf"
    ]


def test_the_release_is_the_running_systems(root: Path) -> None:
    """It tells programs in a container which Jetson Linux they run on."""
    (root / "driver/etc/nv_tegra_release").write_text("# R36\n")
    (mount,) = generate(root, "devices").spec["containerEdits"]["mounts"]

    assert mount["containerPath"] == "/etc/nv_tegra_release"


def test_ignored_links(root: Path) -> None:
    generated = generate(root, "devices", "drivers", csv_ignored=("**/libcuda.so",))

    assert len(words(generated.spec["containerEdits"])) == 2


def test_what_may_change_the_spec(root: Path) -> None:
    (root / "csv/globs.csv").write_text("dev, /dev/dri/card*\nlib, /opt/*/x.so\ndev, /dev/nvmap\n")
    generated = generate(root, "globs", "drivers", "missing")

    assert generated.watched == [
        f"{root}/csv/globs.csv",
        f"{root}/csv/drivers.csv",
        f"{root}/csv/missing.csv",
        f"{root}/driver/{LIB}/libcuda.so",
        f"{root}/driver/etc/ld.so.cache",
        f"{root}/driver/dev/dri",
        f"{root}/driver/opt",
    ]


def test_none_is_the_driver_without_a_device(root: Path) -> None:
    generated = generate(root, "devices", "drivers", ids=("none",), merged_device=False)

    assert generated.spec["devices"] == [
        {"name": "none", "containerEdits": {"env": ["NVCT_EMPTY_DEVICE="]}}
    ]
    assert generated.spec["containerEdits"]["mounts"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ids": ("1",)}, "unsupported device id: 1"),
        ({"ids": ("0", "0:0")}, "unsupported device id: 0:0"),
        ({"ids": ("54d0709b-558d-5a59-9c65-0c5fc14a21a4",)}, "unsupported device id: 54d0709b"),
        ({"strategies": ("uuid",)}, "device 0 has no UUID to be named by"),
    ],
)
def test_ids_and_names_that_there_are_not(
    changes: dict[str, Any], sentence: str, root: Path
) -> None:
    with pytest.raises(NvidiaRuntimeError) as caught:
        generate(root, "devices", **changes)

    assert str(caught.value).startswith(sentence)
    assert caught.value.hint


def test_lists_without_a_node(root: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match="none of the device nodes"):
        generate(root, "drivers")

    generated = generate(root, "drivers", empty_devices=True)

    assert generated.spec["devices"][0]["containerEdits"] == {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"]
    }


def test_names_by_type(root: Path) -> None:
    generated = generate(root, "devices", strategies=("type-index",))

    assert [device["name"] for device in generated.spec["devices"]] == ["all", "gpu0"]


def simulate(
    name: str,
    ids: list[str],
    flags: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    **faults: Any,
) -> Any:
    """Generate in csv mode on a simulated machine, by its own lists or by others."""
    request = json.dumps(["csv", ids, flags, files])
    program = PROGRAM.format(tree=str(simulated.TREE))
    got = simulated.run(name, [sys.executable, "-I", "-c", program, request], **faults)
    assert not got.stderr
    return json.loads(got.stdout)


SOC = ["/dev/nvhost-ctrl-gpu", "/dev/nvhost-gpu", "/dev/nvmap", "/dev/nvgpu/igpu0/ctrl"]
DISPLAYS = ["/dev/dri/card0", "/dev/dri/card1", "/dev/dri/renderD128", "/dev/dri/renderD129"]
LISTED = ["/dev/nvidia-modeset", "/dev/nvidiactl"]
UVM = ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]
INTEGRATED = sorted([*SOC, *DISPLAYS, *LISTED, "/dev/nvidia0", "/dev/nvidia2"])
CARD = sorted([*SOC, *DISPLAYS, *LISTED, *UVM, "/dev/nvidia1"])
UUIDS = {gpu.uuid: gpu for gpu in catalogue.find("thor_dgpu").gpus}


@pytest.mark.parametrize(
    ("ids", "devices"),
    [
        (["all"], {"0": INTEGRATED, "1": CARD, "all": sorted({*INTEGRATED, *CARD})}),
        (["0"], {"0": INTEGRATED, "all": INTEGRATED}),
        (["1"], {"1": CARD, "all": CARD}),
        ([list(UUIDS)[1]], {"1": CARD, "all": CARD}),
        (["1", "0", "1"], {"0": INTEGRATED, "1": CARD, "all": sorted({*INTEGRATED, *CARD})}),
    ],
    ids=["all", "the SoC's GPU", "the card", "the card's UUID", "both"],
)
def test_thor_with_a_card(ids: list[str], devices: dict[str, list[str]]) -> None:
    spec, problems, hidden = simulate("thor_dgpu", ids)
    parts = {device["name"]: device["containerEdits"] for device in spec["devices"]}
    by_index = {name: sorted(paths(edits)) for name, edits in parts.items() if len(name) < 4}

    assert by_index == devices
    assert all(parts[uuid] == parts[str(at)] for at, uuid in enumerate(UUIDS) if uuid in parts)
    assert (problems, hidden) == ({}, [])
    assert ["enable-cuda-compat", "--host-cuda-version=13.0"] in words(spec["containerEdits"])


def test_only_the_card_brings_its_links() -> None:
    spec, _, _ = simulate("thor_dgpu", ["all"])
    hooks = {device["name"]: words(device["containerEdits"]) for device in spec["devices"]}

    assert hooks["0"] == []
    assert hooks["1"][0][:2] == ["create-symlinks", "--link"]
    assert "pci-0005:01:00.0-card" in hooks["1"][0][2]


@pytest.mark.parametrize(
    ("name", "flags"),
    [("thor_dgpu", ("disable-multiple-csv-devices",)), ("orin", ())],
)
def test_one_gpu_by_flag_or_by_nature(name: str, flags: tuple[str, ...]) -> None:
    spec, _, _ = simulate(name, ["all"], flags)

    assert [device["name"] for device in spec["devices"]] == ["0", "all"]
    assert "/dev/nvidia0" in paths(spec["devices"][0]["containerEdits"])


def test_a_lost_card_costs_the_card() -> None:
    spec, problems, _ = simulate("thor_dgpu", ["all"], lose=[1])

    assert [device["name"] for device in spec["devices"] if len(device["name"]) < 4] == ["0", "all"]
    assert "1" in problems
    assert "lost" in problems["1"]


def test_a_silent_nvml_leaves_the_lists() -> None:
    spec, problems, _ = simulate("thor_dgpu", ["all"], fail=["nvmlInit_v2:9"])

    assert [device["name"] for device in spec["devices"]] == ["0", "all"]
    assert problems == {}
    assert not any("enable-cuda-compat" in hook for hook in words(spec["containerEdits"]))


def test_an_id_that_neither_gpu_has() -> None:
    said, hint = simulate("thor_dgpu", ["7"])

    assert said == "unsupported device id: 7"
    assert all(uuid in hint for uuid in UUIDS)


def test_two_cards_are_no_tegra_with_a_card(tmp_path: Path) -> None:
    """The lists describe device 0; the second card can be asked for by name."""
    lists = trees.make(tmp_path, {"devices.csv": "dev, /dev/nvidia2\ndev, /dev/nvidiactl\n"})
    files = (f"{lists}/devices.csv",)
    uuid = catalogue.find("a100x8").gpus[1].uuid
    spec, _, hidden = simulate("a100x8", ["all"], files=files)

    assert [device["name"] for device in spec["devices"]] == ["0", "all"]
    assert paths(spec["devices"][0]["containerEdits"]) == ["/dev/nvidia2", "/dev/nvidiactl"]
    assert hidden == ["1", uuid]

    spec, _, _ = simulate("a100x8", [uuid], files=files)

    assert [device["name"] for device in spec["devices"]] == ["1", uuid, "all"]
    assert "/dev/nvidia3" in paths(spec["devices"][0]["containerEdits"])


def gpu(index: int, name: str, bus_id: str) -> Gpu:
    generated = Gpu(index)
    generated.name, generated.bus_id = name, bus_id
    return generated


@pytest.mark.parametrize(
    ("name", "bus_id", "expected"),
    [
        ("Orin (nvgpu)", "", True),
        ("NVIDIA Thor", "", True),
        ("NVIDIA RTX 6000 Ada Generation", "", False),
        ("NVIDIA Thor", "0000:01:00.0", True),
        ("NVIDIA RTX 6000 Ada Generation", "0005:01:00.0", False),
        ("NVIDIA RTX 6000 Ada Generation", "0000:02:00.0", False),
        ("NVIDIA RTX 6000 Ada Generation", "0000:01:01.0", False),
        ("NVIDIA GB10", "0000000f:01:00.0", False),
    ],
)
def test_is_integrated(name: str, bus_id: str, expected: bool) -> None:
    assert csv_mixed.is_integrated(gpu(0, name, bus_id)) is expected


@pytest.mark.parametrize(
    ("buses", "ids", "sentence"),
    [
        (["0005:01:00.0", "0000:01:00.0"], ("0",), "GPU 0, card, is not the one of the SoC"),
        (["0000:01:00.0", "0000:01:00.0"], ("1",), "GPU 1, card, is not the one card beside"),
        (["0000:01:00.0", "0005:01:00.0", "0006:01:00.0"], ("2",), "GPU 2, card, is not the"),
        (["0000:01:00.0", "0005:01:00.0"], ("1:0",), "there is no GPU 1:0"),
        (["0000:01:00.0", "0005:01:00.0"], ("MIG-x",), "there is no GPU MIG-x"),
    ],
    ids=["cards only", "two of a SoC", "two cards", "a MIG device", "a MIG device's UUID"],
)
def test_what_is_no_soc_with_a_card(
    buses: list[str], ids: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    options = Options("csv", ids).but(driver_root=f"{tmp_path}", kernel_root=f"{tmp_path}")
    gpus = [gpu(index, "card", bus_id) for index, bus_id in enumerate(buses)]
    with pytest.raises(csv_mixed.UnfitError, match=sentence):
        csv_mixed.choose(options, machine.look(options), [], gpus)
