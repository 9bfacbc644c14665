# SPDX-License-Identifier: Apache-2.0
"""A call of `configure` as a program: by an OCI hook with the state on stdin, or by words alone.

The words are the fields of the configuration as JSON, and a file for what was done, or "".
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from nvidia_runtime.container_cli.configuration import Configuration
from nvidia_runtime.container_cli.configure import configure
from nvidia_runtime.errors import NvidiaRuntimeError


def main() -> None:
    fields = json.loads(sys.argv[1])
    if fields.get("pid") is None:
        state = json.load(sys.stdin)
        fields["pid"] = state["pid"]
        fields["rootfs"] = f"{state['bundle']}/rootfs"
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = frozenset(value) if name == "capabilities" else tuple(value)
    try:
        done = configure(Configuration(**fields))
    except NvidiaRuntimeError as error:
        sys.exit(f"nvidia-container-cli: {error}; {error.hint}")
    if sys.argv[2]:
        with open(sys.argv[2], "w") as file:
            json.dump(done, file)
    print(*done, sep="\n")


if __name__ == "__main__":
    main()
