# SPDX-License-Identifier: Apache-2.0
"""The end of the tests' folder, whatever daemons leave in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import conftest, processes


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_what_is_left_mounted_is_unmounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The innermost first, and what is in use, too."""
    monkeypatch.setattr(conftest, "GRACE", 1)
    inner = tmp_path / "data" / "inner"
    for folder in (tmp_path / "data", tmp_path / "data", inner):
        folder.mkdir(exist_ok=True)
        processes.succeed(["mount", "-t", "tmpfs", "none", os.fspath(folder)])

    with (inner / "in use").open("w"):
        conftest.release(tmp_path)

    assert conftest.mounted_below(tmp_path) == []
    assert list((tmp_path / "data").iterdir()) == []
