# SPDX-License-Identifier: Apache-2.0
"""On every machine a container can be created with a spec that was just generated."""

from __future__ import annotations

from pathlib import Path

import pytest
import simulated
from sources import test_machine as machines
from sources.test_renew import ALL, GENERATE


@pytest.mark.parametrize("name", simulated.names(loaded=True))
def test_fresh_spec_is_for_the_loaded_driver(name: str, tmp_path: Path) -> None:
    """On Tegra and WSL the name libcuda.so.1.1 is not that of a driver's version."""
    (end,) = machines.create(name, tmp_path, machines.job(ALL, shell=GENERATE))

    assert (end["code"], end["err"]) == (0, "")
    assert "/dev/nvidia0" in machines.paths(end) or name in ("orin", "wsl2", "wsl2x2", "a100x1of8")
