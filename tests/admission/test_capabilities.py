# SPDX-License-Identifier: Apache-2.0
"""NVIDIA_DRIVER_CAPABILITIES: what a container gets, and what it is told about the rest."""

from __future__ import annotations

from collections.abc import Iterator

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime.admission import capabilities
from nvidia_runtime.compile import config

ALL = "compat32,compute,display,graphics,ngx,utility,video"
EVERY = tuple(ALL.split(","))


@pytest.mark.parametrize(
    ("value", "supported", "granted", "unsupported"),
    [
        pytest.param(None, ALL, ("compute", "utility"), (), id="unset"),
        pytest.param("", ALL, ("compute", "utility"), (), id="empty"),
        pytest.param(None, "utility,video", ("utility",), (), id="of the default, what may be"),
        pytest.param("all", ALL, EVERY, (), id="all"),
        pytest.param("video,all", "video", ("video",), (), id="all of what is supported"),
        pytest.param("all,nonsense", ALL, EVERY, (), id="all, whatever else"),
        pytest.param(" video , ngx,,video", ALL, ("video", "ngx"), (), id="a list"),
        pytest.param("foo,utility", ALL, ("utility",), ("foo",), id="unknown"),
        pytest.param("video,utility", "utility", ("utility",), ("video",), id="not supported"),
        pytest.param("none", ALL, (), ("none",), id="none is no capability"),
        pytest.param(" , ", ALL, (), (), id="nothing but commas"),
        pytest.param("video", "all", ("video",), (), id="supported is all"),
        pytest.param("foo", "all", (), ("foo",), id="all is what we know"),
    ],
)
def test_choose(
    value: str | None, supported: str, granted: tuple[str, ...], unsupported: tuple[str, ...]
) -> None:
    chosen = capabilities.choose(value, supported, legacy_image=False)

    assert (chosen.granted, chosen.unsupported) == (granted, unsupported)


@pytest.mark.parametrize(
    ("value", "granted"),
    [(None, ("utility", "video")), ("", ("utility",)), ("video", ("video",))],
)
def test_legacy_image_that_says_nothing_gets_all(
    value: str | None, granted: tuple[str, ...]
) -> None:
    chosen = capabilities.choose(value, "utility,video", legacy_image=True)

    assert chosen.granted == granted


def test_default_of_the_setting_is_what_we_know() -> None:
    assert capabilities.supported(config.CAPABILITIES) == capabilities.KNOWN


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        yield machine


def warnings(site: Site, wanted: str) -> list[str]:
    """Create a container that asks for capabilities; return the warnings in the log."""
    log = site.folder / "log"
    entries = ("NVIDIA_VISIBLE_DEVICES=0", f"NVIDIA_DRIVER_CAPABILITIES={wanted}")
    site.write_bundle(builders.spec(*entries))
    got = site.run(*("--log", log, "--log-format", "json", "create", "--bundle", site.bundle, "c1"))
    assert got.code == 0, got.err
    return [entry["msg"] for entry in shim.logged(log) if entry["level"] == "warning"]


@pytest.mark.parametrize("wanted", ["all", "compute,utility", " utility , compute", "", "foo,all"])
def test_usual_capabilities_need_no_warning(wanted: str, site: Site) -> None:
    assert warnings(site, wanted) == []


def test_unsupported_capabilities_are_a_warning(site: Site) -> None:
    """In cdi mode a container gets all that the spec holds, so this cannot be an error."""
    assert warnings(site, "compute,foo,bar") == [
        "unsupported driver capabilities in NVIDIA_DRIVER_CAPABILITIES: foo, bar; "
        "supported-driver-capabilities has "
        "compat32, compute, display, graphics, ngx, utility, video"
    ]
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"
