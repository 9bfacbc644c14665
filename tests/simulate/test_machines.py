# SPDX-License-Identifier: Apache-2.0
"""The files of the simulated machines fit together, and are as a driver would leave them."""

from __future__ import annotations

import os
import platform
import posixpath
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import simulated
import yaml

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import boards, build, capabilities, catalogue, elf, faults
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, File, Folder, Symlink, Tree

# The library without code: what is asked here needs no compiler.
MACHINES = [faults.apply(machine, without_code=True) for machine in catalogue.machines()]
LOADED = [machine for machine in MACHINES if machine.loaded]
MIG = [m for m in MACHINES if any(gpu.mig_devices for gpu in m.gpus)]


def files(machine: SimulatedMachine) -> Tree:
    return build.driver_root(machine) | build.kernel(machine)


def content(tree: Tree, path: str) -> str:
    entry = tree[path]
    assert isinstance(entry, File)
    return entry.data.decode()


def name_of(machine: SimulatedMachine) -> str:
    return machine.name


def names(paths: Iterable[str], folder: str) -> set[str]:
    """Return the names in a folder of which some paths are in."""
    return {
        path[len(folder) + 1 :].split("/")[0] for path in paths if path.startswith(f"{folder}/")
    }


def pci(tree: Tree) -> dict[str, str]:
    """Return the folder of each PCI device."""
    bus = "/sys/bus/pci/devices"
    links = {path: entry for path, entry in tree.items() if posixpath.dirname(path) == bus}
    return {
        posixpath.basename(path): posixpath.normpath(f"{bus}/{entry.target}")
        for path, entry in links.items()
        if isinstance(entry, Symlink)
    }


def is_gpu(tree: Tree, address: str) -> bool:
    folder = pci(tree)[address]
    facts = [content(tree, f"{folder}/{name}") for name in ("vendor", "class")]
    return facts[0] == "0x10de\n" and facts[1] in ("0x030000\n", "0x030200\n")


@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
def test_links_lead_to_something(machine: SimulatedMachine) -> None:
    tree = files(machine)
    for path, entry in tree.items():
        if isinstance(entry, Symlink):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.target))
            is_there = target in tree or names(tree, target)
            is_kernels = target.startswith(("/sys/bus/pci/drivers/", "/sys/kernel/iommu_groups/"))
            assert is_there or is_kernels, f"{path} -> {entry.target}"


@pytest.mark.parametrize("machine", LOADED, ids=name_of)
def test_libraries_have_the_drivers_version(machine: SimulatedMachine) -> None:
    tree = files(machine)
    if machine.kind == "pci":
        assert f"{machine.library_folder}/libcuda.so.{machine.driver}" in tree
        assert content(tree, "/sys/module/nvidia/version") == f"{machine.driver}\n"
        assert f"  {machine.driver}  " in content(tree, "/proc/driver/nvidia/version")
    assert f"{machine.library_folder}/libnvidia-ml.so.1" in tree


@pytest.mark.parametrize("machine", LOADED, ids=name_of)
def test_kernel_and_nodes_tell_of_the_same_gpus(machine: SimulatedMachine) -> None:
    tree = files(machine)
    buses = {gpu.bus_id for gpu in machine.gpus if gpu.bus_id}
    if machine.kind != "wsl":
        assert {address for address in pci(tree) if is_gpu(tree, address)} == buses
        theirs = {gpu.bus_id for gpu in machine.drivers_gpus if gpu.bus_id}
        assert names(tree, "/proc/driver/nvidia/gpus") == theirs
        for gpu in machine.own_gpus:
            assert tree[f"/dev/nvidia{gpu.minor}"] == CharacterDevice(195, gpu.minor)
    for gpu in machine.drivers_gpus:
        if gpu.bus_id and machine.kind != "wsl":
            text = content(tree, f"/proc/driver/nvidia/gpus/{gpu.bus_id}/information")
            assert f"GPU UUID: \t {gpu.uuid}\n" in text
            assert f"Device Minor: \t {gpu.minor}\n" in text
        if gpu.card >= 0:
            assert names(tree, f"{pci(tree)[gpu.bus_id]}/drm") == {
                f"card{gpu.card}",
                f"renderD{gpu.render}",
            }


@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
def test_pci_devices_are_below_bridges_that_exist(machine: SimulatedMachine) -> None:
    """As the kernel builds the path of a device, whose root bus is named by domain and bus."""
    tree = files(machine)
    folders = pci(tree)
    nodes = names(tree, "/sys/devices/system/node") - {"online"}

    for address, folder in folders.items():
        root, *path = folder.removeprefix("/sys/devices/").split("/")
        assert root == f"pci{path[0].rpartition(':')[0]}"
        assert path[-1] == address
        for bridge in path[:-1]:
            assert content(tree, f"{folders[bridge]}/class") == "0x060400\n"
        assert f"node{content(tree, f'{folder}/numa_node').strip()}" in nodes
    assert bool(folders) == any(gpu.bus_id and machine.kind != "wsl" for gpu in machine.gpus)


@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
def test_names_of_adapters_and_buses_are_of_one_device(machine: SimulatedMachine) -> None:
    devices = machine.board.devices if machine.board else ()
    adapters = [*(one.net for one in devices), *(one.rdma for one in devices)]
    named = [name for name in adapters if name]
    places = [one.address for one in devices]

    assert len(set(named)) == len(named)
    assert len(set(places)) == len(places)
    assert len([one for one in devices if one.kind == boards.OTHER_BRIDGE]) == machine.nvswitches


@pytest.mark.parametrize("machine", MIG, ids=name_of)
def test_mig_capabilities_have_nodes_and_are_in_the_table(machine: SimulatedMachine) -> None:
    tree = files(machine)
    rows = content(tree, "/proc/driver/nvidia-caps/mig-minors").splitlines()
    table = dict(row.rsplit(" ", 1) for row in rows)

    for gpu in machine.gpus:
        for mig in gpu.mig_devices:
            instance = f"gpu{gpu.minor}/gi{mig.gpu_instance}"
            for path in (instance, f"{instance}/ci{mig.compute_instance}"):
                minor = table[f"{path}/access"]
                folder, _, rest = path.partition("/")
                text = content(tree, f"{capabilities.ROOT}/{folder}/mig/{rest}/access")
                assert text.startswith(f"DeviceFileMinor: {minor}\n")
                assert tree[f"/dev/nvidia-caps/nvidia-cap{minor}"] == CharacterDevice(
                    237, int(minor), 0o444
                )


@pytest.mark.parametrize(
    ("gpu", "instance", "compute", "minor"),
    [(0, 0, -1, 3), (0, 0, 0, 4), (0, 1, -1, 12), (1, 0, -1, 138), (31, 14, 7, 4322)],
)
def test_minors_of_the_drivers_fixed_table(
    gpu: int, instance: int, compute: int, minor: int
) -> None:
    assert capabilities.minor(gpu, instance, compute) == minor


def test_mig_devices_on_all_gpus() -> None:
    machine = catalogue.find("a100x8mig56")

    assert [len(gpu.mig_devices) for gpu in machine.gpus] == [7] * 8
    assert len({mig.uuid for gpu in machine.gpus for mig in gpu.mig_devices}) == 56


@pytest.mark.parametrize("name", ["t4x1", "a100x8", "a100x8mig", "h100x8"])
def test_devices_are_those_of_the_recorded_specs(name: str) -> None:
    spec = yaml.safe_load((simulated.EXPECTED / f"cdi/{name}.yaml").read_text())
    recorded = {device["name"] for device in spec["devices"]}
    machine = catalogue.find(name)

    plain = {gpu.uuid for gpu in machine.gpus if gpu.mig != "enabled"}
    migs = {mig.uuid for gpu in machine.gpus for mig in gpu.mig_devices}
    assert {name for name in recorded if name.startswith(("GPU-", "MIG-"))} == plain | migs


@pytest.mark.parametrize("name", ["t4x1", "a100x8", "a100x8mig", "h100x8", "orin"])
def test_all_that_the_recorded_specs_name_is_there(name: str) -> None:
    spec = yaml.safe_load((simulated.EXPECTED / f"cdi/{name}.yaml").read_text())
    tree = files(faults.apply(catalogue.find(name), without_code=True))
    parts = [spec["containerEdits"], *(device["containerEdits"] for device in spec["devices"])]

    for part in parts:
        for node in part.get("deviceNodes", []):
            number = node["major"], node.get("minor", 0)
            expected = CharacterDevice(*number, node.get("fileMode", 0o666), node.get("gid", 0))
            assert tree[node.get("hostPath", node["path"])] == expected
        for mount in part.get("mounts", []):
            path = mount["hostPath"]
            assert path in tree or names(tree, path), path


def test_container_has_the_nodes_of_its_gpu_alone() -> None:
    """What the kernel says is the same in it as outside."""
    machine = faults.apply(catalogue.find("a100x1of8"), without_code=True)
    tree = files(machine)

    devices = {path for path in tree if path.startswith("/dev/nvidia")}
    assert devices == {
        "/dev/nvidia1",
        *("/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    }
    assert len(names(tree, "/proc/driver/nvidia/gpus")) == 8
    assert content(tree, machine.nvml_settings).count("[gpu]") == 1


def test_gpus_for_virtual_machines_are_not_the_drivers() -> None:
    machine = faults.apply(catalogue.find("vfio"), without_code=True)
    tree = files(machine)

    driver = tree["/sys/bus/pci/devices/0000:02:00.0"]
    assert isinstance(driver, Symlink)
    bound = {
        address: posixpath.basename(entry.target)
        for address, folder in pci(tree).items()
        if isinstance(entry := tree.get(f"{folder}/driver"), Symlink)
    }
    assert bound["0000:01:00.0"] == "nvidia"
    assert {bound[f"0000:0{n}:00.{f}"] for n in (2, 3) for f in (0, 1)} == {"vfio-pci"}
    assert names(tree, "/dev/vfio") == {"15", "16", "vfio"}
    assert names(tree, "/proc/driver/nvidia/gpus") == {"0000:01:00.0"}


def test_32_bit_libraries_are_for_i386() -> None:
    tree = files(faults.apply(catalogue.find("rtx5090"), without_code=True))
    folder = "/usr/lib/i386-linux-gnu"

    images = [entry for path, entry in trees.below(tree, folder).items() if isinstance(entry, File)]
    assert len(images) == 21
    assert {image.data[:5] for image in images} == {b"\x7fELF\x01"}
    assert f"{folder}/vdpau/libvdpau_nvidia.so.580.95.05" in tree


def test_machines_of_reports_say_which() -> None:
    described = [machine.name for machine in MACHINES if machine.reports]

    assert {"gb10", "gh200", "gb200x4", "b200x8", "b300x8", "rtx5090", "vgpu"} <= {*described}


def test_removed_gpu_was_never_there() -> None:
    machine = faults.apply(catalogue.find("a100x8"), remove=[0], without_code=True)

    tree = files(machine)

    assert "/dev/nvidia2" not in tree
    assert names(tree, "/proc/driver/nvidia/gpus") == {gpu.bus_id for gpu in machine.gpus}


def test_mismatch_is_of_the_kernel_module() -> None:
    tree = files(faults.apply(catalogue.find("t4x1"), mismatch=True, without_code=True))

    assert content(tree, "/sys/module/nvidia/version") == "575.57.08\n"
    assert "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05" in tree


def test_driver_without_gpu_has_no_nodes() -> None:
    tree = files(faults.apply(catalogue.find("nogpu"), without_code=True))

    assert not names(tree, "/dev")
    assert not names(tree, "/sys/module")
    assert "/usr/bin/nvidia-smi" in tree


def test_unknown_machine() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        catalogue.find("a100")

    assert str(error.value) == "there is no simulated machine 'a100'"
    assert "a100x8mig" in error.value.hint


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "i386"])
@pytest.mark.parametrize("soname", ["libcuda.so.1", ""])
def test_shared_object_is_one_for_binutils(architecture: str, soname: str, tmp_path: Path) -> None:
    if not shutil.which("readelf"):
        pytest.skip("no readelf")
    (tmp_path / "lib.so").write_bytes(elf.shared_object(soname, architecture))
    words = ["readelf", "--wide", "-a", os.fspath(tmp_path / "lib.so")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={"LC_ALL": "C"})

    assert done.stderr == ""
    machines = {"x86_64": "X86-64", "aarch64": "AArch64", "i386": "Intel 80386"}
    assert machines[architecture] in done.stdout
    assert ("Library soname: [libcuda.so.1]" in done.stdout) == bool(soname)
    assert ".dynstr" in done.stdout


def test_shared_object_can_be_loaded(tmp_path: Path) -> None:
    """Programs that look for libcuda.so.1 by loading it must not crash."""
    library = tmp_path / "lib.so"
    library.write_bytes(elf.shared_object("libcuda.so.1", platform.machine()))
    script = f"import ctypes; ctypes.CDLL({os.fspath(library)!r}).cuInit"

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=False, capture_output=True, text=True
    )

    assert done.stderr.endswith("undefined symbol: cuInit\n")


class TestWriting:
    def test_each_kind_of_entry(self, tmp_path: Path) -> None:
        old = os.umask(0o077)
        try:
            tree: Tree = {
                "/a/b/file": File(b"x", 0o755),
                "/a/link": Symlink("b"),
                "/c": Folder(0o711),
            }
            trees.write(tree, os.fspath(tmp_path))
        finally:
            os.umask(old)

        assert (tmp_path / "a/link/file").read_bytes() == b"x"
        modes = [
            stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a/b", "a/b/file", "c")
        ]
        assert modes == [0o755, 0o755, 0o711]

    def test_folders_have_the_mode_that_they_have_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "like/a").mkdir(parents=True)
        (tmp_path / "like/a").chmod(0o700)
        (tmp_path / "new").mkdir()

        trees.write({"/a/file": File()}, f"{tmp_path}/new", like=f"{tmp_path}/like")

        assert stat.S_IMODE((tmp_path / "new/a").stat().st_mode) == 0o700

    def test_without_the_right_to_make_nodes(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may make nodes")
        with pytest.raises(NvidiaRuntimeError) as error:
            trees.create({"/dev/nvidia0": CharacterDevice(195, 0)}, f"{tmp_path}/new")

        assert error.value.hint == "device nodes need root"
