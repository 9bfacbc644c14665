# SPDX-License-Identifier: Apache-2.0
"""Files of ours, replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvidia_runtime.store import files


def test_first_failure_is_the_one_that_is_told(tmp_path: Path) -> None:
    """Also where the temporary file has vanished with its folder."""
    file = tmp_path / "file"
    file.write_text("old")

    def fail(_descriptor: int) -> None:
        os.unlink(tmp_path / f".file.{os.getpid()}")
        raise PermissionError("first")

    with pytest.raises(PermissionError, match="first"):
        files.replace(str(file), b"new", finish=fail)

    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
