# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk snapshot: show, rebuild and drop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import shim
from builders import asking, cdi_spec, device
from shim import Ended, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "from nvidia_runtime.cli import main; main()"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with two GPUs, whose files were written a while ago."""
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec(device("0"), device("1")))
        machine.settle()
        yield machine


def ctk(site: Site, *words: str) -> Ended:
    """Run nvidia-ctk of the tree."""
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}
    return shim.end(site.execute([sys.executable, "-c", PROGRAM, "snapshot", *words], env=env))


def shown(site: Site) -> dict[str, str]:
    """Return the facts that ``nvidia-ctk snapshot show`` prints, by name."""
    got = ctk(site, "show")
    assert (got.err, got.code) == ("", 0)
    lines = got.out.decode().splitlines()
    return {line[:14].strip(): line[14:] for line in lines if not line.startswith("setting")}


def test_show_where_nothing_is_known(site: Site) -> None:
    assert shown(site) == {
        "state folder": "none that only this user can write",
        "config": str(site.config),
        "snapshot": "none that is fresh; the next create compiles",
        "records": "0",
    }


def test_show_after_a_create_without_devices(site: Site) -> None:
    site.write_bundle(asking("void"))
    site.create()

    report = shown(site)

    assert report["snapshot"] == (
        "fresh, settings only; the first create with devices compiles the CDI specs"
    )
    assert report["shortcut"].partition(" ")[0] == str(site.runtime)


def test_show_after_a_create_with_devices(site: Site) -> None:
    site.write_bundle(asking())
    site.create()

    report = shown(site)

    assert (report["snapshot"], report["records"]) == ("fresh", "1")
    assert report["state folder"].endswith("/nvidia-container-runtime")
    assert report["spec"] == f"{site.specs}/gpus.json: nvidia.com/gpu=0, nvidia.com/gpu=1"


def test_show_where_a_spec_has_a_separator_of_unicode(site: Site) -> None:
    """Of lines, for str.splitlines; not for the snapshot."""
    site.write_specs(gpus=cdi_spec(device("0", env=["TEXT=a\u2028b\x85c"])))
    site.settle()
    ctk(site, "rebuild")

    shows = shown(site)

    assert shows["snapshot"] == "fresh"
    assert shows["spec"] == f"{site.specs}/gpus.json: nvidia.com/gpu=0"


def test_show_what_changed(site: Site) -> None:
    ctk(site, "rebuild")
    site.write_specs(gpus=cdi_spec(device("5")))

    assert shown(site)["snapshot"] == f"stale: {site.specs}/gpus.json changed"


def test_show_settings_that_differ_from_the_defaults(site: Site) -> None:
    site.write_config(log_level="debug")
    site.settle()
    ctk(site, "rebuild")

    lines = ctk(site, "show").out.decode().splitlines()

    assert 'setting       nvidia-container-runtime.log-level = "debug"' in lines
    assert 'setting       nvidia-container-runtime.mode = "cdi"' in lines


def test_rebuild(site: Site) -> None:
    site.write_specs(broken="[]")
    site.settle()

    got = ctk(site, "rebuild")

    lines = got.out.decode().splitlines()
    assert (got.err, got.code) == ("", 0)
    assert f"warning       {site.specs}/broken.json: must be an object" in lines
    assert lines[-1] == f"spec          {site.specs}/gpus.json: nvidia.com/gpu=0, nvidia.com/gpu=1"
    assert shown(site)["snapshot"] == "fresh"


def test_rebuild_of_a_broken_configuration(site: Site) -> None:
    site.write_config("[nvidia-container-runtime]\nmode = 5")

    got = ctk(site, "rebuild")

    assert got.err == (
        f"nvidia-ctk: {site.config}: nvidia-container-runtime.mode must be a string, not a number\n"
        "hint: correct the file; without one, the defaults hold\n"
    )
    assert got.code == 1


def test_rebuild_without_a_folder(site: Site) -> None:
    site.state.write_text("in the way")

    got = ctk(site, "rebuild")

    assert got.err.splitlines()[0].endswith(
        "nvidia-container-runtime: the snapshot could not be stored; every create compiles again"
    )
    assert got.code == 1


def test_drop(site: Site) -> None:
    site.write_bundle(asking())
    site.create()
    site.run("state", "c1")

    got = ctk(site, "drop")

    lines = got.out.decode().splitlines()
    assert len(lines) == 2
    assert [line.startswith("removed ") for line in lines] == [True, True]
    report = shown(site)
    assert report["snapshot"] == "none that is fresh; the next create compiles"
    assert report["records"] == "1"
    assert "shortcut" not in report


def test_drop_of_nothing(site: Site) -> None:
    got = ctk(site, "drop")

    assert (got.out, got.err, got.code) == (b"", "", 0)


def test_another_configuration(site: Site) -> None:
    site.config.rename(site.folder / "other.toml")

    got = ctk(site, "show", "--config", "other.toml")
    missing = ctk(site, "show")

    assert f"config        {site.folder}/other.toml\n".encode() in got.out
    assert f"config        {site.config} (absent: defaults)\n".encode() in missing.out


def test_configuration_after_the_file_is_read_by_create(site: Site) -> None:
    """The runtime uses the snapshot of nvidia-ctk."""
    assert ctk(site, "rebuild").code == 0
    (file,) = site.snapshots()
    before = file.stat().st_ino
    site.write_bundle(asking("1"))

    assert site.create().code == 0
    assert [path.stat().st_ino for path in site.snapshots()] == [before]
