# SPDX-License-Identifier: Apache-2.0
"""The end of a child that was asked something: killed, and awaited as long as makes sense.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import signal
import time

# Seconds that a killed child gets to end; one that hangs in the kernel does not.
GRACE = 1.0
TICK = 0.002


def end(pid: int) -> int:
    """Kill a child and give its status, 0 if it is left behind or nobody is told how it ended."""
    deadline = time.monotonic() + GRACE
    try:
        os.kill(pid, signal.SIGKILL)
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            time.sleep(TICK)
    except (ProcessLookupError, ChildProcessError):  # SIGCHLD is ignored, by an engine's wish
        return 0
    return 0
