# SPDX-License-Identifier: Apache-2.0
"""A simulated machine on which systemd is process 1, for what only real units show.

Its files are an overlay that ends with it.  It has a control group of its own below which systemd
makes its slices, and what is of the whole kernel, such as /proc/sys, it may only read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import shim
import simulated
import waiting
from cli import ctk

SYSTEMD = "/lib/systemd/systemd"
GROUPS = Path("/sys/fs/cgroup")
PROGRAM = "/opt/nv/bin/nvidia-ctk"
# What the machine has in /proc: a unit with a /proc of its own needs it mounted there.
KERNEL = "/run/kernel"
IN_PROC = "".join(
    f"BindReadOnlyPaths={KERNEL}/{name}:/proc/{name}\n" for name in ("driver", "devices")
)
# First /proc of these processes, with what the machine has over it; folders in which the host's own
# would be seen; no unit of the host's but those that are started by name.
BOOT = f"""
set -e
mkdir /before
mount --rbind /proc /before
mount -t proc proc /proc
for file in driver devices sys/kernel/random/boot_id; do mount --bind /before/$file /proc/$file; done
umount --lazy /before
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 none /run
mkdir -p {KERNEL}/driver
touch {KERNEL}/devices
for file in driver devices; do mount --bind /proc/$file {KERNEL}/$file; done
for folder in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 none $folder; done
umount --recursive {GROUPS}
mount -t cgroup2 none {GROUPS}
rm -rf /etc/systemd/system/*.wants /lib/systemd/system/*.wants /lib/systemd/system-generators/*
: >/etc/fstab
mkdir -p {os.path.dirname(PROGRAM)}
printf '%s' "$1" >{PROGRAM}
printf '#!/bin/sh\\n' >/sbin/modprobe
chmod 755 {PROGRAM} /sbin/modprobe
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  {SYSTEMD} --unit=sysinit.target --log-target=console
"""
CTK = (
    f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {os.fspath(shim.TREE)!r})\n{ctk.PROGRAM}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A machine that runs, by the process id of its systemd."""

    pid: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        return subprocess.run([*enter, *words], capture_output=True, text=True, check=False)

    def succeed(self, *words: str) -> str:
        """Run a command that must succeed; return what it printed."""
        got = self.run(*words)
        assert got.returncode == 0, f"{words}: {got.stdout}{got.stderr}"
        return got.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine, and make its folder."""
        script = 'mkdir -p "${1%/*}" && printf %s "$2" >"$1"'
        self.succeed("sh", "-c", script, "sh", path, text)

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.succeed("systemctl", "show", "--value", f"--property={name}", unit).strip()


@contextmanager
def machine(name: str) -> Iterator[Booted]:
    """Boot systemd on a simulated machine, with our nvidia-ctk as `PROGRAM`."""
    simulated.need_root()
    if not (os.path.exists(SYSTEMD) and shutil.which("nsenter")):
        pytest.skip("needs systemd, and nsenter of util-linux")
    unified = next((path for path in (GROUPS / "unified", GROUPS) if _is_unified(path)), None)
    if not unified:
        pytest.skip("needs cgroup v2, beside version 1 or alone")
    group = Path(tempfile.mkdtemp(prefix="nvcr-booted-", dir=unified))
    # The shell moves itself to the group, so that the machine sees nothing above it.
    join = f'echo $$ >{group}/cgroup.procs; exec "$@"'
    boot = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]
    words = simulated.words(name, [*boot, "--net", "sh", "-c", BOOT, "sh", CTK])
    with tempfile.TemporaryFile("w+") as console:
        process = subprocess.Popen(
            ["sh", "-c", join, "sh", *words],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _awaited(process)
        except BaseException:
            console.seek(0)
            print(console.read())
            raise
        finally:
            process.kill()
            process.wait()
            waiting.eventually(lambda: _is_removed(group), f"{group} is empty")


def _awaited(process: subprocess.Popen[bytes]) -> Booted:
    def child() -> int:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return int(text or 0)

    def is_up() -> bool:
        state = Booted(pid=child()).run("systemctl", "is-system-running").stdout
        return state.strip() in ("running", "degraded")

    waiting.eventually(child, "process 1 is there", process)
    waiting.eventually(is_up, "systemd has booted", process)
    return Booted(pid=child())


def _is_unified(folder: Path) -> bool:
    return (folder / "cgroup.procs").exists() and (folder / "cgroup.controllers").exists()


def _is_removed(group: Path) -> bool:
    """Remove a control group with all below it, where no process is left."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
