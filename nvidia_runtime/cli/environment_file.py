# SPDX-License-Identifier: Apache-2.0
"""The settings file of the refresh units, in systemd's form (systemd.exec(5), EnvironmentFile=).

So that a refresh by hand has the settings of the unit.
"""

from __future__ import annotations

import os

from nvidia_runtime.cli.tables.common import ENVIRONMENT_FILE
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.watch import environment_file

PATH = str(ENVIRONMENT_FILE.default)
# Other variables, such as PATH, are for the process that systemd starts.
OURS = "NVIDIA_"


def apply(given: str) -> None:
    """Put the file's variables into the environment, unless set there.

    The file is that which is given, which must exist, or the usual one.
    """
    for name, value in _variables(given or PATH, is_needed=bool(given)).items():
        if name.startswith(OURS) and name not in os.environ:
            os.environ[name] = value


def _variables(path: str, *, is_needed: bool) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return environment_file.parse(file.read(1 << 20))
    except FileNotFoundError:
        if not is_needed:
            return {}
        raise NvidiaRuntimeError("there is no such file of settings", path) from None
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        raise NvidiaRuntimeError(f"cannot be read: {reason}", path) from None
