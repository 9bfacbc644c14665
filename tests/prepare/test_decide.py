# SPDX-License-Identifier: Apache-2.0
"""Which hook of ours is called where the host cannot do what a CDI spec wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import builders
import pytest
from shim import BIN, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROFILE = ["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib64"]


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine whose CDI spec has a hook, and a container without a root to prepare."""
    with Site() as machine:
        hook = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": PROFILE}
        machine.write_specs(nvidia={**builders.cdi_spec(), "containerEdits": {"hooks": [hook]}})
        machine.write_bundle(builders.asking())
        yield machine


def hooks(site: Site) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = site.read_bundle()["hooks"]["createContainer"]
    return entries


def test_hook_beside_the_launcher(site: Site) -> None:
    assert site.create().code == 0

    (hook,) = hooks(site)
    assert hook["path"] == str(BIN / "nvidia-cdi-hook")
    assert hook["args"] == PROFILE
    assert hook["env"]


def test_launcher_by_a_link(site: Site, tmp_path: Path) -> None:
    """The hook need not be linked where the runtime is."""
    launcher = tmp_path / "nvidia-container-runtime"
    launcher.symlink_to(BIN / "nvidia-container-runtime")

    assert site.create(launcher=launcher).code == 0

    assert hooks(site)[0]["path"] == str(BIN / "nvidia-cdi-hook")


def test_never_is_an_error(site: Site) -> None:
    site.write_config(in_container_hooks="never")
    before = site.write_bundle(builders.asking())

    got = site.create()

    assert got.code == 1
    assert 'set nvidia-container-runtime.in-container-hooks to "auto"' in got.err
    assert (site.bundle / "config.json").read_bytes() == before


def test_toolkit_keeps_the_hook_as_it_is_written(site: Site) -> None:
    site.write_config(in_container_hooks="toolkit")

    assert site.create().code == 0

    (hook,) = hooks(site)
    assert (hook["path"], hook["args"]) == ("/usr/bin/nvidia-cdi-hook", PROFILE)


def test_what_could_not_be_done_is_logged(site: Site) -> None:
    """Not in the record alone: a root that is full, say; here the cache's name is a folder's."""
    (site.bundle / "rootfs/etc/ld.so.cache/x").mkdir(parents=True)

    ended = site.run("--log", site.folder / "log", "create", "--bundle", site.bundle, "c1")

    assert ended.code == 0, ended.err
    said = "/etc/ld.so.cache cannot be written: is a directory"
    assert said in (site.folder / "log").read_text()
    assert said in (site.state / "containers/c1.json").read_text()
