# SPDX-License-Identifier: Apache-2.0
"""Which config.toml the commands below `nvidia-ctk config` are about.  Ring: elsewhere."""

from __future__ import annotations

import os

from nvidia_runtime.cli.command import Command
from nvidia_runtime.store import files

FLAGS = ["--config-file", "--config", "-c"]


def file_path(file: str, command: Command) -> str:
    """Return the absolute path of the config.toml that a command is about; it need not exist."""
    given = file or str(getattr(command.root_app, "config", ""))
    return os.path.abspath(given or files.config_path())
