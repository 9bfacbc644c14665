# SPDX-License-Identifier: Apache-2.0
"""The machines that can be simulated: a long table, and how its rows are made.

Those that have ``reports`` are as these describe them, in the numbers that containers or programs
can see.  What no report says is like the machine before it.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import boards, models
from nvidia_runtime.simulate.machine import MigDevice, SimulatedGpu, SimulatedMachine

# Fixed numbers, so that what is generated on a machine is the same each time.
SPACE = uuid.NAMESPACE_URL
FIRST_SERIAL = 1320000000000

DGX_A100_BUSES = (
    *("0000:07:00.0", "0000:0f:00.0", "0000:47:00.0", "0000:4e:00.0"),
    *("0000:87:00.0", "0000:90:00.0", "0000:b7:00.0", "0000:bd:00.0"),
)
DGX_A100_MINORS = (2, 3, 0, 1, 6, 7, 4, 5)  # NVML's index and the minor differ on this machine
HGX_H100_BUSES = (
    *("0000:18:00.0", "0000:2a:00.0", "0000:3a:00.0", "0000:5d:00.0"),
    *("0000:9a:00.0", "0000:ab:00.0", "0000:ba:00.0", "0000:db:00.0"),
)
HGX_B200_BUSES = tuple(
    f"0000:{bus:02x}:00.0" for bus in (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)
)
HGX_B300_BUSES = tuple(
    f"0000:{bus:02x}:00.0" for bus in (0x1A, 0x3C, 0x62, 0x73, 0x9A, 0xBC, 0xDF, 0xF0)
)
GB200_BUSES = ("0008:01:00.0", "0009:01:00.0", "0018:01:00.0", "0019:01:00.0")

# A MIG device: GPU instance, compute instance, profile, slices of compute, start and size.
Place = tuple[int, int, str, int, int, int]
SEVEN: tuple[Place, ...] = tuple((7 + n, 0, "1g.5gb", 1, n, 1) for n in range(7))
MIXED: tuple[Place, ...] = (
    (1, 0, "4g.20gb", 4, 0, 4),
    (5, 0, "2g.10gb", 2, 4, 2),
    (13, 0, "1g.5gb", 1, 6, 1),
)
SHARED: tuple[Place, ...] = ((2, 0, "3g.20gb", 1, 0, 4), (2, 1, "3g.20gb", 2, 0, 4))
GRAPHICS: tuple[Place, ...] = (
    (3, 0, "1g.24gb+gfx", 1, 0, 1),
    (4, 0, "1g.24gb", 1, 1, 1),
    (1, 0, "2g.48gb+gfx", 2, 2, 2),
)


def find(name: str) -> SimulatedMachine:
    """Return the machine of a name."""
    for machine in machines():
        if machine.name == name:
            return machine
    hint = f"there are {', '.join(machine.name for machine in machines())}"
    raise NvidiaRuntimeError(f"there is no simulated machine {name!r}", hint=hint)


def machines() -> tuple[SimulatedMachine, ...]:
    """Return all machines: a table, as long as it has to be."""
    return (
        SimulatedMachine(
            name="t4x1",
            description="one Tesla T4 with DRM nodes, as in a cloud instance",
            gpus=_gpus(models.T4, "t4", ["0000:00:1e.0"], drm=(1, 128)),
            board=boards.cloud(),
        ),
        dataclasses.replace(
            _dgx_a100("a100x8", "DGX A100, whose minors are not in the order of indices"),
            has_mofed=True,
        ),
        _dgx_a100(
            "a100x8mig",
            "the same with MIG: seven small devices, three mixed, two that share, none; four off",
            [SEVEN, MIXED, SHARED, ()],
        ),
        _dgx_a100("a100x8mig56", "the same, all of it in 56 MIG devices", [SEVEN] * 8),
        SimulatedMachine(
            name="h100x8",
            description="HGX H100 with NVSwitch, IMEX, GPUDirect Storage, GDRCopy and InfiniBand",
            gpus=_gpus(models.H100, "h100", HGX_H100_BUSES),
            board=boards.hgx_h100(),
            nvswitches=4,
            imex_channels=(0, 1, 2047),
            gds_nodes=16,
            has_gdrcopy=True,
            has_mofed=True,
            has_fabric_manager=True,
            has_persistenced=True,
        ),
        SimulatedMachine(
            name="gb200x4",
            description="a GB200 tray: aarch64, PCI domains above 0, memory coherent with the CPU",
            architecture="aarch64",
            gpus=_gpus(models.GB200, "gb200", GB200_BUSES, drm=(1, 128)),
            board=boards.grace_blackwell(),
            imex_channels=(0,),
            has_persistenced=True,
            reports="NVIDIA/k8s-test-infra#642, #727: domains; Azure/AgentBaker#8839: IMEX",
        ),
        *_hopper_and_blackwell(),
        *_desktops(),
        *_parts(),
        _rtx_pro(),
        _orin(),
        _thor(),
        SimulatedMachine(
            name="wsl2",
            description="Windows Subsystem for Linux: /dev/dxg and a driver store of Windows",
            driver="581.42",
            kind="wsl",
            gpus=_gpus(models.T4, "wsl", ["0000:01:00.0"]),
        ),
        SimulatedMachine(
            name="wsl2x2",
            description="the same with two GPUs, each with a driver store of its own",
            driver="581.42",
            kind="wsl",
            gpus=_gpus(models.RTX_5090, "wsl2x2", ["0000:01:00.0"])
            + _gpus(models.RTX_2000, "wsl2x2-second", ["0000:02:00.0"], [1]),
            stores=("nv_dispig.inf_amd64_2d3b9f1f2a6c1a5e", "nvcv.inf_amd64_90b1d4f6f3a7b842"),
            reports="NVIDIA/nvidia-container-toolkit#70: two GPUs in WSL",
        ),
        SimulatedMachine(
            name="nogpu",
            description="a driver that is installed but finds no GPU",
            gpus=(),
            loaded=False,
        ),
    )


def _dgx_a100(
    name: str, description: str, layouts: Iterable[tuple[Place, ...]] = ()
) -> SimulatedMachine:
    gpus = list(_gpus(models.A100, "a100", DGX_A100_BUSES, DGX_A100_MINORS))
    for index, layout in enumerate(layouts):
        gpus[index] = divided(gpus[index], layout)
    return SimulatedMachine(
        name=name,
        description=description,
        gpus=tuple(gpus),
        board=boards.dgx_a100(),
        nvswitches=6,
        has_fabric_manager=True,
    )


def _hopper_and_blackwell() -> tuple[SimulatedMachine, ...]:
    """Make what has GPUs of the last two generations, beside the machines of the table."""
    return (
        SimulatedMachine(
            name="gh200",
            description="a GH200: aarch64, one GPU on PCI domain 9, memory coherent with the CPU",
            architecture="aarch64",
            gpus=_gpus(models.GH200, "gh200", ["0009:01:00.0"]),
            board=boards.grace_hopper(),
            has_persistenced=True,
            reports="NVIDIA/gpu-operator#1347: nvidia-smi; NVIDIA/cloud-native-docs#6: modules",
        ),
        *(
            SimulatedMachine(
                name=name,
                description=description,
                gpus=_gpus(model, name, addresses),
                board=boards.hgx_blackwell(addresses),
                has_mofed=True,
                has_fabric_manager=True,
                has_persistenced=True,
                reports=reports,
            )
            for name, (model, addresses, description, reports) in HGX.items()
        ),
    )


HGX: dict[str, tuple[models.Model, tuple[str, ...], str, str]] = {
    "b200x8": (
        models.B200,
        HGX_B200_BUSES,
        "HGX B200, whose NVSwitches are behind an adapter of the host",
        "vllm-project/vllm#32862: topo -m; siderolabs/extensions#893: NVSwitches; "
        "NVIDIA/mig-parted#166, #187: MIG profiles",
    ),
    "b300x8": (
        models.B300,
        HGX_B300_BUSES,
        "HGX B300",
        "vllm-project/vllm#28707, #30441: topo -m; the rest by nvidia-smi in guides of 8 B300",
    ),
}


def _desktops() -> tuple[SimulatedMachine, ...]:
    return (
        SimulatedMachine(
            name="gb10",
            description="a DGX Spark: aarch64, one GPU on PCI domain f, whose memory is the CPU's",
            architecture="aarch64",
            gpus=_gpus(models.GB10, "gb10", ["000f:01:00.0"], drm=(0, 128)),
            board=boards.spark(),
            has_persistenced=True,
            reports="NVIDIA/k8s-device-plugin#1482, kubernetes-sigs/dra-driver-nvidia-gpu#1073, "
            "geerlingguy/sbc-reviews#92",
        ),
        SimulatedMachine(
            name="rtx5090",
            description="a desktop with a GeForce RTX 5090, and the driver's 32-bit libraries",
            gpus=_gpus(models.RTX_5090, "rtx5090", ["0000:01:00.0"], drm=(1, 128)),
            folder_32="/usr/lib/i386-linux-gnu",
            reports="noonghunna/club-3090#707: lspci, nvidia-smi; "
            "NVIDIA/nvidia-container-toolkit#244: what packages for i386 lack",
        ),
    )


def _parts() -> tuple[SimulatedMachine, ...]:
    """Make machines that have parts of others: of a GPU, of a machine's GPUs."""
    whole = _dgx_a100("a100x1of8", "a container that was given one GPU of a DGX A100's eight")
    theirs = tuple(dataclasses.replace(gpu, is_elsewhere=gpu.minor != 1) for gpu in whole.gpus)
    passed = _gpus(models.RTX_2000, "vfio", ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"])
    return (
        SimulatedMachine(
            name="vgpu",
            description="a virtual machine with a part of a Tesla P40, by NVIDIA's vGPU",
            driver="535.161.08",
            cuda=12020,
            gpus=tuple(
                dataclasses.replace(gpu, serial="")
                for gpu in _gpus(models.P40_24Q, "vgpu", ["0000:01:00.0"], drm=(1, 128))
            ),
            has_persistenced=True,
            is_vgpu=True,
            reports="ollama/ollama#6364: nvidia-smi -q; Yeshey/nixos-nvidia-vgpu#5: the daemons",
        ),
        dataclasses.replace(
            whole,
            gpus=theirs,
            reports="ehfd/nvidia-dind#3, NVIDIA/nvidia-container-runtime#92: engines in containers",
        ),
        SimulatedMachine(
            name="vfio",
            description="three RTX 2000 Ada, two of them for virtual machines (vfio-pci)",
            gpus=tuple(
                dataclasses.replace(gpu, pci_driver="nvidia" if index == 0 else "vfio-pci")
                for index, gpu in enumerate(passed)
            ),
            board=boards.virtual_machines(
                [("0000:01:00.0", -1), ("0000:02:00.0", 15), ("0000:03:00.0", 16)]
            ),
            reports="kata-containers/kata-containers#12549: lspci, /dev/vfio",
        ),
    )


def _rtx_pro() -> SimulatedMachine:
    gpus = _gpus(models.RTX_PRO, "rtxpro", ["0000:21:00.0", "0000:c1:00.0"], drm=(1, 128))
    return SimulatedMachine(
        name="rtxpro_miggfx",
        description="two RTX PRO 6000, one in MIG devices that can do graphics",
        gpus=(divided(gpus[0], GRAPHICS), gpus[1]),
        board=boards.workstation(),
    )


def _orin() -> SimulatedMachine:
    return SimulatedMachine(
        name="orin",
        description="Jetson AGX Orin, whose GPU is not on a PCI bus",
        driver="540.4.0",
        cuda=12060,
        architecture="aarch64",
        kind="tegra",
        gpus=(SimulatedGpu(uuid="54d0709b-558d-5a59-9c65-0c5fc14a21a4", minor=0, **models.ORIN),),
    )


def _thor() -> SimulatedMachine:
    """Make a Thor; the SoC's GPU is on domain 0, bus 1, as the toolkit expects it."""
    integrated = _gpus(models.THOR, "thor", ["0000:01:00.0"])
    discrete = _gpus(models.RTX_PRO, "thor-dgpu", ["0005:01:00.0"], [1], drm=(1, 129))
    return SimulatedMachine(
        name="thor_dgpu",
        description="Jetson AGX Thor with a discrete GPU beside its own",
        driver="580.00",
        architecture="aarch64",
        kind="tegra",
        gpus=integrated + discrete,
    )


def _gpus(
    model: models.Model,
    tag: str,
    buses: Iterable[str],
    minors: Iterable[int] = (),
    drm: tuple[int, int] | None = None,
) -> tuple[SimulatedGpu, ...]:
    """Make one GPU a bus; ``drm`` are the numbers of the first one's card and render node."""
    buses = list(buses)
    numbers = list(minors) or list(range(len(buses)))
    return tuple(
        SimulatedGpu(
            uuid=f"GPU-{_uuid(f'{tag}-{index}')}",
            bus_id=bus,
            minor=numbers[index],
            serial=str(FIRST_SERIAL + index),
            card=drm[0] + index if drm else -1,
            render=drm[1] + index if drm else -1,
            **model,
        )
        for index, bus in enumerate(buses)
    )


def divided(gpu: SimulatedGpu, layout: tuple[Place, ...]) -> SimulatedGpu:
    """Return a GPU in MIG mode, with the MIG devices of a layout, which may be empty."""
    profiles = {profile.name: profile.enum for profile in gpu.gpu_profiles}
    sizes = {profile.slices: profile.enum for profile in gpu.compute_profiles}
    devices = [
        MigDevice(
            uuid=f"MIG-{_uuid(f'a-mig-{gpu.uuid}-{index}')}",
            gpu_instance=instance,
            compute_instance=compute,
            gpu_profile=profiles[profile],
            compute_profile=sizes[slices],
            start=start,
            size=size,
        )
        for index, (instance, compute, profile, slices, start, size) in enumerate(layout)
    ]
    return dataclasses.replace(gpu, mig="enabled", mig_devices=tuple(devices))


def _uuid(tag: str) -> str:
    # The names in the recorded specs of tests/simulated begin like this.
    return str(uuid.uuid5(SPACE, f"simgpu/{tag}"))
