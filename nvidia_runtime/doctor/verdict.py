# SPDX-License-Identifier: Apache-2.0
"""One sentence about this machine, made of all that was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, SEVERITIES, WARNING, Engine, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.doctor.finding import Said

BEGINNING = "this machine gives containers their GPUs:"
FINE, BROKEN, WARNED = 0, 1, 2


def findings(said: Iterable[Said]) -> list[Finding]:
    """Return the findings, the most important first; what comes first explains what follows."""
    chosen = [one for one in said if isinstance(one, Finding)]
    return sorted(chosen, key=lambda one: (SEVERITIES.index(one.weight), one.code.id))


def exit_code(listed: list[Finding]) -> int:
    """Return 1 where something is broken, 2 where there are only warnings, else 0."""
    weights = {finding.weight for finding in listed}
    return BROKEN if ERROR in weights else WARNED if WARNING in weights else FINE


def by_engine(said: Iterable[Said]) -> dict[str, str]:
    """Return for each engine the code that stands in its way, "" for none."""
    said = list(said)
    errors = [finding for finding in findings(said) if finding.weight == ERROR]
    verdicts: dict[str, str] = {}
    for one in said:
        if isinstance(one, Engine):
            codes = [error.code.id for error in errors if error.engine in ("", one.name)]
            verdicts[one.name] = next(iter(codes), "")
    return verdicts


def sentence(said: Iterable[Said]) -> str:
    """Return the first line: yes, no, or what holds for each engine."""
    said = list(said)
    errors = [finding for finding in findings(said) if finding.weight == ERROR]
    general = [error.code.id for error in errors if not error.engine]
    engines = by_engine(said)
    if general:
        return f"{BEGINNING} no ({general[0]})"
    codes = set(engines.values())
    if not codes - {""}:
        return f"{BEGINNING} yes"
    if "" not in codes:
        return f"{BEGINNING} no ({', '.join(sorted(codes))})"
    parts = [f"{name} no ({code})" if code else f"{name} yes" for name, code in engines.items()]
    return f"{BEGINNING} for {', '.join(parts)}"
