# SPDX-License-Identifier: Apache-2.0
"""Fixtures: simulated machines, each once, and low-level runtimes on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from distributions.conftest import low_level
from distributions.site import Site, hold
from engines.bundles import Bundles
from engines.conftest import busybox, group, machine, scratch  # noqa: F401 (fixtures)
from engines.machine import Machine

Sites = Callable[[str], Site]


@pytest.fixture(scope="session")
def sites(machine: Machine) -> Iterator[Sites]:  # noqa: F811
    """Keep the machines that are asked for."""
    held: dict[str, Site] = {}
    with ExitStack() as stack:

        def site(name: str) -> Site:
            if name not in held:
                folder = machine.scratch / f"cli-{name}"
                held[name] = stack.enter_context(hold(name, folder, machine.shim))
            return held[name]

        yield site


@pytest.fixture(scope="session")
def bundles(sites: Sites, group: str) -> Callable[[str, str, str], Bundles]:  # noqa: F811
    """Run a low-level runtime on a machine, in a view of the control groups."""
    live: dict[tuple[str, str, str], Bundles] = {}

    def of(name: str, program: str, view: str) -> Bundles:
        key = name, program, view
        if key not in live:
            live[key] = low_level(sites(name), group, program, view)
        return live[key]

    return of
