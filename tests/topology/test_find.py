# SPDX-License-Identifier: Apache-2.0
"""What a machine has: GPUs in all states, MIG devices with NVML and without, no GPU at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import simulated

from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine
from nvidia_runtime.simulate import build, catalogue, faults
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import Folder, Symlink, Tree
from nvidia_runtime.topology import find, text

from .machines import BRIDGE, NETWORK, STORAGE, device, nodes, of_driver, of_files, of_simulated

ADDRESS = "0000:01:00.0"
PLACE = f"pci0000:00/0000:00:01.0/{ADDRESS}"


def test_gpus_are_those_of_the_simulated_machine() -> None:
    machine = catalogue.find("a100x8mig")
    gpus = of_simulated(machine.name).gpus

    assert [gpu.uuid for gpu in gpus] == [gpu.uuid for gpu in machine.gpus]
    assert [gpu.device.address for gpu in gpus] == [gpu.bus_id for gpu in machine.gpus]
    assert [gpu.node for gpu in gpus] == [f"/dev/nvidia{gpu.minor}" for gpu in machine.gpus]
    assert [[mig.uuid for mig in gpu.migs] for gpu in gpus] == [
        [mig.uuid for mig in gpu.mig_devices] for gpu in machine.gpus
    ]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("t4x1", (1, 1, 0, 0)),
        ("a100x8", (8, 13, 6, 43)),
        ("h100x8", (8, 10, 4, 31)),
        ("gb200x4", (4, 6, 0, 9)),
        ("rtxpro_miggfx", (2, 2, 0, 3)),
        ("thor_dgpu", (2, 0, 0, 2)),
    ],
)
def test_number_of_devices(name: str, counts: tuple[int, ...]) -> None:
    topology = of_simulated(name)
    kinds = (topology.gpus, topology.nics, topology.nvswitches, topology.bridges)

    assert tuple(map(len, kinds)) == counts
    assert topology.notes == ()
    assert {gpu.problem for gpu in topology.gpus} == {""}


@pytest.mark.parametrize("name", ["a100x8", "h100x8", "t4x1"])
def test_nvml_is_asked_for_mig_devices_only(name: str, tmp_path: Path) -> None:
    """Without functions it answers nothing, and nobody notices."""
    simulated.need_root()
    machine = faults.apply(catalogue.find(name), without_code=True)
    root = str(tmp_path / "machine")
    trees.create(build.driver_root(machine) | build.kernel(machine), root)

    topology = find.topology(Machine(Driver(root), kernel_root=root))

    assert [gpu.uuid for gpu in topology.gpus] == [gpu.uuid for gpu in machine.gpus]
    assert topology.notes == ()


def test_mig_devices_without_nvml(tmp_path: Path) -> None:
    simulated.need_root()
    machine = faults.apply(catalogue.find("a100x8mig"), without_code=True)
    root = str(tmp_path / "machine")
    trees.create(build.driver_root(machine) | build.kernel(machine), root)

    topology = find.topology(Machine(Driver(root), kernel_root=root))

    assert [len(gpu.migs) for gpu in topology.gpus] == [7, 3, 2, 0, 0, 0, 0, 0]
    instances = [(mig.gpu_instance, mig.compute_instance) for mig in topology.gpus[2].migs]
    assert instances == [(2, 0), (2, 1)]
    assert [note.partition(":")[0] for note in topology.notes] == [
        "MIG devices are shown without UUIDs"
    ]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("wsl2", "The GPUs are those of Windows, behind /dev/dxg: no PCI bus shows them."),
        ("orin", "The GPU is a part of the SoC, not on a PCI bus."),
        ("nogpu", "There is no GPU of NVIDIA's on a PCI bus of this machine."),
    ],
)
def test_machine_without_a_gpu_on_pci_says_so(name: str, note: str) -> None:
    topology = of_simulated(name)

    assert topology.gpus == ()
    assert topology.notes == (note, "/sys/bus/pci/devices shows no PCI device here.")


def test_nothing_at_all(tmp_path: Path) -> None:
    assert of_files({}, tmp_path).notes == (
        "There is no GPU of NVIDIA's on a PCI bus of this machine.",
        "/sys/bus/pci/devices shows no PCI device here.",
    )


def problem(files: Tree, folder: Path) -> str:
    (gpu,) = of_files(files, folder).gpus
    return gpu.problem


class TestGpu:
    def test_without_driver(self, tmp_path: Path) -> None:
        assert problem(device(PLACE), tmp_path) == "no driver has it"

    def test_of_another_driver(self, tmp_path: Path) -> None:
        link = Symlink("../../../../bus/pci/drivers/vfio-pci")
        files = device(PLACE) | {f"/sys/devices/{PLACE}/driver": link}

        assert problem(files, tmp_path) == "the driver vfio-pci has it"

    def test_excluded(self, tmp_path: Path) -> None:
        files = device(PLACE) | of_driver(ADDRESS, **{"GPU Excluded": "Yes"})

        assert problem(files, tmp_path) == "excluded from use"

    def test_without_device_node(self, tmp_path: Path) -> None:
        files = device(PLACE) | of_driver(ADDRESS, **{"Device Minor": "7"})

        assert problem(files, tmp_path) == "no device node /dev/nvidia7 here"

    def test_without_place_in_sys(self, tmp_path: Path) -> None:
        simulated.need_root()

        assert problem(of_driver(ADDRESS), tmp_path) == "not in /sys"

    def test_whose_file_is_empty(self, tmp_path: Path) -> None:
        """As that of a GPU that has fallen off the bus may be."""
        path = f"/proc/driver/nvidia/gpus/{ADDRESS}/information"
        (gpu,) = of_files(device(PLACE) | {path: trees.text("")}, tmp_path).gpus

        assert (gpu.index, gpu.minor, gpu.uuid, gpu.model) == (0, -1, "", "")
        assert gpu.device.path == ("pci0000:00", "0000:00:01.0")

    def test_that_was_never_initialised_has_no_uuid(self, tmp_path: Path) -> None:
        unknown = "GPU-????????-????-????-????-????????????"
        (gpu,) = of_files(of_driver(ADDRESS, **{"GPU UUID": unknown}), tmp_path).gpus

        assert gpu.uuid == ""

    def test_of_another_vendor_is_none(self, tmp_path: Path) -> None:
        assert of_files(device(PLACE, vendor="0x1002"), tmp_path).gpus == ()


def test_numa_node_is_the_only_one_where_firmware_names_none(tmp_path: Path) -> None:
    topology = of_files(nodes("0-3") | device(PLACE, numa_node="-1"), tmp_path)

    assert topology.gpus[0].device.numa_node == 0


def test_numa_node_is_unknown_where_there_are_several(tmp_path: Path) -> None:
    topology = of_files(nodes("0-3", "4-7") | device(PLACE, numa_node="-1"), tmp_path)

    assert topology.gpus[0].device.numa_node == -1
    assert "No NUMA node" in text.lines(topology)


def test_adapter_is_what_has_an_interface_or_the_class(tmp_path: Path) -> None:
    files = device("pci0000:00/0000:00:03.0", NETWORK, "0x8086")
    files |= device("pci0000:00/0000:00:04.0", STORAGE, "0x15b3")
    files |= device("pci0000:00/0000:00:05.0", STORAGE, "0x15b3")
    files |= {"/sys/devices/pci0000:00/0000:00:05.0/infiniband/mlx5_0": Folder()}

    nics = of_files(files, tmp_path).nics

    assert [nic.device.address for nic in nics] == ["0000:00:03.0", "0000:00:05.0"]


def test_roles_of_bridges(tmp_path: Path) -> None:
    """Those that lead to no device of ours are left out."""
    port, up, down = "pci0000:00/0000:00:01.0", "0000:01:00.0", "0000:02:00.0"
    files = device(port, BRIDGE, "0x8086") | device(f"{port}/{up}", BRIDGE, "0x1000")
    files |= device(f"{port}/{up}/{down}", BRIDGE, "0x1000")
    files |= device(f"{port}/{up}/{down}/0000:03:00.0")
    files |= device("pci0000:00/0000:00:02.0", BRIDGE, "0x8086")
    files |= device("pci0000:00/0000:00:03.0", BRIDGE, "0x8086")
    files |= device("pci0000:00/0000:00:03.0/0000:05:00.0", BRIDGE, "0x1000")
    files |= device("pci0000:00/0000:00:03.0/0000:05:00.0/0000:06:00.0", NETWORK, "0x8086")

    roles = {one.device.address: one.role for one in of_files(files, tmp_path).bridges}

    assert roles == {
        "0000:00:01.0": "root port",
        "0000:00:03.0": "root port",
        "0000:01:00.0": "PCIe switch",
        "0000:02:00.0": "switch port",
        "0000:05:00.0": "PCI bridge",
    }
