# SPDX-License-Identifier: Apache-2.0
"""A thing that a container was given, compared with what it has."""

from __future__ import annotations

from dataclasses import dataclass

OK, MISSING, DIFFERENT, UNKNOWN = "ok", "missing", "different", "unknown"
DEVICE, RULE, MOUNT, LIBRARY, VARIABLE = "device", "rule", "mount", "library", "variable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing: its ``kind`` and ``name``, what was asked for and what is there.

    ``state`` is `OK`, `MISSING`, `DIFFERENT` or `UNKNOWN`; ``why`` says more of it.
    """

    kind: str
    name: str
    asked: str = ""
    got: str = ""
    state: str
    why: str = ""
