# SPDX-License-Identifier: Apache-2.0
"""A call of `configure` as a program: by an OCI hook with the state on stdin, or by words alone.

The word is the fields of the configuration as JSON.
"""

from __future__ import annotations

import json
import sys

from nvidia_runtime.container_cli.configuration import Configuration
from nvidia_runtime.container_cli.configure import configure
from nvidia_runtime.errors import NvidiaRuntimeError


def main() -> None:
    """Do what the words say."""
    fields = json.loads(sys.argv[1])
    if fields.get("pid") is None:
        state = json.load(sys.stdin)
        fields["pid"] = state["pid"]
        fields["rootfs"] = f"{state['bundle']}/rootfs"
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = frozenset(value) if name == "capabilities" else tuple(value)
    try:
        done: list[str] = []
        warnings = configure(Configuration(**fields), done)
    except NvidiaRuntimeError as error:
        sys.exit(f"nvidia-container-cli: {error}; {error.hint}")
    print(*done, sep="\n")
    print(*warnings, sep="\n", end="", file=sys.stderr)
