# SPDX-License-Identifier: Apache-2.0
"""The shim as its callers see it: real processes on a scratch machine of their own.

The executables are those in $NVCR_BIN, by default the source tree's.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import builders
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

TREE = Path(__file__).resolve().parents[1]
NAME = "nvidia-container-runtime"
BIN = Path(os.environ.get("NVCR_BIN") or TREE / "packaging" / "bin")
NOBODY = 65534
SECOND = 1_000_000_000
# Nothing here takes a second: what does, hangs.
PATIENCE = 20.0

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000

is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="needs root: another user's files, mounts")
needs_user = pytest.mark.skipif(is_root, reason="needs a user: root may read and write everything")
needs_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="needs x86-64: the probe is a program of that machine"
)

# Each is a whole program without a C library or a loader that could touch what it inherits.
# mov (%rsp),%rcx; mov 8(%rsp),%rsi; mov 16(%rsp,%rcx,8),%rdx; sub %rsi,%rdx; write(1, rsi, rdx);
# exit(0): argv[0] up to envp[0] are the words as the kernel laid them out, each with its NUL.
SAY_WORDS = "488b0c24488b742408488b54cc104829f26a015f6a01580f056a3c5831ff0f05"
# pause(), for ever.
PAUSE = "6a22580f05ebf9"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call of the shim ended."""

    code: int
    out: bytes
    err: str

    @property
    def words(self) -> list[bytes]:
        """The words that the low-level runtime was called with, its path included."""
        return self.out.split(b"\0")[:-1]

    @property
    def runtime(self) -> str:
        """The name of the low-level runtime that ran, "" if none did."""
        return os.fsdecode(self.words[0]).rpartition("/")[2] if self.words else ""


def shells() -> list[Any]:
    """List the shells that a distribution may have as /bin/sh; what is not installed is skipped."""
    entries = []
    for name, program in (("dash", "dash"), ("sh", "bash"), ("sh", "busybox"), ("mksh", "mksh")):
        path = shutil.which(program)
        missing = pytest.mark.skipif(path is None, reason=f"needs {program}")
        entries.append(pytest.param((name, path), id=program, marks=missing))
    return entries


# The launcher calls the interpreter with its flags, -c, a program, and the program's words.
WRAPPER = """#!/bin/sh
flags=$1 program=$3
shift 3
exec {python} "$flags" -c '{code}'"$program" "$@"
"""


class Site:
    """A scratch machine: its own /run, config.toml, spec dir, bundle and low-level runtimes.

    As root its processes have a mount namespace of their own, that of a thread which starts them;
    any other user has no state in /run but in $XDG_RUNTIME_DIR.
    """

    def __init__(self) -> None:
        # Not below pytest's folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="nvcr-"))
        self.folder.chmod(0o755)
        self.launcher = BIN / NAME
        self.run_folder = self._make_folder("run")
        self.state = self.run_folder / NAME
        self.specs = self._make_folder("cdi")
        self.bundle = self._make_folder("bundle")
        self.config = self.folder / "config.toml"
        self.runtime = self.write_runtime("runc")
        self._make_folder("bin")
        self.python = self.folder / "bin" / "python3"
        self.python.symlink_to(os.path.realpath(sys.executable))
        self.environment = {
            "PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NVIDIA_CTK_CONFIG_FILE_PATH": str(self.config),
            "LC_ALL": "C.UTF-8",
        }
        if not is_root:
            self.environment["XDG_RUNTIME_DIR"] = str(self.run_folder)
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)
        self.write_config()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        if self.bundle.is_dir():
            self.bundle.chmod(0o755)  # a test may have made it read-only
        shutil.rmtree(self.folder)

    def _make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        return folder

    def _enter(self) -> None:
        """Return the calling thread a mount namespace in which our folder is /run."""
        if is_root:
            _check(_libc().unshare(CLONE_NEWNS))
            mount("none", "/", MS_REC | MS_PRIVATE)
            mount(str(self.run_folder), "/run", MS_BIND)

    # What lies on the machine.

    def write_runtime(self, name: str, script: str = "") -> Path:
        """Write a low-level runtime: a shell script, or what prints its words."""
        folder = self.folder / "runtimes"
        folder.mkdir(exist_ok=True)
        path = folder / name
        if script:
            path.write_text(f"#!/bin/sh\n{script}\n")
        else:
            path.write_bytes(program(SAY_WORDS))
        path.chmod(0o755)
        return path

    def write_config(self, text: str | bytes = "", **settings: object) -> None:
        """Write config.toml: ``text``, or cdi mode with other settings of the runtime's section.

        Its mtime is some seconds past, so that nothing waits for it to settle.
        """
        if not text:
            given = {"mode": "cdi", "runtimes": [str(self.runtime)], **settings}
            lines = [f"{name.replace('_', '-')} = {json.dumps(given[name])}" for name in given]
            text = "\n".join([f"[{NAME}]", *lines, f"[{NAME}.modes.cdi]", ""])
            text += f'spec-dirs = ["{self.specs}"]\n'
        self.config.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.date_config(time.time_ns() - 10 * SECOND)

    def date_config(self, mtime_ns: int) -> None:
        """Set the mtime of config.toml; below 2 s no shortcut is ever made for it."""
        os.utime(self.config, ns=(mtime_ns, mtime_ns))

    def write_specs(self, **documents: object) -> None:
        """Write a CDI spec for each name; what is text goes to the file as it is."""
        for name, document in documents.items():
            text = document if isinstance(document, str) else json.dumps(document)
            (self.specs / f"{name}.json").write_text(text)

    def write_bundle(self, document: object) -> bytes:
        """Write config.json; return its bytes."""
        data = document if isinstance(document, bytes) else builders.encode(document)
        (self.bundle / "config.json").write_bytes(data)
        return data

    def read_bundle(self) -> builders.Document:
        """Read config.json."""
        document: builders.Document = json.loads((self.bundle / "config.json").read_bytes())
        return document

    def settle(self) -> None:
        """Wait until what was just written may go into a snapshot: see compile.SETTLED_NS."""
        time.sleep(0.07)

    def shortcut(self) -> Path | None:
        """Find the file that spares the launcher Python, if there is one."""
        files = list(self.state.glob("low-level-runtime.*")) if self.state.exists() else []
        assert len(files) < 2

        return files[0] if files else None

    def snapshots(self) -> list[Path]:
        """List the snapshots."""
        return sorted(self.state.glob("snapshot-*")) if self.state.exists() else []

    def unprivileged(self) -> dict[str, Any]:
        """Return the options of `start` for a call by a user who is not root."""
        if not is_root:
            return {}
        own = self.folder / "user"
        own.mkdir(exist_ok=True)
        os.chown(own, NOBODY, NOBODY)
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        probe = "import sys; open(sys.argv[1]).close()"
        words = [str(self.python), "-I", "-S", "-c", probe, str(self.launcher)]
        try:
            if end(self.execute(words, **options)).code:
                raise PermissionError
        except PermissionError:
            pytest.skip("needs a tree and an interpreter that every user may read")
        return {**options, "env": {"XDG_RUNTIME_DIR": str(own)}}

    def own_tmp(self, mode: str) -> None:
        """Mount another /tmp, with nothing in it but this site; a user may have state there."""
        if is_root:
            keep = self.run_folder / "keep"
            keep.mkdir()
            self.inside(mount, str(self.folder), "/run/keep", MS_BIND | MS_REC)
            self.inside(mount, "none", "/tmp", 0, "tmpfs", f"mode={mode}")
            self.inside(os.mkdir, self.folder)
            self.inside(mount, "/run/keep", str(self.folder), MS_BIND | MS_REC)

    # What runs on it.

    def inside(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function where our mounts can be seen."""
        return self._thread.submit(function, *arguments).result()

    def start(
        self,
        *words: str | bytes | Path,
        launcher: str | Path = "",
        shell: tuple[str, str] | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start the shim; ``env`` is added to the environment, a shell is (argv[0], program)."""
        argv: list[str | bytes | Path] = [str(launcher or self.launcher), *words]
        if shell:
            argv.insert(0, shell[0])
            options["executable"] = shell[1]
        return self.execute(argv, env={**self.environment, **(env or {})}, **options)

    def execute(
        self, argv: Sequence[str | bytes | Path], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start any program, where our mounts can be seen."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {"cwd": self.folder, **pipes, **options}
        return self.inside(lambda: subprocess.Popen(argv, **options))

    def run(self, *words: str | bytes | Path, **options: Any) -> Ended:
        """Call the shim and wait for its end; the options are those of `start`."""
        return end(self.start(*words, **options))

    def create(self, *words: str | bytes | Path, **options: Any) -> Ended:
        """Call ``create`` for the bundle."""
        return self.run("create", "--bundle", self.bundle, *(words or ("c1",)), **options)

    def put_before(self, code: str) -> None:
        """Let the interpreter on PATH execute some code before the launcher's program."""
        if BIN != TREE / "packaging" / "bin":
            pytest.skip("programs that are installed start their own interpreter, not that of PATH")
        python = os.path.realpath(self.python)
        self.python.unlink()
        self.python.write_text(WRAPPER.format(python=python, code=code))
        self.python.chmod(0o755)

    def probe(self, code: str, *words: str | bytes | Path, **options: Any) -> Ended:
        """Call the shim so once; the options are those of `start`."""
        python = os.path.realpath(self.python)
        self.put_before(code)
        try:
            return self.run(*words, **options)
        finally:
            self.python.unlink()
            self.python.symlink_to(python)


def end(process: subprocess.Popen[bytes]) -> Ended:
    """Wait for a process; one that hangs is killed, and fails the test."""
    with process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Ended(process.returncode, out or b"", (err or b"").decode("utf-8", "backslashreplace"))


def mount(source: str, target: str, flags: int, kind: str = "", options: str = "") -> None:
    """Mount; call it by `Site.inside`."""
    words = [word.encode() or None for word in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), options.encode() or None))


def copy_tree(folder: Path) -> Path:
    """Copy what the launcher needs of the source tree; return the launcher."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TREE / "nvidia_runtime", folder / "nvidia_runtime", ignore=ignored)
    shutil.copytree(TREE / "packaging", folder / "packaging", symlinks=True)
    return folder / "packaging" / "bin" / NAME


def cut_short(launcher: Path, module: str) -> Path:
    """Cut the compiled file of a copied tree's module, as a full disk does; return the file."""
    folder, _, leaf = f"nvidia_runtime/{module}".rpartition("/")
    (file,) = (launcher.parents[2] / folder / "__pycache__").glob(f"{leaf}.*.pyc")
    file.write_bytes(file.read_bytes()[:100])
    for whole in (launcher.parents[2] / "nvidia_runtime/__pycache__").glob("hot_path.*"):
        whole.unlink()  # which has the code, too
    return file


def program(code: str) -> bytes:
    """Make an x86-64 program of machine code: one segment, no sections."""
    if platform.machine() != "x86_64" and code == SAY_WORDS:
        return b'#!/bin/sh\nprintf \'%s\\0\' "$0" "$@"\n'
    body = bytes.fromhex(code)
    size = 64 + 56 + len(body)
    identity = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000)
    return identity + head + segment + body


def logged(path: Path) -> list[dict[str, str]]:
    """Read a log file of ``--log-format json``; every line must be an object."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def unlink(path: Path) -> None:
    """Remove a file that may be missing."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def remove(folder: Path) -> None:
    """Remove a folder that may be missing."""
    shutil.rmtree(folder, ignore_errors=True)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
