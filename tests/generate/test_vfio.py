# SPDX-License-Identifier: Apache-2.0
"""CDI specs of GPUs for virtual machines, by /sys alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from host import trees
from sources import test_machine as machines
from sources.test_renew import GENERATE

from nvidia_runtime.cdi import yaml_text
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Generated, Options

from . import on_machine

BUS = "sys/bus/pci/devices"
# As the toolkit's test of its mode has it.
TOOLKIT = """---
cdiVersion: 0.5.0
kind: nvidia.com/pgpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/vfio/5
              hostPath: {root}/dev/vfio/5
containerEdits:
    env:
        - NVIDIA_VISIBLE_DEVICES=void
    deviceNodes:
        - path: /dev/vfio/vfio
          hostPath: {root}/dev/vfio/vfio
"""


def plug(
    root: Path, address: str, driver: str = "vfio-pci", group: str = "5", kind: str = "0x030200"
) -> None:
    """Put a device of NVIDIA's on the bus."""
    folder = f"{BUS}/{address}"
    trees.make(root, {f"{folder}/vendor": "0x10de\n", f"{folder}/class": f"{kind}\n"})
    for name, target in (
        ("driver", f"../../../../bus/pci/drivers/{driver}"),
        ("iommu_group", f"../../../../kernel/iommu_groups/{group}"),
    ):
        os.symlink(target, root / folder / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    plug(tmp_path, "0000:01:00.0")
    trees.mknod(tmp_path / "dev/vfio/vfio", 10, 196)
    trees.mknod(tmp_path / "dev/vfio/5", 241, 0)
    return tmp_path


def generate(root: Path, *ids: str, **changes: object) -> Generated:
    options = Options("vfio", ids or ("all",)).but(driver_root=f"{root}", kernel_root=f"{root}")
    return machine.generate(options.but(**changes))


def test_spec_is_the_toolkits(root: Path) -> None:
    spec = generate(root, strategies=("index",), merged_device=False).spec

    assert yaml_text.dumps(spec) == TOOLKIT.format(root=root)
    assert yaml.safe_load(yaml_text.dumps(spec)) == spec


def test_indices_are_those_of_all_gpus_on_the_bus(tmp_path: Path) -> None:
    """On the machine whose first GPU is the host's own; NVML is not asked."""
    got = on_machine.generate("vfio", tmp_path, mode="vfio")

    paths = {name: got.nodes(name) for name in got.names()}
    assert paths == {
        "1": ["/dev/vfio/15"],
        "0000:02:00.0": ["/dev/vfio/15"],
        "2": ["/dev/vfio/16"],
        "0000:03:00.0": ["/dev/vfio/16"],
        "all": ["/dev/vfio/15", "/dev/vfio/16"],
    }
    assert got.spec["kind"] == "nvidia.com/pgpu"
    assert "mounts" not in got.spec["containerEdits"]
    assert got.watched == ["/dev/vfio"]
    assert got.warnings == []
    assert not got.calls


def test_gpus_of_the_host_are_of_another_mode(tmp_path: Path) -> None:
    got = on_machine.generate("vfio", tmp_path, strategies=["index"])

    assert {name: got.nodes(name) for name in got.names()} == {
        "0": ["/dev/nvidia0"],
        "all": ["/dev/nvidia0"],
    }


def test_container_of_such_a_spec(tmp_path: Path) -> None:
    """Its nodes are those of the GPU's group alone, beside nothing of a driver."""
    shell = GENERATE.replace("cdi generate", "cdi generate --mode=vfio")
    asked = machines.job("NVIDIA_VISIBLE_DEVICES=nvidia.com/pgpu=2", shell=shell)

    (end,) = machines.create("vfio", tmp_path, asked)

    assert (end["code"], end["err"]) == (0, "")
    assert machines.paths(end) == ["/dev/vfio/vfio", "/dev/vfio/16"]
    before = len(asked["spec"]["mounts"])
    assert len(end["spec"]["mounts"]) == before


def test_class_of_a_users_own(root: Path) -> None:
    assert generate(root, device_class="gpu-for-vms").spec["kind"] == "nvidia.com/gpu-for-vms"


@pytest.mark.parametrize("id_", ["0", "0000:01:00.0"])
def test_one_by_index_or_address(id_: str, root: Path) -> None:
    plug(root, "0000:02:00.0", group="6")
    trees.mknod(root / "dev/vfio/6", 241, 1)

    names = [device["name"] for device in generate(root, id_, merged_device=False).spec["devices"]]

    assert names == ["0", "0000:01:00.0"]


def test_node_of_a_device_where_groups_have_none(root: Path) -> None:
    """Linux with IOMMUFD and without the older container of groups."""
    (root / "dev/vfio/5").unlink()
    trees.make(root, {f"{BUS}/0000:01:00.0/vfio-dev/vfio3/dev": "242:3\n"})
    trees.mknod(root / "dev/vfio/devices/vfio3", 242, 3)
    trees.mknod(root / "dev/iommu", 10, 124)

    spec = generate(root, "0", merged_device=False).spec

    (node,) = spec["devices"][0]["containerEdits"]["deviceNodes"]
    assert node["path"] == "/dev/vfio/devices/vfio3"
    assert [one["path"] for one in spec["containerEdits"]["deviceNodes"]] == ["/dev/iommu"]


def test_virtual_function_of_another_gpu_is_not_one(root: Path) -> None:
    plug(root, "0000:01:00.4", driver="nvidia", group="7")
    os.symlink("../0000:01:00.0", root / f"{BUS}/0000:01:00.4/physfn")
    plug(root, "0000:02:00.0", driver="nvidia", group="8")

    with pytest.raises(NvidiaRuntimeError) as caught:
        generate(root, "1")

    assert str(caught.value) == "GPU 1 (0000:02:00.0) has the driver nvidia, not vfio-pci"
    assert caught.value.hint == "'driverctl set-override 0000:02:00.0 vfio-pci' gives it away"


def test_group_that_the_host_uses_is_named(root: Path) -> None:
    plug(root, "0000:01:00.1", driver="snd_hda_intel", kind="0x040300")
    plug(root, "0000:00:01.0", driver="pcieport", kind="0x060400")
    plug(root, "0000:02:00.1", driver="snd_hda_intel", group="9", kind="0x040300")

    assert generate(root).warnings == [
        "GPU 0 (0000:01:00.0) shares IOMMU group 5 with 0000:01:00.1 (snd_hda_intel): "
        "no virtual machine can have it before vfio-pci has them too"
    ]


@pytest.mark.parametrize(
    ("change", "ids", "sentence"),
    [
        pytest.param("node", (), "GPU 0 (0000:01:00.0) has no node", id="no node"),
        pytest.param("group", (), "has no node, and no IOMMU group", id="no IOMMU"),
        pytest.param("", ("7",), "this machine has no device '7'", id="no such GPU"),
        pytest.param("driver", (), "vfio-pci has no GPU of NVIDIA's", id="none for guests"),
        pytest.param("all", (), "there is no GPU of NVIDIA's on the PCI bus", id="none at all"),
    ],
)
def test_what_must_be_there(change: str, ids: tuple[str, ...], sentence: str, root: Path) -> None:
    folder = root / BUS / "0000:01:00.0"
    if change in ("node", "group"):
        (root / "dev/vfio/5").unlink()
    if change == "group":
        (folder / "iommu_group").unlink()
    if change == "driver":
        (folder / "driver").unlink()
    if change == "all":
        (folder / "vendor").write_text("0x1002\n")

    with pytest.raises(NvidiaRuntimeError) as caught:
        generate(root, *ids)

    assert sentence in str(caught.value)
    assert caught.value.hint
