# SPDX-License-Identifier: Apache-2.0
"""A node of its own for each test; the bundle is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .node import Node, bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small bundle."""
    return bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory, small_bundle: Path) -> Node:
    """Return a node to install on; the kernel reads no more than 127 bytes of a first line."""
    return Node(tmp_path_factory.mktemp("n") / "n", small_bundle)
