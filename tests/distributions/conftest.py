# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one simulated machine, the low-level runtimes on it, and images to start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines import cgroups
from engines.bundles import Bundles
from engines.conftest import group, machine, scratch  # noqa: F401 (fixtures)
from engines.installed import require
from engines.machine import Machine

from .site import Site, hold

# One GPU with DRM nodes, so that there is all that a hook may be asked for; and eight.
MACHINE, CLUSTER = "t4x1", "a100x8"


@pytest.fixture(scope="session")
def site(machine: Machine) -> Iterator[Site]:  # noqa: F811
    """Keep a machine with one GPU."""
    with hold(MACHINE, machine.scratch / "site", machine.shim) as place:
        yield place


@pytest.fixture(scope="session")
def cluster(machine: Machine) -> Iterator[Site]:  # noqa: F811
    """Keep a machine with eight GPUs."""
    with hold(CLUSTER, machine.scratch / "cluster", machine.shim) as place:
        yield place


def low_level(site: Site, group: str, program: str, view: str) -> Bundles:  # noqa: F811
    """Return a low-level runtime on a machine, in one view of the control groups, if it runs there."""
    path = require(program)
    if why := cgroups.missing(view):
        pytest.skip(why)
    name = f"{program}-{view}"
    runtime = site.runtime(name, path)
    live = Bundles(
        folder=site.scratch / name,
        busybox=require("busybox"),
        enter=(*site.enter, *cgroups.enter(view, program)),
        group=group,
        runtime=runtime,
        debug_runtime=runtime,
    )
    alone = live.run_by(path, "true", gpus=None)
    if alone.returncode != 0:
        pytest.skip(f"{program} alone cannot run a container on cgroup {view}: {alone.stderr}")
    return live


@pytest.fixture(scope="session")
def runc(site: Site, group: str) -> Bundles:  # noqa: F811
    """Run runc as it runs on this machine."""
    return low_level(site, group, "runc", cgroups.usual())


@pytest.fixture(scope="session")
def runc_v2(site: Site, group: str) -> Bundles:  # noqa: F811
    """Run runc on cgroup v2."""
    return low_level(site, group, "runc", "v2")


@pytest.fixture(scope="session")
def crun(site: Site, group: str) -> Bundles:  # noqa: F811
    """Run crun as it runs on this machine."""
    return low_level(site, group, "crun", cgroups.usual())


@pytest.fixture(scope="session")
def cluster_runc(cluster: Site, group: str) -> Bundles:  # noqa: F811
    """Run runc on the machine with eight GPUs."""
    return low_level(cluster, group, "runc", cgroups.usual())


@pytest.fixture(scope="session")
def cluster_crun(cluster: Site, group: str) -> Bundles:  # noqa: F811
    """Run crun on the machine with eight GPUs."""
    return low_level(cluster, group, "crun", cgroups.usual())
