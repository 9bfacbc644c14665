# SPDX-License-Identifier: Apache-2.0
"""The kernel's log, in the form of /dev/kmsg."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nvidia_runtime.host import kernel_log


def test_rows_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    rows = "6,1,2000000,-;one; two\n SUBSYSTEM=pci\n12,2,3000000,-;of a program\n3,3,4,-,x=y;last\n"
    path.write_text(rows)

    lines = kernel_log.read(str(path))

    assert lines is not None
    assert [line.text for line in lines] == ["one; two", "last"]
    assert abs(lines[0].time - (time.time() - time.monotonic() + 2)) < 1


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert kernel_log.read(str(tmp_path / "nothing")) is None
    assert kernel_log.read(str(tmp_path / "fifo")) == []


def test_own_log_ends() -> None:
    """Nothing is waited for, whatever the kernel says meanwhile."""
    lines = kernel_log.read()

    assert lines is None or all(line.time < time.time() + 1 for line in lines)
