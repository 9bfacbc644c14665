# SPDX-License-Identifier: Apache-2.0
"""The boards of simulated machines: which PCI devices there are, below which bridges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nvidia_runtime.simulate.machine import Board, PciDevice, SimulatedGpu

# Vendor and device of what the machines are made of, as lspci(8) writes them.
INTEL_PORT, AMD_PORT, GRACE_PORT, OTHER_PORT = "8086:352a", "1022:1483", "10de:22b1", "1b36:000c"
PEX88000, PEX89000 = "1000:c010", "1000:c030"
CONNECTX_6, CONNECTX_7, BLUEFIELD_3 = "15b3:101b", "15b3:1021", "15b3:a2dc"
BCM57508, X550, I210, ENA = "14e4:1750", "8086:1563", "8086:1533", "1d0f:ec20"
# Of the adapters of an HGX B200, those of its GPUs.
HGX_ADAPTERS = (4, 7, 8, 9, 10, 13, 14, 15)
SOUND = "10de:22be"
NVSWITCH_2, NVSWITCH_3 = "10de:1af1", "10de:22a3"
GEN_1, GEN_3, GEN_4, GEN_5 = (f"{speed} GT/s PCIe" for speed in ("2.5", "8.0", "16.0", "32.0"))
BRIDGE, ETHERNET, INFINIBAND, OTHER_BRIDGE = "0x060400", "0x020000", "0x020700", "0x068000"


def default(gpus: Iterable[SimulatedGpu]) -> Board:
    """Return a board with one NUMA node and a root port for each GPU."""
    devices: list[PciDevice] = []
    for gpu in gpus:
        if gpu.bus_id:
            port = _port(f"{gpu.bus_id.partition(':')[0]}:00:00.0", OTHER_PORT, 0)
            devices += [port, _gpu(gpu.bus_id, port, GEN_5)]
    return Board(devices=tuple(devices))


def cloud() -> Board:
    """Return the board of a cloud instance, whose devices are all on the root bus."""
    network = PciDevice(address="0000:00:05.0", ids=ENA, kind=ETHERNET, net="ens5")
    gpu = PciDevice(address="0000:00:1e.0", link=GEN_3)
    return Board(cpus=("0-3",), devices=(network, gpu))


def hgx_h100() -> Board:
    """Return the board of an HGX H100: a switch has two GPUs, and an adapter for each of them."""
    devices: list[PciDevice] = []
    pairs = (
        (0, 0x15, (0x18, 0x2A)),
        (0, 0x37, (0x3A, 0x5D)),
        (1, 0x97, (0x9A, 0xAB)),
        (1, 0xB7, (0xBA, 0xDB)),
    )
    for pair, (node, bus, gpus) in enumerate(pairs):
        port = _port(f"0000:{bus:02x}:01.0", INTEL_PORT, node)
        upstream, *down = _switch(f"0000:{bus + 1:02x}:00.0", port, PEX89000, 4)
        devices += [port, upstream, *down]
        for number, gpu in enumerate(gpus):
            place, rdma = f"0000:{gpu + 1:02x}:00", f"mlx5_{2 * pair + number}"
            devices.append(_gpu(f"0000:{gpu:02x}:00.0", down[2 * number], GEN_5))
            devices += _adapter(
                place, down[2 * number + 1], CONNECTX_7, GEN_5, [rdma], kind=INFINIBAND
            )
    port = _port("0000:04:01.0", INTEL_PORT, 0)
    devices += [port, *_nvswitches("0000:05:00.0", port, PEX89000, NVSWITCH_3, range(7, 11))]
    port = _port("0000:ea:01.0", INTEL_PORT, 1)
    devices += [port, *_adapter("0000:eb:00", port, X550, GEN_3, ["", ""], width=4)]
    return Board(cpus=("0-47,96-143", "48-95,144-191"), devices=tuple(devices))


def dgx_a100() -> Board:
    """Return the board of a DGX A100: two adapters are at a switch, two GPUs at one below it.

    Each socket has four NUMA nodes, and not all of them have devices.
    """
    devices: list[PciDevice] = []
    pairs = (
        (3, 0x00, (0x07, 0x0F), (0x0C, 0x12), 0),
        (1, 0x40, (0x47, 0x4E), (0x4B, 0x54), 2),
        (7, 0x80, (0x87, 0x90), (0x8D, 0x94), 6),
        (5, 0xB0, (0xB7, 0xBD), (0xBA, 0xBE), 8),
    )
    for node, bus, gpus, adapters, first in pairs:
        port = _port(f"0000:{bus:02x}:01.1", AMD_PORT, node)
        upstream, *down = _switch(f"0000:{bus + 1:02x}:00.0", port, PEX88000, 3)
        inner, *inner_down = _switch(f"0000:{bus + 3:02x}:00.0", down[0], PEX88000, 2)
        devices += [port, upstream, *down, inner, *inner_down]
        for number in range(2):
            place, rdma = f"0000:{adapters[number]:02x}:00", f"mlx5_{first + number}"
            devices.append(_gpu(f"0000:{gpus[number]:02x}:00.0", inner_down[number], GEN_4))
            devices += _adapter(place, down[1 + number], CONNECTX_6, GEN_4, [rdma], kind=INFINIBAND)
    port = _port("0000:c0:01.1", AMD_PORT, 5)
    devices += [port, *_nvswitches("0000:c1:00.0", port, PEX88000, NVSWITCH_2, range(0xC4, 0xCA))]
    for bus, node, names in ((0x60, 2, ["mlx5_4", "mlx5_5"]), (0xE0, 4, ["mlx5_10", "mlx5_11"])):
        port = _port(f"0000:{bus:02x}:03.1", AMD_PORT, node)
        devices += [port, *_adapter(f"0000:{bus + 1:02x}:00", port, CONNECTX_6, GEN_4, names)]
    port = _port("0000:e0:05.1", AMD_PORT, 4)
    devices += [port, *_adapter("0000:e2:00", port, I210, GEN_1, [""], width=1)]
    cpus = tuple(f"{first}-{first + 15},{first + 128}-{first + 143}" for first in range(0, 128, 16))
    return Board(cpus=cpus, devices=tuple(devices))


def grace_blackwell() -> Board:
    """Return the board of a GB200 tray: a PCI domain for each device, NUMA nodes of GPUs."""
    devices: list[PciDevice] = []
    for node, domains in enumerate((("0008", "0009"), ("0018", "0019"))):
        for domain in domains:
            port = _port(f"{domain}:00:00.0", GRACE_PORT, node)
            devices += [port, _gpu(f"{domain}:01:00.0", port, GEN_5)]
    for domain, node, name in (("0000", 0, 0), ("0002", 0, 1), ("0010", 1, 4), ("0012", 1, 5)):
        port = _port(f"{domain}:00:00.0", GRACE_PORT, node)
        rdma = [f"mlx5_{name}"]
        devices.append(port)
        devices += _adapter(f"{domain}:03:00", port, CONNECTX_7, GEN_5, rdma, kind=INFINIBAND)
    port = _port("0006:00:00.0", GRACE_PORT, 0)
    devices += [port, *_adapter("0006:01:00", port, BLUEFIELD_3, GEN_5, ["mlx5_2", "mlx5_3"])]
    memory = (2, 10, 18, 26)
    return Board(cpus=("0-71", "72-143"), memory_nodes=memory, devices=tuple(devices))


def hgx_blackwell(gpus: Sequence[str]) -> Board:
    """Return the board of an HGX B200 or B300: a switch has a GPU and its adapter.

    NVSwitches are not on the bus of this generation: one adapter with four functions leads to them.
    """
    devices: list[PciDevice] = []
    for number, address in enumerate(gpus):
        bus, node = int(address[5:7], 16), number // (len(gpus) // 2)
        port = _port(f"0000:{bus - 3:02x}:01.0", INTEL_PORT, node)
        upstream, *down = _switch(f"0000:{bus - 2:02x}:00.0", port, PEX89000, 2)
        devices += [port, upstream, *down, _gpu(address, down[0], GEN_5)]
        rdma, place = [f"mlx5_{HGX_ADAPTERS[number]}"], f"0000:{bus + 1:02x}:00"
        devices += _adapter(place, down[1], CONNECTX_7, GEN_5, rdma, kind=INFINIBAND)
    port = _port("0000:04:01.0", INTEL_PORT, 0)
    rdma = [f"mlx5_{number}" for number in range(4)]
    devices += [port, *_adapter("0000:05:00", port, CONNECTX_7, GEN_5, rdma, kind=INFINIBAND)]
    for bus, node, rdma in ((0x10, 0, ["mlx5_5", "mlx5_6"]), (0x90, 1, ["mlx5_11", "mlx5_12"])):
        port = _port(f"0000:{bus:02x}:01.0", INTEL_PORT, node)
        devices += [port, *_adapter(f"0000:{bus + 1:02x}:00", port, BLUEFIELD_3, GEN_5, rdma)]
    return Board(cpus=("0-55,112-167", "56-111,168-223"), devices=tuple(devices))


def spark() -> Board:
    """Return the board of a DGX Spark: a PCI domain for the GPU, two for the adapter's ports."""
    port = _port("000f:00:00.0", GRACE_PORT, 0)
    devices = [port, _gpu("000f:01:00.0", port, GEN_1)]
    for domain, names in (("0000", ["rocep1s0f0", "rocep1s0f1"]), ("0002", ["roceP2p1s0f0", ""])):
        port = _port(f"{domain}:00:00.0", GRACE_PORT, 0)
        devices += [port, *_adapter(f"{domain}:01:00", port, CONNECTX_7, GEN_5, names, width=4)]
    return Board(cpus=("0-19",), devices=tuple(devices))


def grace_hopper() -> Board:
    """Return the board of a GH200, whose GPU is a NUMA node of its own."""
    port = _port("0009:00:00.0", GRACE_PORT, 0)
    devices = [port, _gpu("0009:01:00.0", port, GEN_5)]
    port = _port("0002:00:00.0", GRACE_PORT, 0)
    devices += [port, *_adapter("0002:01:00", port, BLUEFIELD_3, GEN_5, ["mlx5_0", "mlx5_1"])]
    return Board(cpus=("0-71",), memory_nodes=(1,), devices=tuple(devices))


def virtual_machines(gpus: Sequence[tuple[str, int]]) -> Board:
    """Return a board whose GPUs are in IOMMU groups, one -1: each has a function for sound, too."""
    devices: list[PciDevice] = []
    for address, group in gpus:
        port = _port(f"0000:00:{int(address[5:7], 16):02x}.0", INTEL_PORT, 0)
        driver = "vfio-pci" if group >= 0 else "snd_hda_intel"
        gpu = _gpu(address, port, GEN_4)
        sound = PciDevice(
            address=f"{address[:-1]}1",
            above=gpu.above,
            ids=SOUND,
            kind="0x040300",
            driver=driver,
            iommu_group=group,
        )
        gpu = replace(gpu, iommu_group=group, driver="vfio-pci" if group >= 0 else "")
        devices += [port, gpu, sound]
    return Board(devices=tuple(devices))


def workstation() -> Board:
    """Return a board with two sockets, a GPU at each, and an adapter with two ports at one."""
    devices: list[PciDevice] = []
    for node, bus in enumerate((0x20, 0xC0)):
        port = _port(f"0000:{bus:02x}:01.1", AMD_PORT, node)
        devices += [port, _gpu(f"0000:{bus + 1:02x}:00.0", port, GEN_5)]
    port = _port("0000:20:03.1", AMD_PORT, 0)
    rdma = ["bnxt_re0", "bnxt_re1"]
    devices += [port, *_adapter("0000:22:00", port, BCM57508, GEN_4, rdma)]
    return Board(cpus=("0-31,64-95", "32-63,96-127"), devices=tuple(devices))


def _port(address: str, ids: str, node: int) -> PciDevice:
    return PciDevice(address=address, ids=ids, kind=BRIDGE, node=node)


def _switch(address: str, above: PciDevice, ids: str, ports: int) -> list[PciDevice]:
    """Make a switch: its upstream port, and ``ports`` downstream ports on the next bus."""
    domain, bus, _ = address.split(":")
    upstream = _bridge(address, above, ids)
    places = [f"{domain}:{int(bus, 16) + 1:02x}:{number:02x}.0" for number in range(ports)]
    return [upstream, *(_bridge(place, upstream, ids) for place in places)]


def _bridge(address: str, above: PciDevice, ids: str) -> PciDevice:
    return PciDevice(address=address, above=_below(above), ids=ids, kind=BRIDGE, node=above.node)


def _gpu(address: str, above: PciDevice, link: str) -> PciDevice:
    """Make the place of a GPU; the machine says what it is."""
    return PciDevice(address=address, above=_below(above), node=above.node, link=link)


def _adapter(
    place: str,
    above: PciDevice,
    ids: str,
    link: str,
    rdma: Sequence[str],
    *,
    kind: str = ETHERNET,
    width: int = 16,
) -> list[PciDevice]:
    """Make a network adapter, a PCI function for each of its ports, which ``rdma`` names.

    Interfaces have the names of systemd.net-naming-scheme(7), by the place of the device.
    """
    domain, bus, slot = (int(part, 16) for part in place.split(":"))
    name = "ib" if kind == INFINIBAND else "en"
    name += f"P{domain}p{bus}s{slot}" if domain else f"p{bus}s{slot}"
    return [
        PciDevice(
            address=f"{place}.{function}",
            above=_below(above),
            ids=ids,
            kind=kind,
            node=above.node,
            link=link,
            width=width,
            net=f"{name}f{function}" if len(rdma) > 1 else name,
            rdma=port,
        )
        for function, port in enumerate(rdma)
    ]


def _nvswitches(
    address: str, above: PciDevice, switch_ids: str, ids: str, buses: Sequence[int]
) -> list[PciDevice]:
    """Make NVSwitches, each at a port of one PCIe switch."""
    upstream, *down = _switch(address, above, switch_ids, len(buses))
    nvswitches = [
        PciDevice(
            address=f"0000:{bus:02x}:00.0",
            above=_below(port),
            ids=ids,
            kind=OTHER_BRIDGE,
            node=above.node,
            link=GEN_4,
            width=2,
        )
        for bus, port in zip(buses, down, strict=True)
    ]
    return [upstream, *down, *nvswitches]


def _below(bridge: PciDevice) -> tuple[str, ...]:
    return (*bridge.above, bridge.address)
