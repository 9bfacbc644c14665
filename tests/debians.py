# SPDX-License-Identifier: Apache-2.0
"""Debians of their own: made once by debootstrap and kept in the user's cache folder.

A command runs in a copy of one in memory, with a copy of the tree, in mount and process namespaces
that end with it, and all that it started.  Needs root.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributions import images

TREE = Path(__file__).resolve().parents[1]
# Counts up where what is kept has to be made anew; a Debian that moves is anyway, after a while.
EDITION = 1
MOST_DAYS = 30
TOOLS = ("build", "hatchling", "hypothesis", "pytest", "pytest-xdist")

# The words are the root, the scratch folder, the tree, and the command.
ENTER = """
root=$1 scratch=$2 tree=$3
shift 3
mount -t tmpfs scratch "$scratch"
mkdir "$scratch/root"
[ -n "$NVCR_KEEP" ] || { cp -a "$root/." "$scratch/root"; root=$scratch/root; }
mount --bind "$root" "$scratch/root"
cd "$scratch/root"
for place in sys dev; do mount --rbind "/$place" "$place"; done
mount -t proc proc proc
for place in run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
mkdir -m 1777 run/lock
cat /etc/resolv.conf >etc/resolv.conf
if [ -z "$NVCR_KEEP" ]; then # whoever vouches for the servers here
  cat /etc/ssl/certs/ca-certificates.crt >etc/ssl/certs/ca-certificates.crt
  mkdir src && cp -a "$tree/." src
fi
pivot_root . mnt
umount -l mnt
"$@" || exit $? # not executed: the first process of a namespace adopts and reaps others
"""
# In a root that is made: a mirror may lag, and no service is to be started.
FILL = """
echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/90nvcr
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"
"""
# In the copy of the tree: an environment with the package, and what tests it.
INSTALL = """
python=$(readlink -f "$(command -v "$1")") packages=$2 venv=$3
shift 3
[ "$PWD" != /src ] || ln -sf "$python" /usr/bin/python3
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
"""


def root(purpose: str, suite: str, packages: Sequence[str]) -> Path:
    """Return a Debian with the packages that a purpose needs; make it if need be."""
    folder = images.cache() / f"{purpose}-{suite}-{EDITION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{purpose}-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making it
        if folder.exists() and time.time() - folder.stat().st_mtime > MOST_DAYS * 86400:
            shutil.rmtree(folder)
        if not folder.exists():
            make(folder, suite, packages)
    return folder


def make(folder: Path, suite: str, packages: Sequence[str]) -> None:
    """Make a Debian."""
    print(f"debootstrap {suite} {folder}", flush=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        words = ["debootstrap", "--variant=minbase", suite, str(draft), images.MIRROR]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        fill = ["sh", "-ec", FILL, "sh", *packages]
        done = inside(draft, fill, stdout=subprocess.PIPE, keep=True)
        if done.returncode:
            sys.exit(f"{suite} cannot be made: {done.stdout[-1000:]}")
        draft.chmod(0o755)
        os.utime(draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def inside(
    folder: Path, words: list[str], *, stdout: Any, keep: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root: what it writes is kept, or is in memory and goes with it."""
    with tempfile.TemporaryDirectory(prefix="nvcr-debian-") as scratch, copy() as tree:
        enter = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ]
        enter += ["sh", "-ec", ENTER, "sh"]
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
    with tempfile.TemporaryDirectory(prefix="nvcr-debian-") as folder:
        os.chmod(folder, 0o755)
        tree = Path(folder) / "tree"
        shutil.copytree(TREE, tree, symlinks=True, ignore=ignored)
        yield tree


def counts(said: str, code: int) -> str:
    """Return pytest's counts from what a run has said, and whether it failed elsewhere."""
    tests = said.partition("== tests")[2]
    last = "".join(re.findall(r"^.*\d \w+.* in [\d.]+s\b.*$", tests, re.MULTILINE)[-1:])
    numbers = dict.fromkeys(("passed", "failed", "skipped", "error"), 0)
    for number, name in re.findall(r"(\d+) (passed|failed|skipped|error)", last):
        numbers[name] = int(number)
    text = ", ".join(f"{numbers[name]} {name}" for name in ("passed", "failed", "skipped"))
    if numbers["error"] or (code and not numbers["failed"]):
        text += ", FAILED" if tests else ", FAILED before the tests"
    return text
