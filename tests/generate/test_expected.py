# SPDX-License-Identifier: Apache-2.0
"""Specs byte by byte as the toolkit writes them, of the machines on which it was recorded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import simulated

PROGRAM = "import sys; sys.path.insert(0, {!r}); from nvidia_runtime.cli import main; main()"
HOOK = "--nvidia-cdi-hook-path=/usr/bin/nvidia-cdi-hook"
MACHINES = ("t4x1", "a100x8", "a100x8mig", "h100x8")


def written(machine: str, *words: str, root_only: str | Path = "") -> str:
    program = PROGRAM.format(os.fspath(simulated.TREE))
    argv = [sys.executable, "-c", program, "--quiet", "cdi", "generate", HOOK, *words]
    got = simulated.run(machine, argv, root_only=root_only)
    assert (got.returncode, got.stderr) == (0, "")
    return got.stdout


def expected(name: str, root: str = "") -> str:
    return (simulated.EXPECTED / f"cdi/{name}.yaml").read_text().replace("{{DRIVER_ROOT}}", root)


@pytest.mark.parametrize("machine", MACHINES)
def test_driver_below_the_root(machine: str) -> None:
    assert written(machine) == expected(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_driver_in_a_folder(machine: str, tmp_path: Path) -> None:
    root = os.fspath(tmp_path / "driver")

    spec = written(machine, f"--driver-root={root}", root_only=root)

    # The toolkit leaves the driver root in a link's path in the container.
    wanted = expected(f"{machine}_driverroot", root).replace(f"::{root}/dev/dri/", "::/dev/dri/")
    assert spec == wanted


def test_slash_at_the_end_of_the_driver_root(tmp_path: Path) -> None:
    """The toolkit then has the root in paths of the container, too."""
    root = os.fspath(tmp_path / "driver")

    spec = written("t4x1", f"--driver-root={root}/", root_only=root)

    wanted = expected("t4x1_driverroot", root).replace(f"::{root}/dev/dri/", "::/dev/dri/")
    assert spec == wanted


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("a100x8mig_uuid", ("--device-name-strategy=uuid",), id="UUIDs of MIG devices"),
        pytest.param("h100x8_nohooks", ("--disable-hook=all",), id="no hooks"),
    ],
)
def test_variant(name: str, words: tuple[str, ...]) -> None:
    assert written(name.partition("_")[0], *words) == expected(name)


def test_nodes_in_a_folder(tmp_path: Path) -> None:
    """The driver is below /, its device nodes are elsewhere."""
    nodes = simulated.machine("h100x8")

    spec = written("h100x8", f"--dev-root={nodes}")

    assert spec == expected("h100x8_devroot", os.fspath(nodes))
