# SPDX-License-Identifier: Apache-2.0
"""The names that a device gets in a CDI spec, by the strategies that the user chose.

Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STRATEGIES = ("index", "type-index", "uuid")


def names(strategies: Iterable[str], index: str, uuid: str) -> list[str]:
    """Name a device, ``3`` or ``3:1`` by index, once for each strategy; an unknown UUID is none.

    Raises `NvidiaRuntimeError` for an unknown strategy.
    """
    found = []
    for strategy in strategies:
        if strategy not in STRATEGIES:
            hint = f"they are {', '.join(STRATEGIES)}"
            raise NvidiaRuntimeError(f"unknown device name strategy {strategy!r}", hint=hint)
        if strategy == "index":
            found.append(index)
        elif strategy == "type-index":
            found.append(f"{'mig' if ':' in index else 'gpu'}{index}")
        elif uuid:
            found.append(uuid)
    return list(dict.fromkeys(found))
