# SPDX-License-Identifier: Apache-2.0
"""The names that a device gets in a CDI spec, by the naming strategies."""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STRATEGIES = ("index", "type-index", "uuid")


def names(strategies: Iterable[str], index: str, uuid: str) -> list[str]:
    """Return the names of a device, ``3`` or ``3:1`` by index; without a UUID it has none by UUID.

    Raises `NvidiaRuntimeError` for an unknown strategy.
    """
    chosen = []
    for strategy in strategies:
        if strategy not in STRATEGIES:
            hint = f"they are {', '.join(STRATEGIES)}"
            raise NvidiaRuntimeError(f"unknown device name strategy {strategy!r}", hint=hint)
        if strategy == "index":
            chosen.append(index)
        elif strategy == "type-index":
            chosen.append(f"{'mig' if ':' in index else 'gpu'}{index}")
        elif uuid:
            chosen.append(uuid)
    return list(dict.fromkeys(chosen))
