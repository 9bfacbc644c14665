# SPDX-License-Identifier: Apache-2.0
"""``make test-versions``: the tests that need no engine, and a container, under each Python.

The dependencies are Debian 12's once, which are our floor, and else the newest that PyPI has.  An
interpreter that this machine lacks comes from a Debian of its own, made once by debootstrap and
kept in the user's cache folder; 3.12, which no Debian has, must be in PATH or pyenv's.  Each run
has a copy of the tree, and of that Debian one in memory, in a mount namespace that ends with it.
Needs root.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import debians

LOGS = debians.TREE / "build" / "versions"
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
OURS = ("jsonschema", "plumbum", "pyroute2", "tomlkit", "yaml")
# Which Debian has it.
SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid", "3.15": "sid"}
PROGRAMS = (
    *("busybox-static", "ca-certificates", "gcc", "iproute2", "kmod", "libc6-dev", "mksh"),
    *("musl-tools", "procps", "runc"),
)
# These need engines, a GPU, or what does not depend on the interpreter.
NOT = (
    "benchmarks/*",
    "distributions/*",
    "engines/test_*",  # engines/files are tests of files
    "gpu/*",
    "security/*",
    "test_demo.py",
    "test_linters.py",
)

# In the copy of the tree: a container, the tests.
TRY = f"""{debians.INSTALL}
echo "== run"
"$venv/bin/python" tests/demo.py
echo "== tests"
exec "$venv/bin/python" -m pytest -q -rfE --tb=short -p no:cacheprovider "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An interpreter, and where its packages come from: "apt" or "newest"."""

    python: str
    packages: str

    @property
    def name(self) -> str:
        """What it is called in the log and in the result."""
        return f"{self.python}-{self.packages}"


ROWS = [Row(python="3.11", packages="apt"), *[Row(python=it, packages="newest") for it in PYTHONS]]


def native(version: str) -> str:
    """Find an interpreter of this machine that works, "" if there is none."""
    installed = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    name = f"python{version}"
    places = [f"/usr/bin/{name}", *sorted(map(str, installed.glob(f"{version}.*/bin/{name}")))]
    for path in [*places, shutil.which(name) or ""]:
        try:
            subprocess.run([path, "-c", "import ensurepip, venv"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return path
    return ""


def root(suite: str) -> Path:
    """Return a Debian with the interpreters that it is wanted for."""
    pythons = [f"python{version}-venv" for version, it in SUITES.items() if it == suite]
    ours = [f"python3-{name}" for name in OURS] if suite == "bookworm" else []
    return debians.root("versions", suite, [*PROGRAMS, *pythons, *ours])


def attempt(row: Row, words: list[str]) -> bool:
    """Try one row, and say in a line how it went."""
    log = LOGS / f"{row.name}.log"
    began = time.monotonic()
    path = native(row.python) if row.packages == "newest" else ""
    suite = SUITES.get(row.python, "")
    if not path and not suite:
        print(f"{row.name}: FAILED, there is no Python {row.python} on this machine")
        return False
    attempted = ["sh", "-ec", TRY, "sh"]
    with log.open("w") as file:
        if path:
            with debians.copy() as tree:
                attempted += [path, row.packages, str(tree.parent / "venv"), *words]
                code = subprocess.run(
                    attempted,
                    cwd=tree,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=debians.environment(),
                    check=False,
                ).returncode
        else:
            attempted += [f"python{row.python}", row.packages, "/venv", *words]
            attempted = ["sh", "-c", 'cd /src && exec "$@"', "sh", *attempted]
            code = debians.inside(root(suite), attempted, stdout=file).returncode
    print(f"{row.name}: {result(log.read_text(errors='replace'), code)}", end="")
    print(f", {time.monotonic() - began:.0f} s, {path or f'Debian {suite}'}", flush=True)
    if code:
        print(f"  see {log}", flush=True)
    return code == 0


def result(said: str, code: int) -> str:
    """Return the interpreter's version, and pytest's counts."""
    version = re.search(r"^== Python (\S+),", said, re.MULTILINE)
    return f"Python {version[1] if version else '?'}: {debians.counts(said, code)}"


def main() -> None:
    """Try all rows, or those that are named; the words after ``--`` are pytest's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(row.name for row in ROWS)}")
    parser.add_argument(
        "--pytest", default="", help="other words for pytest, in place of all tests"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("versions: root is missing: containers and mounts need it")
    LOGS.mkdir(parents=True, exist_ok=True)
    words = [
        *(word for name in NOT for word in ("--ignore-glob", f"tests/{name}")),
        "-n",
        "2",
        "tests",
    ]
    rows = [row for row in ROWS if not options.rows or {row.name, row.python} & {*options.rows}]
    passed = [attempt(row, options.pytest.split() or words) for row in rows]
    sys.exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()
