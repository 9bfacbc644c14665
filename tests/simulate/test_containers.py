# SPDX-License-Identifier: Apache-2.0
"""In a container of a simulated machine, programs see what it was given, and no more."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from subprocess import CompletedProcess

import demo_container
import pytest
from distributions.conftest import low_level
from distributions.site import Site, hold
from engines import cgroups
from engines.bundles import Bundles
from engines.machine import Machine, Runtime

from nvidia_runtime.simulate import catalogue, programs
from nvidia_runtime.simulate.tree import File

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="its machine is of x86-64")

MACHINE = catalogue.find("a100x8mig")
SMI = "/usr/bin/nvidia-smi"
QUERY = "/bin/deviceQuery"
NAME = "NVIDIA A100-SXM4-40GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithLibc(Bundles):
    """Bundles with a C library, for the driver's programs, and with deviceQuery, a user's own."""

    def bundle(self, command: tuple[str, ...], gpus: str | None) -> Path:
        """Make a bundle; its name is the container's id."""
        bundle = Bundles.bundle(self, command, gpus)
        program = bundle / f"rootfs{QUERY}"
        file = programs.tree(MACHINE)[programs.DEVICE_QUERY]
        assert isinstance(file, File)
        program.write_bytes(file.data)
        program.chmod(file.mode)
        for library in demo_container.libraries(os.fspath(program)):
            target = bundle / "rootfs" / library[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
        return bundle


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    """Keep a machine with GPUs and MIG devices."""
    with hold(MACHINE.name, machine.scratch / "containers", machine.shim) as held:
        yield held


@pytest.fixture(scope="module")
def runc(site: Site, group: str, machine: Machine) -> WithLibc:
    """Run runc as it runs on this machine, under our runtime."""
    plain = low_level(site, group, "runc", cgroups.usual())
    runtime = Runtime(path=machine.shim, calls=machine.scratch, log=machine.scratch)
    plain = replace(plain, runtime=runtime, debug_runtime=runtime)
    values = {one.name: getattr(plain, one.name) for one in fields(plain)}
    return WithLibc(**values)


def said(done: CompletedProcess[str]) -> list[str]:
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


def test_gpus_are_counted_anew(runc: WithLibc) -> None:
    fifth, seventh = MACHINE.gpus[5], MACHINE.gpus[7]

    assert said(runc.run(SMI, "-L", gpus="7,5")) == [
        f"GPU 0: {NAME} (UUID: {fifth.uuid})",
        f"GPU 1: {NAME} (UUID: {seventh.uuid})",
    ]
    lines = said(runc.run(QUERY, gpus="7,5"))
    assert "Detected 2 CUDA Capable device(s)" in lines
    assert lines[-1] == "Result = PASS"


def test_mig_device_is_the_only_one_of_its_gpu(runc: WithLibc) -> None:
    gpu = MACHINE.gpus[1]
    part = gpu.mig_devices[1]

    lines = said(runc.run(SMI, "-L", gpus=part.uuid))
    assert lines == [
        f"GPU 0: {NAME} (UUID: {gpu.uuid})",
        f"  MIG 2g.10gb     Device  0: (UUID: {part.uuid})",
    ]
    assert f'Device 0: "{NAME} MIG 2g.10gb"' in said(runc.run(QUERY, gpus=part.uuid))
    query = (SMI, "--query-gpu=memory.total,mig.mode.current", "--format=csv,noheader")
    assert said(runc.run(*query, gpus=part.uuid)) == ["[Insufficient Permissions], Enabled"]


@pytest.mark.parametrize(
    ("script", "code", "answer"),
    [
        pytest.param("busybox rm /dev/nvidia5", 6, "No devices were found", id="no GPU's node"),
        pytest.param(
            "busybox rm /dev/nvidiactl", 9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure"
            " that the latest NVIDIA driver is installed and running.",
            id="no nvidiactl",
        ),
    ],
)  # fmt: skip
def test_nodes_decide(runc: WithLibc, script: str, code: int, answer: str) -> None:
    node = next(index for index, gpu in enumerate(MACHINE.gpus) if gpu.minor == 5)

    done = runc.run("sh", "-c", f"{script}; {SMI} -L", gpus=str(node))

    assert (done.returncode, done.stdout.strip()) == (code, answer)
