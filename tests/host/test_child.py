# SPDX-License-Identifier: Apache-2.0
"""The end of a child that was asked something."""

from __future__ import annotations

import os
import signal
import time

import pytest

from nvidia_runtime.host import child


def sleeping() -> int:
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    return pid


def test_it_is_killed_and_awaited() -> None:
    pid = sleeping()

    assert child.end(pid) == signal.SIGKILL
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_where_nobody_is_told_how_children_end() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert child.end(sleeping()) == 0
    finally:
        signal.signal(signal.SIGCHLD, before)
