# SPDX-License-Identifier: Apache-2.0
"""Where a user's own folders lie."""

from __future__ import annotations

import os

# Of a user without a home: Debian's name for a folder that nobody has.
NOWHERE = "/nonexistent"


def folder() -> str:
    """Return the user's home, without a slash at its end.

    Without HOME, and for a user id that has no name, there is none: ``~`` would be a folder of that
    name in the current one.
    """
    home = os.path.expanduser("~")
    return home.rstrip("/") if home.startswith("/") else NOWHERE
