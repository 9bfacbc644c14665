# SPDX-License-Identifier: Apache-2.0
"""Debians in which packages are installed: a root of its own, which nothing outlives.

The root is an overlay over one that is kept in the user's cache folder.  A process holds its mount
and process namespaces; commands enter them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import debians
import pytest
import waiting
from engines import processes

from . import images

# What our package depends on, a compiler for simulated machines, and systemd's helper for units.
# python3-pyroute2 is only recommended.
NEEDS = (
    *("busybox-static", "gcc", "init-system-helpers", "libc6-dev", "python3"),
    *("python3-jsonschema", "python3-plumbum", "python3-tomlkit", "python3-yaml", "runc"),
)
SHARE = "/mnt/share"
# The words are the root below, a folder for what is written, and the one that is shared.
ENTER = f"""
below=$1 scratch=$2 share=$3
mount -t tmpfs scratch "$scratch"
cd "$scratch"
mkdir upper work root
mount -t overlay -o "lowerdir=$below,upperdir=upper,workdir=work" overlay root
cd root
for place in sys dev; do mount --rbind "/$place" "$place"; done
mount -t proc proc proc
for place in run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
mkdir -m 1777 run/lock
mkdir -p .{SHARE} host
mount --bind "$share" .{SHARE}
cat /etc/resolv.conf >etc/resolv.conf
pivot_root . host
umount -l host
rmdir host
while sleep 1000; do :; done # a shell reaps who is orphaned
"""
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A Debian: the process that holds it, and the folder that it shares with us."""

    pid: int
    share: Path

    def run(self, *words: str | Path, timeout: float = 300) -> CompletedProcess[str]:
        """Run a program in it; nobody is there to answer a question."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd", "--"]
        return subprocess.run(
            [*enter, *map(str, words)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def succeed(self, *words: str | Path) -> str:
        """Run a program in it that must exit with 0; return what it said."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words} exited with {done.returncode}: {done}"
        return done.stdout

    def sh(self, script: str) -> str:
        """Run a script in it that must succeed; return what it said."""
        return self.succeed("sh", "-ec", script)

    def path(self, path: str) -> Path:
        """Return a file of it as this process reaches it; absolute links are not followed."""
        return Path(f"/proc/{self.pid}/root/{path.lstrip('/')}")

    def listing(self) -> dict[str, str]:
        """List all files that last, but for what dpkg and apt keep: path to what it is."""
        script = (
            "find /etc /opt /usr /var -xdev"
            " '(' -path /var/log -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/lib/apt ')'"
            r" -prune -o -type d -printf '%p\t%m\n' -o -printf '%p\t%m %s %T@ %l\n'"
        )
        rows = [line.partition("\t") for line in self.sh(script).splitlines()]
        return {name: what for name, _, what in rows}

    def shared(self, name: str) -> str:
        """Return the path that a file of the shared folder has in it."""
        return f"{SHARE}/{name}"


def base(suite: str, purpose: str, needs: Sequence[str]) -> Path:
    """Return a Debian of the cache with packages, made over the minimal one of that name."""

    def make(folder: Path) -> None:
        images.run("cp", "-a", f"{images.get(suite)}/.", folder)
        fill = ["sh", "-ec", debians.FILL, "sh", *needs]
        done = debians.inside(folder, fill, stdout=subprocess.PIPE, keep=True)
        if done.returncode:
            pytest.skip(f"apt-get cannot fill the image: {done.stdout.strip().splitlines()[-1:]}")
        images.run("rm", "-rf", folder / "var/cache/apt", folder / "etc/resolv.conf")

    return images.get(f"{purpose}-{suite}", make)


@contextmanager
def started(below: Path, share: Path) -> Iterator[Host]:
    """Keep a host; it ends with all that runs in it."""
    scratch = share.parent / f"{share.name}.root"
    scratch.mkdir()
    words = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    holder = subprocess.Popen(
        [*words, "sh", "-ec", ENTER, "sh", os.fspath(below), os.fspath(scratch), os.fspath(share)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")

    def inner() -> int:
        pids = children.read_text().split()
        return int(pids[0]) if pids else 0

    def is_there() -> bool:
        assert holder.poll() is None, holder.stderr and holder.stderr.read()
        root = Path(f"/proc/{inner()}/root")
        return inner() != 0 and (root / SHARE[1:]).is_dir() and not (root / "host").exists()

    try:
        waiting.eventually(is_there, "the root is entered")
        yield Host(pid=inner(), share=share)
    finally:
        holder.kill()
        holder.communicate()
        processes.succeed(["rmdir", os.fspath(scratch)])
