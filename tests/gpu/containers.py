# SPDX-License-Identifier: Apache-2.0
"""Containers as an engine makes them: create, start, wait, delete.

In them are busybox, a C library and the probe.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.outfit import Outfit

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 120.0
GROUP = "nvcr-gpu"
SETTINGS = """\
[nvidia-ctk]
path = "{hook}"
[nvidia-container-runtime]
mode = "{mode}"
runtimes = ["{runc}"]
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{specs}"]
"""
MODES = ("jit-cdi", "cdi")
APPLETS = ("cat", "env", "grep", "ls", "mount", "sh", "stat", "test", "true")
FOLDERS = ("bin", "dev", "etc", "lib", "proc", "sys", "tmp", "usr/bin", "usr/lib", "var/cache")
CAPABILITIES = [
    *(
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
    ),
    *("CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"),
]
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a container ended, what it said, and the milliseconds of create alone and of all."""

    code: int
    text: str
    create_ms: float = 0.0
    all_ms: float = 0.0


def settings(fitted: Outfit, mode: str) -> Path:
    """Return the folder of a config.toml for a mode."""
    folder = fitted.work / "settings" / mode
    file = folder / "nvidia-container-runtime/config.toml"
    if not file.exists():
        file.parent.mkdir(parents=True)
        hook, specs = fitted.bin / "nvidia-cdi-hook", fitted.work / "specs"
        values = {"mode": mode, "runc": fitted.runc, "specs": specs, "hook": hook}
        file.write_text(SETTINGS.format(**values))
    return folder


def root(fitted: Outfit, name: str) -> Path:
    """Return a root file system of its own to each mode."""
    root = fitted.work / "roots" / name
    if not root.exists():
        _build_root(fitted, root)
    return root


def _build_root(outfit: Outfit, root: Path) -> None:
    """Make a root file system."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    shutil.copy2(outfit.busybox, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    shutil.copy2(outfit.pack / "probe", root / "probe")
    loader = (outfit.pack / "lib/loader").read_text().strip()
    (root / loader[1:]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(outfit.pack / "lib" / os.path.basename(loader), root / loader[1:])
    for library in (outfit.pack / "lib").glob("*.so.*"):
        shutil.copy2(library, root / "usr/lib" / library.name)


def run(
    outfit: Outfit,
    runtime: Path,
    *command: str,
    gpus: str = "",
    settings: Path | None = None,
    root: Path,
) -> Ran:
    """Run a command in a container of its own."""
    bundle = outfit.work / "bundles" / f"nvcr-gpu-{os.getpid()}-{time.monotonic_ns()}"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(_spec(command, gpus, root, bundle.name)))
    words = [str(runtime), "--root", str(outfit.work / "state")]
    environment = outfit.environment(settings)
    begun = time.monotonic()
    with (bundle / "said").open("wb") as said:
        creating = subprocess.run(
            [*words, "create", "--bundle", bundle, "--pid-file", bundle / "pid", bundle.name],
            input=b"",
            stdout=said,
            stderr=said,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    created = time.monotonic()
    if creating.returncode:
        return Ran(code=creating.returncode, text=(bundle / "said").read_text(errors="replace"))
    code = _finish(words, bundle, environment)
    ended = time.monotonic()
    text = (bundle / "said").read_text(errors="replace")
    shutil.rmtree(bundle)
    times = {"create_ms": (created - begun) * 1e3, "all_ms": (ended - begun) * 1e3}
    return Ran(code=code, text=text, **times)


def _finish(words: list[str], bundle: Path, environment: dict[str, str]) -> int:
    """Start the container, wait for its end, and delete it."""
    pid = int((bundle / "pid").read_text())
    handle = os.pidfd_open(pid)
    try:
        subprocess.run([*words, "start", bundle.name], env=environment, check=True)
        if not select.select([handle], [], [], PATIENCE)[0]:
            subprocess.run([*words, "kill", bundle.name, "KILL"], env=environment, check=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(handle)
    subprocess.run([*words, "delete", bundle.name], env=environment, check=True)
    return code


def adopt() -> None:
    """Become the process that reaps containers, since `create`, their parent, ends: prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def remove_groups() -> None:
    """Remove the control groups that the containers' own were in."""
    for folder in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*")):
        with suppress(OSError):
            os.rmdir(f"{folder}/{GROUP}")


def _spec(command: tuple[str, ...], gpus: str, root: Path, name: str) -> dict[str, Any]:
    asked = [f"NVIDIA_VISIBLE_DEVICES={gpus}", "NVIDIA_DRIVER_CAPABILITIES=all"] if gpus else []
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(command),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *asked],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": str(root)},
        "mounts": MOUNTS,
        "linux": {
            "cgroupsPath": f"/{GROUP}/{name}",
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
