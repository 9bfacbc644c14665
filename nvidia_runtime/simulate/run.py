# SPDX-License-Identifier: Apache-2.0
"""Becoming a command, as a shell would start it."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

NOT_FOUND, NOT_EXECUTABLE = 127, 126


def become(words: list[str], variables: dict[str, str]) -> NoReturn:
    """Replace this process by a command, which is looked up in PATH."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(words[0], words, {**os.environ, **variables})  # noqa: S606 (as asked for)
    except FileNotFoundError:
        what = f"there is no command {words[0]!r} on the simulated machine"
        raise NvidiaRuntimeError(what, exit_code=NOT_FOUND) from None
    except OSError as error:
        what = f"{words[0]!r} cannot be run: {os_reason(error)}"
        raise NvidiaRuntimeError(what, exit_code=NOT_EXECUTABLE) from None
