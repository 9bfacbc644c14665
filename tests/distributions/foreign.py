# SPDX-License-Identifier: Apache-2.0
"""A Debian of another architecture, whose programs qemu runs.

The kernel is told of qemu in a user namespace of its own (Linux 6.7), so the host's programs never
are.  In it nobody may make device nodes, and runc does not start: qemu does not know all of
clone(2).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import debians
import pytest
import waiting

from . import images
from .hosts import ENVIRONMENT

ARCHITECTURE, QEMU = "arm64", "qemu-aarch64-static"
NEEDS = (
    *("base-passwd", "python3", "python3-jsonschema", "python3-plumbum"),
    *("python3-tomlkit", "python3-yaml", "runc"),
)
# binfmt_misc.rst: programs by the first bytes of an ELF file, of that machine; the interpreter is
# opened now, by F, and need not be in the root.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# The words are the root, how qemu is registered, and a command.
ENTER = """
until [ "$(id -u)" = 0 ]; do sleep 0.1; done # until our parent has mapped all users
root=$1 qemu=$2
shift 2
mount --bind "$root" "$root"
cd "$root"
for place in sys dev; do mount --rbind "/$place" "$place"; done
mount -t proc proc proc
mount -t binfmt_misc binfmt_misc proc/sys/fs/binfmt_misc
printf %s "$qemu" >proc/sys/fs/binfmt_misc/register
for place in run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
cat /etc/resolv.conf >etc/resolv.conf
exec chroot . "$@"
"""
EVERYBODY = "0 0 4294967295"


def run(root: Path, *words: str, timeout: float = 900) -> CompletedProcess[str]:
    """Run a program of a root; what it writes stays there."""
    qemu = images.need(QEMU, "qemu-user-static")
    enter = ["unshare", "--user", "--mount", "--propagation=private", "--pid", "--fork"]
    enter += ["--kill-child", "sh", "-ec", ENTER, "sh", os.fspath(root)]
    process = subprocess.Popen(
        [*enter, f":{ARCHITECTURE}:M::{MAGIC}:{MASK}:{qemu}:F", *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            place = Path("/proc", str(process.pid))
            own = os.readlink("/proc/self/ns/user")
            waiting.eventually(
                lambda: os.readlink(place / "ns/user") != own, "it is apart", process
            )
            for name in ("uid_map", "gid_map"):
                (place / name).write_text(EVERYBODY)
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return CompletedProcess(process.args, process.returncode, out, err)


def base() -> Path:
    """Return a root with what our package needs: unpacked by debootstrap, installed by its apt."""

    def make(folder: Path) -> None:
        program = images.need("debootstrap", "debootstrap")
        options = (f"--arch={ARCHITECTURE}", "--foreign", "--variant=minbase")
        images.run(program, *options, "bookworm", folder, images.MIRROR)
        (folder / "proc").unlink()  # a link to the host's, as chroot alone would need
        (folder / "proc").mkdir()
        done = run(folder, "sh", "-ec", debians.FILL, "sh", *NEEDS)
        if done.returncode:
            pytest.skip(
                f"no root of {ARCHITECTURE} is made: {done.stdout[-300:]}{done.stderr[-300:]}"
            )
        for name in ("debootstrap", "var/cache/apt", "etc/resolv.conf"):
            images.run("rm", "-rf", folder / name)

    return images.get(f"package-{ARCHITECTURE}", make)


@contextmanager
def copy(folder: Path) -> Iterator[Path]:
    """Make a copy of the root in memory, to be written to."""
    folder.mkdir()
    images.run("mount", "-t", "tmpfs", "-o", "mode=755", "foreign", folder)
    try:
        images.run("cp", "-a", f"{base()}/.", folder)
        yield folder
    finally:
        images.run("umount", folder)
