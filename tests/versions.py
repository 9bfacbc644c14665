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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributions import images

TREE = Path(__file__).resolve().parents[1]
LOGS = TREE / "build" / "versions"
# Counts up where what is kept has to be made anew; a Debian that moves is anyway, after a while.
EDITION = 1
MOST_DAYS = 30
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
OURS = ("jsonschema", "plumbum", "pyroute2", "tomlkit", "yaml")
# Which Debian has it.
SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid", "3.15": "sid"}
PROGRAMS = (
    *("busybox-static", "ca-certificates", "gcc", "iproute2", "kmod", "libc6-dev", "mksh"),
    *("musl-tools", "procps", "runc"),
)
TOOLS = ("build", "hatchling", "hypothesis", "pytest", "pytest-xdist")
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

# The words are the root, the scratch folder, the tree, and the command.
ENTER = """
root=$1 scratch=$2 tree=$3
shift 3
mount -t tmpfs scratch "$scratch"
mkdir "$scratch/root"
[ -n "$NVCR_KEEP" ] || { cp -a "$root/." "$scratch/root"; root=$scratch/root; }
mount --bind "$root" "$scratch/root"
cd "$scratch/root"
for place in proc sys dev; do mount --rbind "/$place" "$place"; done
for place in run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
cat /etc/resolv.conf >etc/resolv.conf
if [ -z "$NVCR_KEEP" ]; then # whoever vouches for the servers here
  cat /etc/ssl/certs/ca-certificates.crt >etc/ssl/certs/ca-certificates.crt
  mkdir src && cp -a "$tree/." src
fi
pivot_root . mnt
umount -l mnt
exec "$@"
"""
# In a root that is made: a mirror may lag, and no service is to be started.
FILL = """
echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/90nvcr
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"
"""
# In the copy of the tree: an environment, a container, the tests.
TRY = """
python=$1 packages=$2 venv=$3
shift 3
[ "$PWD" != /src ] || ln -sf "$(command -v "$python")" /usr/bin/python3
pip="$venv/bin/python -m pip install -qq --disable-pip-version-check"
"$python" -m venv $([ "$packages" = newest ] || echo --system-site-packages) "$venv"
$pip -c tests/pins.txt $TOOLS
if [ "$packages" = newest ]; then
  $pip --no-build-isolation .
else
  $pip --no-build-isolation --no-deps .
fi
echo "== $("$venv/bin/python" --version), $("$venv/bin/python" -m pip list --format freeze | tr '\\n' ' ')"
export NVCR_BIN="$venv/bin" # not every Python of the machine has what ours needs
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
    """Return a Debian with the interpreters that it is wanted for; make it if need be."""
    folder = images.cache() / f"versions-{suite}-{EDITION}"
    if folder.exists() and time.time() - folder.stat().st_mtime > MOST_DAYS * 86400:
        shutil.rmtree(folder)
    if not folder.exists():
        print(f"debootstrap {suite} {folder}", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"versions-{suite}.", dir=folder.parent))
        try:
            words = ["debootstrap", "--variant=minbase", suite, str(draft), images.MIRROR]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            pythons = [f"python{version}-venv" for version, it in SUITES.items() if it == suite]
            ours = [f"python3-{name}" for name in OURS] if suite == "bookworm" else []
            fill = ["sh", "-ec", FILL, "sh", *PROGRAMS, *pythons, *ours]
            done = inside(draft, fill, stdout=subprocess.PIPE, keep=True)
            if done.returncode:
                sys.exit(f"{suite} cannot be made: {done.stdout[-1000:]}")
            draft.chmod(0o755)
            os.utime(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def inside(
    folder: Path, words: list[str], *, stdout: Any, keep: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root: what it writes is kept, or is in memory and goes with it."""
    with tempfile.TemporaryDirectory(prefix="nvcr-versions-") as scratch, copy() as tree:
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", ENTER, "sh"]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [*enter, str(folder), scratch, str(tree), *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment(), "NVCR_KEEP": "yes" if keep else ""},
            check=False,
        )
        return done


def environment() -> dict[str, str]:
    """Return what a run needs of our environment: how packages are fetched."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    kept.pop("PIP_FIND_LINKS", None)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**kept, "PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "TOOLS": " ".join(TOOLS)}


@contextmanager
def copy() -> Iterator[Path]:
    """Copy the tree, without what is built in it."""
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache")
    with tempfile.TemporaryDirectory(prefix="nvcr-versions-") as folder:
        os.chmod(folder, 0o755)
        tree = Path(folder) / "tree"
        shutil.copytree(TREE, tree, symlinks=True, ignore=ignored)
        yield tree


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
            with copy() as tree:
                attempted += [path, row.packages, str(tree.parent / "venv"), *words]
                code = subprocess.run(
                    attempted,
                    cwd=tree,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment(),
                    check=False,
                ).returncode
        else:
            attempted += [f"python{row.python}", row.packages, "/venv", *words]
            attempted = ["sh", "-c", 'cd /src && exec "$@"', "sh", *attempted]
            code = inside(root(suite), attempted, stdout=file).returncode
    print(f"{row.name}: {result(log.read_text(errors='replace'), code)}", end="")
    print(f", {time.monotonic() - began:.0f} s, {path or f'Debian {suite}'}", flush=True)
    if code:
        print(f"  see {log}", flush=True)
    return code == 0


def result(said: str, code: int) -> str:
    """Return the interpreter's version, and pytest's counts."""
    version = re.search(r"^== Python (\S+),", said, re.MULTILINE)
    counts = dict.fromkeys(("passed", "failed", "skipped", "error"), 0)
    for number, name in re.findall(r"(\d+) (passed|failed|skipped|error)", said[-400:]):
        counts[name] = int(number)
    text = ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped"))
    if counts["error"] or (code and not counts["failed"]):
        text += ", FAILED" if "== tests" in said else ", FAILED before the tests"
    return f"Python {version[1] if version else '?'}: {text}"


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
