# SPDX-License-Identifier: Apache-2.0
"""The container of ``make run``: busybox in a scratch folder, handled as an engine would.

An engine writes a bundle, calls our runtime's ``create`` and ``start``, waits, calls ``delete``.
Nothing stays, but what others keep in our runtime's state folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from engines.bundles import await_exit, subreaper

Json = dict[str, Any]
NAME = "nvidia-container-runtime"
STATE = Path("/run") / NAME
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SCRIPTS = f"{sysconfig.get_path('scripts')}:{Path(__file__).resolve().parents[1]}/packaging/bin"
APPLETS = ("awk", "env", "grep", "ls", "sh")
ENDINGS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container in a scratch folder, whose name is its id."""

    folder: Path
    shim: str

    def words(self, command: str) -> list[str]:
        """Return a call of our runtime."""
        create = ["--bundle", str(self.folder), "--pid-file", str(self.folder / "pid")]
        options = {"create": create, "delete": ["--force"]}.get(command, [])
        root = os.fspath(self.folder / "runc")
        return [self.shim, "--root", root, command, *options, self.folder.name]

    def call(self, command: str) -> None:
        """Call our runtime as an engine would; the container inherits the output."""
        config = os.fspath(self.folder / "config.toml")
        out, err = self.folder / "stdout", self.folder / "stderr"
        with out.open("ab") as stdout, err.open("ab") as stderr, subreaper(), uninterrupted():
            done = subprocess.run(
                self.words(command),
                env={"PATH": SYSTEM_PATH, "NVIDIA_CTK_CONFIG_FILE_PATH": config},
                input=b"",  # not /dev/null, which is the machine's
                stdout=stdout,
                stderr=stderr,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS),
                check=False,
            )
        if done.returncode != 0:
            fail(f"{NAME} {command} exited with {done.returncode}: {err.read_text().strip()}")

    def run(self) -> str:
        """Run the created container to its end; return what it said."""
        self.call("start")
        code = await_exit(int((self.folder / "pid").read_text()))
        said = (self.folder / "stdout").read_text()
        if code != 0:
            fail(f"the container exited with {code}: {(self.folder / 'stderr').read_text()}{said}")
        return said

    def spec(self) -> Json:
        """Read config.json."""
        document: Json = json.loads((self.folder / "config.json").read_bytes())
        return document

    def record(self) -> Json:
        """Read what our runtime keeps of the injection."""
        document: Json = json.loads((STATE / f"containers/{self.folder.name}.json").read_bytes())
        return document


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold ^C and SIGTERM back: a runtime that we start while we end would outlive the cleaning."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fail(what: str) -> NoReturn:
    """End with one sentence."""
    raise SystemExit(f"make run: {what}")


def find(program: str, path: str = SYSTEM_PATH) -> str:
    """Find a program, or end."""
    return shutil.which(program, path=path) or fail(f"{program} is missing; try 'make setup'")


@contextmanager
def prepared(
    script: str, *, gpus: str, settings: str, programs: tuple[str, ...]
) -> Iterator[Container]:
    """Prepare a container that asks for GPUs and runs a script; remove all traces afterwards.

    ``programs`` are files on the host whose C library it needs, ``settings`` is the config.toml.
    """
    find("runc")
    folder = Path(tempfile.mkdtemp(prefix="nvcr-demo-"))
    new = Container(folder=folder, shim=find(NAME, SCRIPTS))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for path in (STATE, STATE / "containers"):
            if not path.exists():
                stack.callback(remove_empty, path)
        stack.callback(forget, folder.name)
        build_rootfs(folder / "rootfs", (find("busybox"), *programs))
        (folder / "config.json").write_text(json.dumps(spec(script, gpus, folder.name)))
        (folder / "config.toml").write_text(settings)
        stack.callback(new.call, "delete")
        # First of all: a SIGTERM in the midst of the cleaning would end that, too.
        stack.callback(signal.pthread_sigmask, signal.SIG_BLOCK, ENDINGS)
        yield new


def remove_empty(folder: Path) -> None:
    """Remove a folder that this run has made, unless it is in use now."""
    with suppress(OSError):
        folder.rmdir()


def forget(name: str) -> None:
    """Remove the record, the snapshot and whatever else is kept of a container or config.toml."""
    for file in STATE.rglob("*"):
        with suppress(OSError):
            if file.is_file() and (name in file.name or name.encode() in file.read_bytes()):
                file.unlink()


def build_rootfs(root: Path, programs: tuple[str, ...]) -> None:
    """Make a root file system of busybox and the C library that the programs need."""
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy2(programs[0], root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for library in sorted({name for program in programs for name in libraries(program)}):
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)


def libraries(program: str) -> list[str]:
    """List what a program is linked with; nothing if it is static."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    words = [word for line in done.stdout.splitlines() for word in line.split()]
    return [word for word in words if word.startswith("/") and done.returncode == 0]


def spec(script: str, gpus: str, name: str) -> Json:
    """Write the config.json of an engine whose user asks for GPUs by the variable."""
    tmpfs = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    kinds = ("pid", "ipc", "uts", "mount", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "cwd": "/",
            "env": ["PATH=/bin:/usr/bin", f"NVIDIA_VISIBLE_DEVICES={gpus}"],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": tmpfs},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        ],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
