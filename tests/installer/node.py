# SPDX-License-Identifier: Apache-2.0
"""A node to install on: a folder for what is the host's, and a small bundle to install from.

The bundle has this machine's busybox, and an interpreter that becomes the one that runs the tests;
or a copy of that, so that who looks which program a process runs sees the tree.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import shim
import waiting

PROGRAM = "from nvidia_runtime.cli import main; main()"
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
ROOM = "/" * 200
INTERPRETER = '#include <unistd.h>\nint main(int c, char **v) {{ execv("{}", v); return c; }}\n'
INTERPRETED = 3  # PT_INTERP
VERSION = "1.2.3"
DAEMON_JSON = '{\n    "log-level": "info"\n}\n'
# A low-level runtime that says how it was called.
RUNC = """#!/bin/sh
printf '%s\\n' "$0" "$@"
cat
env | grep -v '^_=' | sort >"$RUNC_ENVIRONMENT"
exit 7
"""


def bundle(folder: Path, version: str = VERSION) -> Path:
    """Make a bundle."""
    loader = next((path for path in LOADERS if Path(path).exists()), "")
    busybox = shutil.which("busybox")
    if not loader or not busybox or not shutil.which("cc"):
        pytest.skip("needs a C compiler, glibc's loader, and busybox")
    for name in ("bin", "lib", "share"):
        (folder / name).mkdir(parents=True)
    (folder / "share/version").write_text(version)
    shutil.copy(os.path.realpath(loader), folder / "lib" / os.path.basename(loader))
    shutil.copy(busybox, folder / "bin/busybox")
    for name in ("grep", "readlink"):
        (folder / "bin" / name).symlink_to("busybox")
    source = folder.parent / "python.c"
    source.write_text(INTERPRETER.format(os.path.realpath(sys.executable)))
    linker = f"-Wl,--dynamic-linker={ROOM}/nowhere/lib/{os.path.basename(loader)}"
    subprocess.run(["cc", linker, "-o", folder / "bin/python3", source], check=True)
    for file in (shim.TREE / "packaging/bin").iterdir():
        shutil.copy(file, folder / "bin")
    shutil.copy(shim.TREE / "packaging/nvidia-ctk", folder / "bin")
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / "lib" / python / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(shim.TREE / "nvidia_runtime", site / "nvidia_runtime", ignore=ignored)
    return folder


def own_interpreter(folder: Path) -> None:
    """Copy the interpreter that runs the tests into a bundle, with room for its loader's path."""
    file = folder / "bin/python3"
    loader = next(path for path in LOADERS if Path(path).exists())
    file.write_bytes(
        with_room(
            Path(os.path.realpath(sys.executable)).read_bytes(),
            f"{ROOM}/nowhere/lib/{os.path.basename(loader)}",
        )
    )


def with_room(program: bytes, loader: str) -> bytes:
    """Return a 64-bit ELF program whose loader's path, which the kernel reads, is at its end."""
    path = loader.encode() + b"\0"
    offset, size, count = struct.unpack_from("<32xQ14xHH", program)
    data = bytearray(program + path)
    for place in range(offset, offset + size * count, size):
        if struct.unpack_from("<I", program, place)[0] == INTERPRETED:
            struct.pack_into("<Q", data, place + 8, len(program))
            struct.pack_into("<Q", data, place + 32, len(path))
            return bytes(data)
    pytest.skip("the interpreter that runs the tests has no loader")


class Node:
    """A node with docker's file on it, unless another engine is named."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder, self.source = folder, source
        self.local, self.run_folder = folder / "local", folder / "run"
        self.config = folder / "etc/docker/daemon.json"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(DAEMON_JSON)
        self.toolkit = self.local / "toolkit"
        self.flags = ["--runtime=docker", f"--config={self.config}", "--restart-mode=none"]

    def words(self, *more: str | Path) -> list[str]:
        """Return the words of an installation."""
        return [
            "install",
            f"--toolkit-install-dir={self.local}",
            f"--toolkit-source-root={self.source}",
            f"--pid-file={self.run_folder}/toolkit.pid",
            "--host-root=/",
            "--driver-root=/",
            "--driver-root-ctr-path=/",
            *self.flags,
            *map(str, more),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of an installation."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(shim.TREE),
            "XDG_CONFIG_HOME": "/nowhere",
            **more,
        }

    def install(self, *more: str | Path, **environment: str) -> shim.Ended:
        """Install, to its end."""
        argv = [sys.executable, "-c", PROGRAM, *self.words(*more)]
        got = subprocess.run(
            argv, capture_output=True, check=False, env=self.environment(**environment)
        )
        said = got.stderr.decode()
        assert "Traceback" not in said
        return shim.Ended(got.returncode, got.stdout, said)

    @contextmanager
    def installed(
        self, *more: str | Path, ending: int = signal.SIGTERM, **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Keep an installation there."""
        argv = [sys.executable, "-c", PROGRAM, *self.words(*more)]
        process = subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, env=self.environment(**environment)
        )
        ready = self.run_folder / "toolkit.ready"
        own = f'"pid": {process.pid},'  # a killed one has left its own

        def is_ready() -> bool:
            return ready.exists() and own in ready.read_text()

        try:
            waiting.eventually(is_ready, "the installation is ready", process)
            yield process
        finally:
            process.send_signal(ending)
            said = process.communicate(timeout=waiting.PATIENCE)[1]
            assert "Traceback" not in said

    def tree(self) -> Path:
        """Return the tree that the link names."""
        return self.local / os.readlink(self.toolkit)

    def trees(self) -> list[str]:
        """List all trees."""
        return sorted(path.name for path in self.local.glob("toolkit-*"))

    def document(self) -> Any:
        """Read docker's file."""
        return json.loads(self.config.read_text())

    def runc(self) -> Path:
        """Make a low-level runtime that says how it was called, in a folder of its own."""
        file = self.folder / "sbin/runc"
        file.parent.mkdir(exist_ok=True)
        file.write_text(RUNC)
        file.chmod(0o755)
        return file


def contents(folder: Path, left_out: Collection[str] = ()) -> dict[str, str]:
    """Return what is below a folder, without some of it: modes, targets of links, and digests."""
    listed = {}
    for place, folders, files in os.walk(folder):
        inner = os.path.relpath(place, folder)
        names = {name: os.path.normpath(f"{inner}/{name}") for name in (*folders, *files)}
        folders[:] = [name for name in folders if names[name] not in left_out]
        for name, path in names.items():
            if path not in left_out:
                listed[path] = described(Path(place, name))
    return dict(sorted(listed.items()))


def described(path: Path) -> str:
    """Return the mode and owner of a file, and what is in it."""
    status = path.lstat()
    what = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
    if path.is_symlink():
        what += f" {os.readlink(path)}"
    elif path.is_file():
        what += f" {hashlib.sha256(path.read_bytes()).hexdigest()}"
    elif not path.is_dir():
        what += f" {status.st_rdev}"
    return what
