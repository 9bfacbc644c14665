# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi list."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import shim
from builders import cdi_spec, device
from shim import Ended, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "from nvidia_runtime.cli import main; main()"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        yield machine


def ctk(site: Site, *words: str, **environment: str) -> Ended:
    """Run nvidia-ctk of the tree."""
    env = {**site.environment, "PYTHONPATH": str(shim.TREE), **environment}
    return shim.end(site.execute([sys.executable, "-c", PROGRAM, *words], env=env))


def listed(site: Site, *words: str, **environment: str) -> list[str]:
    """Return the names that ``nvidia-ctk cdi list`` prints."""
    got = ctk(site, "cdi", "list", *words, **environment)
    assert got.code == 0
    return got.out.decode().splitlines()


def test_list(site: Site) -> None:
    site.write_specs(gpus=cdi_spec(device("1"), device("0"), device("all")))

    got = ctk(site, "cdi", "list")

    assert got.out == b"nvidia.com/gpu=0\nnvidia.com/gpu=1\nnvidia.com/gpu=all\n"
    assert (got.err, got.code) == ("found 3 CDI devices\n", 0)


def test_list_of_nothing(site: Site) -> None:
    got = ctk(site, "cdi", "list")

    assert (got.out, got.err, got.code) == (b"", "found 0 CDI devices\n", 0)


def test_list_says_what_is_wrong_with_specs(site: Site) -> None:
    site.write_specs(broken="[]", gpus=cdi_spec())

    got = ctk(site, "cdi", "list")

    assert got.out == b"nvidia.com/gpu=0\n"
    assert got.err == (
        f"warning: {site.specs}/broken.json: must be an object\nfound 1 CDI devices\n"
    )


def test_quiet(site: Site) -> None:
    site.write_specs(broken="[]", gpus=cdi_spec())

    got = ctk(site, "--quiet", "cdi", "list")

    assert (got.out, got.err) == (b"nvidia.com/gpu=0\n", "")


def test_spec_dirs_may_be_given(site: Site) -> None:
    dirs = [site.folder / name for name in ("5", "6")]
    for folder in dirs:
        folder.mkdir()
        (folder / "x.json").write_text(json.dumps(cdi_spec(device(folder.name))))
    site.write_specs(gpus=cdi_spec())
    one, both = str(dirs[0]), f"{dirs[0]},{dirs[1]}"

    assert listed(site, "--spec-dir", one) == ["nvidia.com/gpu=5"]
    assert listed(site, "--spec-dir", both) == ["nvidia.com/gpu=5", "nvidia.com/gpu=6"]
    twice = ["--spec-dir", one, "--spec-dir", str(dirs[1])]
    assert listed(site, *twice) == ["nvidia.com/gpu=5", "nvidia.com/gpu=6"]
    assert listed(site, NVIDIA_CTK_CDI_SPEC_DIRS=both) == ["nvidia.com/gpu=5", "nvidia.com/gpu=6"]
    assert listed(site, "--spec-dir", one, NVIDIA_CTK_CDI_SPEC_DIRS=both) == ["nvidia.com/gpu=5"]


def test_broken_configuration_is_a_warning(site: Site) -> None:
    site.write_config("mode = \n")

    got = ctk(site, "cdi", "list")

    assert got.code == 0
    assert got.err.startswith(
        f"warning: {site.config}: is not TOML: Invalid value (at line 1, column 8); "
        "going on with the default settings\n"
    )


def test_reader_that_goes_away(site: Site) -> None:
    site.write_specs(gpus=cdi_spec(*[device(f"{number}") for number in range(9000)]))

    process = site.execute(
        ["sh", "-c", '"$@" | head -n1', "sh", sys.executable, "-c", PROGRAM, "cdi", "list"],
        env={**site.environment, "PYTHONPATH": str(shim.TREE)},
    )

    got = shim.end(process)
    assert (got.out, got.err) == (b"nvidia.com/gpu=0\n", "found 9000 CDI devices\n")
