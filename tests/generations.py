# SPDX-License-Identifier: Apache-2.0
"""``make test-engines``: the tests with real engines, on those of three Debians.

Each has a root of its own, as ``debians`` makes them.  What works where becomes the table of
packaging/engines.md, if all were tried.  Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import debians
from engines.ways import CONTAINERD, DOCKER, OTHERS, PODMAN, WAYS

CDI = (DOCKER, PODMAN, CONTAINERD)
LOGS = debians.TREE / "build" / "engines"
PAGE = debians.TREE / "packaging" / "engines.md"
SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "sid": "Debian sid"}
PROGRAMS = (
    *("busybox-static", "ca-certificates", "conmon", "containerd", "crun", "docker.io"),
    *("fuse-overlayfs", "gcc", "iproute2", "iptables", "kmod", "libc6-dev", "mksh", "podman"),
    *("procps", "python3-venv", "runc", "uidmap"),
)
NEWER = ("docker-buildx", "docker-cli", "docker-compose", "runsc")  # only since Debian 13
ENGINES = ("dockerd", "containerd", "podman", "runc", "crun")
BEGIN, END = "<!-- made by make test-engines -->\n", "<!-- end -->\n"
TRY = f"""{debians.INSTALL}
$pip -c tests/pins.txt grpcio protobuf
for program in {" ".join(ENGINES)}; do
  echo "== version $("$program" --version | head -n 1)"
done
echo "== tests"
export NVCR_WAYS=/venv/ways
"$venv/bin/python" -m pytest -q -rsfE --tb=short -p no:cacheprovider "$@" && code=0 || code=$?
[ ! -e $NVCR_WAYS ] || sed 's/^/== way /' $NVCR_WAYS
exit $code
"""
WORDS = ("-n", "2", "--ignore=tests/engines/files", "tests/engines")


def root(suite: str) -> Path:
    """Return a Debian with its engines."""
    return debians.root("engines", suite, [*PROGRAMS, *(NEWER if suite != "bookworm" else ())])


def attempt(suite: str, words: list[str]) -> bool:
    """Try the engines of one Debian, and say in a line how it went."""
    log = LOGS / f"{suite}.log"
    began = time.monotonic()
    command = ["sh", "-c", 'cd /src && exec "$@"', "sh", "sh", "-ec", TRY, "sh"]
    with log.open("w") as file:
        tried = [*command, "python3", "newest", "/venv", *words]
        code = debians.inside(root(suite), tried, stdout=file).returncode
    said = log.read_text(errors="replace")
    print(f"{SUITES[suite]} ({', '.join(versions(said))}): {debians.counts(said, code)}", end="")
    print(f", {time.monotonic() - began:.0f} s", flush=True)
    if code:
        print(f"  see {log}", flush=True)
    return code == 0


def versions(said: str) -> list[str]:
    """Return the engines with their versions, as a run has said them."""
    lines = re.findall(r"^== version (\S+).*?(\d+(?:\.\d+)+)", said, re.MULTILINE)
    return [f"{name.lower()} {version}" for name, version in lines]


def outcomes(said: str) -> dict[str, str]:
    """Return what came of each way that a run has tried."""
    rows: list[Any] = [json.loads(row) for row in re.findall("^== way (.*)", said, re.MULTILINE)]
    return {row["way"]: row["outcome"] for row in rows}


def table(logs: dict[str, str]) -> str:
    """Lay out what works where, one row a way of asking, one column a Debian."""
    columns = {suite: outcomes(said) for suite, said in logs.items()}
    heads = [f"{SUITES[suite]}: {', '.join(versions(said))}" for suite, said in logs.items()]
    lines = [f"| | | {' | '.join(heads)} |", f"|{'---|' * (2 + len(heads))}"]
    rows = [(way.engine, way.how, way.name) for way in WAYS]
    rows += [(engine, how, name) for name, engine, how in OTHERS]
    rows += [(name, "CDI versions that it reads", f"{name}-versions") for name in CDI]
    for engine, how, name in rows:
        cells = [columns[suite].get(name, "not tried") for suite in logs]
        lines.append(f"| {engine} | {how} | {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


def write_page(logs: dict[str, str]) -> None:
    """Put the table into its page, with the day."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    day = time.strftime("%Y-%m-%d")
    tried = f"Tried on {day}.\n\n{table(logs)}"
    PAGE.write_text(f"{head}{BEGIN}{tried}{END}{rest.split(END)[1]}")
    print(f"wrote the table of {PAGE}")


def main() -> None:
    """Try all Debians, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--pytest", default="", help="other words for pytest, in place of all")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("engines: root is missing: containers and mounts need it")
    LOGS.mkdir(parents=True, exist_ok=True)
    suites = [suite for suite in SUITES if not options.suites or suite in options.suites]
    passed = [attempt(suite, options.pytest.split() or [*WORDS]) for suite in suites]
    if suites == [*SUITES] and not options.pytest:
        write_page({suite: (LOGS / f"{suite}.log").read_text(errors="replace") for suite in suites})
    sys.exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()
