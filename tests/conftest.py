# SPDX-License-Identifier: Apache-2.0
"""The option ``--long``, which tests run beside which, and that none leaves a trace on the host.

Tests marked ``long`` are left out without the option.
"""

from __future__ import annotations

from collections.abc import Iterator

import own_host
import pytest
import traces
from hypothesis import HealthCheck, settings

# A busy machine is slow: no example has a deadline, and none is generated too slowly.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
BEFORE = pytest.StashKey[dict[str, str]]()
MADE = pytest.StashKey[list[str]]()
MOST_LINES = 50
# What one process of pytest-xdist's runs one by one; all else is shared out by modules, those with
# most tests first.  The first start engines, or look for those that run on this host; the others
# share what they build, and have modules of few and long tests, which would be the last.
TOGETHER = {
    "daemons": (
        "engines/",
        "cli/test_runtime_",
        "distributions/test_engines",
        "simulate/test_engines",
    ),
    "distributions": ("distributions/",),
    "installer": ("installer/",),
}
LEFT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, too")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for --strict-markers."""
    config.addinivalue_line("markers", "long: takes minutes; runs with --long ('make test-long')")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the long tests unless they are asked for."""
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long: runs with --long, as 'make test-long' does")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(skip)


def group_of(test: str) -> str:
    """Return what a test belongs to, by its id."""
    module = test.partition("::")[0].removeprefix("tests/")
    return next((group for group, names in TOGETHER.items() if module.startswith(names)), module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share the tests out by groups with ``--dist=loadgroup``.

    pytest-xdist's own way, a marker, does nothing with pytest 9.2.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # only who runs several processes has it

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.fixture(scope="session", autouse=True)
def apart() -> Iterator[None]:
    """Run all tests where what they leave behind vanishes with them."""
    with own_host.entered():
        yield


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a process of pytest-xdist's, which another one started and ends."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the host before the workers start."""
    if not is_worker(session.config):
        session.config.stash[BEFORE] = traces.listing()
        session.config.stash[MADE] = own_host.make_folders()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at the host again when the workers have ended; what has changed fails the session."""
    config = session.config
    if is_worker(config):
        return
    before, folders = config.stash[BEFORE], config.stash[MADE]
    own_host.remove_folders(folders)
    config.stash[LEFT] = traces.differences(before, traces.listing())
    if config.stash[LEFT] and session.exitstatus in {0, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what the tests changed on the host."""
    left = config.stash.get(LEFT, [])
    if left:
        terminalreporter.section("the tests changed this host", red=True)
    for line in left[:MOST_LINES]:
        terminalreporter.line(line)
    if len(left) > MOST_LINES:
        terminalreporter.line(f"and {len(left) - MOST_LINES} more")
