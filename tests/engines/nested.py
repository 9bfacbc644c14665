# SPDX-License-Identifier: Apache-2.0
"""An image with this host's docker, for a daemon in a container: as docker:dind, without a registry."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from . import processes, rootfs

PROGRAMS = {
    "dockerd": "/usr/sbin",
    "docker": "/usr/bin",
    "containerd": "/usr/bin",
    "containerd-shim-runc-v2": "/usr/bin",
    "runc": "/usr/sbin",
    "docker-init": "/usr/bin",
}
APPLETS = ("cat", "env", "grep", "ls", "mkdir", "mount", "readlink", "sh", "sleep", "stat", "true")
# No network of its own, and what works on any file system.
SETTINGS = {
    "bridge": "none",
    "iptables": False,
    "ip-forward": False,
    "userland-proxy": False,
    "storage-driver": "vfs",
}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def archive(folder: Path, busybox: str) -> Path:
    """Write the image, as `docker save` does; /lib in it is a link, as in most distributions."""
    root, file = folder / "root", folder / "docker.tar"
    for name in (
        "bin",
        "dev",
        "etc/docker",
        "proc",
        "run",
        "sys",
        "tmp",
        "usr/lib",
        "usr/lib64",
        "var",
    ):
        (root / name).mkdir(parents=True)
    for name in ("lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("/run")
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    for program, place in PROGRAMS.items():
        source = shutil.which(program)
        assert source, program
        _copy(Path(source), root / place[1:] / program)
        add_libraries(root, source)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/docker/daemon.json").write_text(json.dumps(SETTINGS))
    rootfs.archive(root, file, name="nested:latest", command=("dockerd",), env=(PATH,))
    return file


def add_libraries(root: Path, program: str) -> None:
    """Add what a program is linked with to a root in which /lib may be a link."""
    for library in _libraries(program):
        _copy(Path(library), root / library[1:])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(source, target)


def _libraries(program: str) -> list[str]:
    """Return what a program is linked with, its loader too; nothing for one that is linked with none."""
    listed = processes.run(["ldd", program]).stdout
    return re.findall(r"(/\S+) \(0x", listed)


# A low-level runtime with which a privileged container starts where this machine itself lacks rights:
# docker asks for all that the kernel has.
RUNTIME = """#!{python} -IS
import json, os, sys
words = sys.argv[1:]
status = open("/proc/self/status").read()
mask = int(status.partition("CapBnd:")[2].split()[0], 16)
lacking = [name for bit, name in {lacking}.items() if not mask >> bit & 1]
file = ""
if "create" in words:
    file = words[words.index("--bundle") + 1] + "/config.json"
elif "exec" in words:
    file = words[words.index("--process") + 1]
if file:
    document = json.load(open(file))
    process = document.get("process", document)
    for names in (process.get("capabilities") or {{}}).values():
        names[:] = [name for name in names if name not in lacking]
    json.dump(document, open(file, "w"))
os.execvp("runc", ["runc", *words])
"""
# What a virtual machine of a CI may keep from its root.
LACKING = {16: "CAP_SYS_MODULE", 17: "CAP_SYS_RAWIO", 22: "CAP_SYS_BOOT", 24: "CAP_SYS_RESOURCE"}
LACKING |= {25: "CAP_SYS_TIME", 33: "CAP_MAC_ADMIN", 36: "CAP_BLOCK_SUSPEND"}


def runtime(file: Path) -> Path:
    """Write that runtime."""
    file.write_text(RUNTIME.format(python=sys.executable, lacking=LACKING))
    file.chmod(0o755)
    return file
