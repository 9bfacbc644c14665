# SPDX-License-Identifier: Apache-2.0
"""Calls of nvidia-ctk by itself."""

from __future__ import annotations

import os
import sys

import nvidia_runtime

# Where a package put us is not always where an interpreter looks.
SITE = os.path.dirname(os.path.dirname(nvidia_runtime.__file__))
PROGRAM = f"import sys; sys.path.append({SITE!r}); from nvidia_runtime.cli import main; main()"


def command(root_app: object) -> list[str]:
    """Return the words by which this nvidia-ctk is called again, with its global switches."""
    config = str(getattr(root_app, "config", ""))
    return [
        sys.executable,
        *(["-I"] if sys.flags.isolated else []),
        *("-c", PROGRAM),
        *(["--debug"] if getattr(root_app, "debugging", False) else []),
        *(["--quiet"] if getattr(root_app, "quiet", False) else []),
        *([f"--config={config}"] if config else []),
    ]
