# SPDX-License-Identifier: Apache-2.0
"""csv mode on a Tegra system with a card: what is asked for and has no node is named.

The lists name the nodes of all boards, so one of the SoC's that is missing here is no error: the
container gets the others, and log and record say what was left out.  Only without any of them has
the SoC no GPU to give.  A card has one node, and is nothing without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import test_machine as machines

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "thor_dgpu"
OF_SOC = ("nvhost-ctrl-gpu", "nvhost-gpu", "nvmap", "nvgpu/igpu0/ctrl", "nvidia0", "nvidia2")
EVERYTHING = f"cd /dev; rm -rf {' '.join(OF_SOC)} nvidiactl nvidia-modeset dri/*"


def create(folder: Path, asked: str, shell: str) -> machines.Document:
    """Create a container in csv mode after a change of the machine."""
    job = machines.job(f"NVIDIA_VISIBLE_DEVICES={asked}", shell=f"{shell}; {machines.SETTLE}")
    log = f'mode = "csv"\ndebug = "{folder}/log"\n'
    (end,) = machines.create(MACHINE, folder, job, settings=log)
    got: machines.Document = end
    return got


@pytest.mark.parametrize("asked", ["0,1", "1", "1,0", "all"])
def test_card_without_a_node_is_named(asked: str, tmp_path: Path) -> None:
    end = create(tmp_path, asked, "rm /dev/nvidia1")

    assert end["code"] == 1
    assert "GPU 1" in end["err"]
    assert "has no device node" in end["err"]
    assert end["spec"] == machines.spec(f"NVIDIA_VISIBLE_DEVICES={asked}")


def test_gpu_of_the_soc_is_given_beside_a_card_without_a_node(tmp_path: Path) -> None:
    end = create(tmp_path, "0", "rm /dev/nvidia1")

    assert (end["code"], end["err"]) == (0, "")
    assert "/dev/nvidia2" in machines.paths(end)


@pytest.mark.parametrize("asked", ["0", "0,1", "all"])
@pytest.mark.parametrize("node", OF_SOC)
def test_node_of_the_soc_that_is_missing_is_left_out(node: str, asked: str, tmp_path: Path) -> None:
    end = create(tmp_path, asked, f"rm /dev/{node}")

    assert (end["code"], end["err"]) == (0, "")
    paths = machines.paths(end)
    assert f"/dev/{node}" not in paths
    assert {f"/dev/{name}" for name in OF_SOC} - {f"/dev/{node}"} <= set(paths)
    assert ("/dev/nvidia1" in paths) == (asked != "0")
    said = (tmp_path / "log").read_text()
    assert node == "nvidia2" or f"/dev/{node}" in said


def test_soc_without_any_node_is_named(tmp_path: Path) -> None:
    end = create(tmp_path, "0,1", EVERYTHING)

    assert end["code"] == 1
    assert "GPU 0" in end["err"]
    assert "no device node" in end["err"]
