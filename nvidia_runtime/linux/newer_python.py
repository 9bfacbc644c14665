# SPDX-License-Identifier: Apache-2.0
"""Go on with a newer interpreter where this one is too old, so here is no newer syntax."""

import os
import sys


def become(launcher: str) -> None:
    """Execute the newest interpreter in PATH with the same words; end with a sentence if none is.

    ``launcher`` is how we were called.
    """
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    with open("/proc/self/environ", "rb") as file:
        if not any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0")):
            os.environ.pop("LC_CTYPE", None)  # this one's own, in a C locale (PEP 538)
    for minor in (15, 14, 13, 12, 11):
        name = f"python3.{minor}"
        try:
            os.execvp(name, [name.encode(), *words[1:]])  # noqa: S606 (no shell is wanted)
        except OSError:
            continue
    version = ".".join(map(str, sys.version_info[:2]))
    what = f"{sys.executable} is Python {version}: install Python 3.11 or newer"
    sys.exit(f"{launcher}: {what}")
