# SPDX-License-Identifier: Apache-2.0
"""``make bench-tables``: write the tables of BENCHMARKS.md from what ``make bench`` has measured.

Of sections that are named, the tables alone are written, and say which revision they are of.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results

PAGE = results.TREE / "BENCHMARKS.md"
BEGIN, END = "<!-- {}: made by make {} -->\n", "<!-- end -->\n"


def put(page: str, name: str, text: str, by: str = "bench-tables") -> str:
    """Return a page with a text between the marks of a name, and of the target that makes it."""
    begin = BEGIN.format(name, by)
    head, rest = page.split(begin)
    return f"{head}{begin}{text}{END}{rest.split(END, 1)[1]}"


def page(text: str, measured: dict[str, Any], names: Sequence[str] = ()) -> str:
    """Return the page with all tables, or with those of some sections."""
    sections = measured["sections"]
    if missing := [name for name in names or results.SECTIONS if name not in sections]:
        raise SystemExit(f"not measured in this run: {', '.join(missing)}; run 'make bench'")
    which = f"; revision {measured['revision']}" if names else ""
    if not names:
        text = put(text, "machine", machine(measured))
    for name in names or sections:
        rounds = f"Medians of {sections[name]['rounds']} rounds{which}.\n\n"
        text = put(text, name, rounds + results.table(sections[name]["rows"]))
    return text


def machine(measured: dict[str, Any]) -> str:
    """Return the sentence that says where the figures are from."""
    facts = measured["machine"]
    parts = (
        f"{facts['cores']} cores ({facts['processor']})",
        f"{facts['memory_gb']:.0f} GB",
        f"Linux {facts['kernel'].split('-')[0]}",
        facts["system"],
        f"CPython {measured['interpreter']['version']}",
        f"runc {measured['versions']['runc']}",
    )
    return f"The machine of the tables: {', '.join(parts)}; revision {measured['revision']}.\n"


def main() -> None:
    """Write the page."""
    file = results.path(is_short=False)
    try:
        measured = json.loads(file.read_text())
    except FileNotFoundError:
        raise SystemExit(f"{file} is missing: run 'make bench'") from None
    PAGE.write_text(page(PAGE.read_text(), measured, sys.argv[1:]))
    print(f"wrote the tables of {PAGE}")


if __name__ == "__main__":
    main()
