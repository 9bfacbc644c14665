# SPDX-License-Identifier: Apache-2.0
"""``info``: the driver's versions, and the GPUs as NVML knows them."""

from __future__ import annotations

from nvidia_runtime.container_cli import problems
from nvidia_runtime.host import gpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine

COLUMN = 15
DRIVER = ("NVRM version", "CUDA version")
DEVICE = (
    *("Device Index", "Device Minor", "Model", "Brand", "GPU UUID", "Bus Location"),
    "Architecture",
)


def text(machine: Machine, *, as_csv: bool) -> str:
    """Return what there is; GPUs that do not answer are left out, and `problems_of` has them.

    Raises `NvidiaRuntimeError` if NVML does not answer.
    """
    if not machine.has_nvml():
        raise problems.no_driver(machine.driver.root)
    present = [gpu for gpu in gpus.ask(machine) if not gpu.problem]
    versions = (machine.nvml().driver, machine.nvml().cuda)
    if as_csv:
        table = _table(DEVICE, [_values(gpu) for gpu in present])
        return f"{_table(DRIVER, [versions])}\n{table}"
    return "\n".join([_block(DRIVER, versions), *(_block(DEVICE, _values(gpu)) for gpu in present)])


def problems_of(machine: Machine) -> list[str]:
    """Return a sentence for each GPU that does not answer."""
    return [gpu.problem for gpu in machine.nvml().gpus if gpu.problem]


def _values(gpu: Gpu) -> tuple[str, ...]:
    numbers = (str(gpu.index), str(gpu.minor))
    domain, _, place = gpu.bus_id.partition(":")
    bus_id = f"{domain:0>8}:{place}" if gpu.bus_id else ""
    return (*numbers, gpu.name, gpu.brand, gpu.uuid, bus_id, gpu.architecture)


def _block(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = zip(names, values, strict=True)
    return "".join(f"{f'{name}:':{COLUMN}} {value}\n" for name, value in pairs)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "".join(",".join(row) + "\n" for row in [names, *rows])
