# SPDX-License-Identifier: Apache-2.0
"""The option ``--long``: tests marked ``long`` are left out without it."""

from __future__ import annotations

import pytest


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
