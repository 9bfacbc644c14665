# SPDX-License-Identifier: Apache-2.0
"""Programs of engines with a limit of time, and the place where a trial keeps its files.

What may hang is killed; what it has started is removed by the engine, and the folder at the end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from nvidia_runtime.doctor.trial import image as trial_image
from nvidia_runtime.doctor.trial import root as trial_root
from nvidia_runtime.errors import os_reason, short

NAME = "nvidia-doctor"
# Seconds: for all that is tried, for loading an image, for a container, and for each removal.
PATIENCE, FOR_IMAGE, FOR_CONTAINER, FOR_REMOVAL = 45.0, 20.0, 15.0, 3.0
MOST = 64 << 10
LONGEST = 600
# Lines of help below an error, and notes above it.
CHATTER = ("See '", "Run '", "time=")
ABSENT = ("no such", "not found", "does not exist", "no container")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit code (negative for a signal), and what it wrote."""

    code: int = 0
    out: str = ""
    err: str = ""
    is_late: bool = False

    @property
    def message(self) -> str:
        """What it said on stderr, in one line that is not endless."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        telling = [line for line in lines if not line.startswith(CHATTER)] or lines
        text = " ".join(telling) or f"exit code {self.code}"
        return short(text, LONGEST)

    @property
    def is_removed(self) -> bool:
        """Whether what was to be removed is not there any more."""
        said = self.err.lower()
        return not self.is_late and (self.code == 0 or any(word in said for word in ABSENT))


def call(
    words: list[str],
    seconds: float,
    *,
    env: dict[str, str] | None = None,
    out: IO[bytes] | None = None,
    err: IO[bytes] | None = None,
) -> Ended:
    """Run a program to its end; what it leaves running may keep its output open.

    It has a session of its own: Ctrl-C ends it through us, and not those that clean up.
    """
    with tempfile.TemporaryFile() as own_out, tempfile.TemporaryFile() as own_err:
        stdout, stderr = out or own_out, err or own_err
        try:
            # Not /dev/null: crun gives a container's streams to the root of its user namespace.
            process = subprocess.Popen(
                words,
                env=env,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Ended(code=127, err=f"{words[0]}: {os_reason(error)}")
        is_late = False
        try:
            if process.stdin:
                process.stdin.close()
            process.wait(timeout=max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            is_late = True
        finally:
            code = _end(process)
        return Ended(code=code, out=text(stdout), err=text(stderr), is_late=is_late)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Return how a program ended; one that runs is killed, or left where the kernel holds it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    return -signal.SIGKILL if process.returncode is None else process.returncode


def text(file: IO[bytes]) -> str:
    """Return the beginning of what was written to a file."""
    file.seek(0)
    return file.read(MOST).decode(errors="replace")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Do something that a second Ctrl-C does not interrupt; it must be short."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Bench:
    """Where containers are tried: a folder, names for them, the time that is left."""

    def __init__(self, rows: trial_root.Rows, folder: str, patience: float) -> None:
        self.rows = rows
        self.folder = folder
        self.deadline = time.monotonic() + patience
        self.left: list[str] = []
        self._numbers = itertools.count()
        self._archive = ""

    def seconds(self, most: float) -> float:
        """Return the time that something may take."""
        return min(most, self.deadline - time.monotonic())

    def name(self) -> str:
        """Return a new container's name."""
        return f"{NAME}-{os.getpid()}-{next(self._numbers)}"

    def root(self, name: str) -> str:
        """Make a root for a container, and return its folder; what it is given is left in it."""
        root = f"{self.folder}/{name}/rootfs"
        trial_root.build(root, self.rows)
        return root

    @property
    def image(self) -> str:
        """The name of the image."""
        return f"localhost/{NAME}:{os.getpid()}"

    def archive(self) -> str:
        """Return the file of the image; it is made at first."""
        if not self._archive:
            file = f"{self.folder}/image.tar"
            trial_image.write(file, self.root("image"), self.image)
            self._archive = file
        return self._archive

    def remove(
        self,
        words: list[str],
        env: dict[str, str] | None = None,
        before: list[str] | None = None,
    ) -> None:
        """Remove something by its engine, and note the words where that fails.

        ``before`` is run first, whatever comes of it.
        """
        with undisturbed():
            if before:
                call(before, FOR_REMOVAL, env=env)
            if not call(words, FOR_REMOVAL, env=env).is_removed:
                self.left.append(" ".join(words))


@contextmanager
def bench(patience: float = PATIENCE) -> Iterator[Bench]:
    """Keep a folder for a trial.  Raises `NvidiaRuntimeError` where there can be none."""
    rows = trial_root.rows()
    folder = tempfile.mkdtemp(prefix=f"{NAME}-", dir=trial_root.place())
    place = Bench(rows, folder, patience)
    try:
        yield place
    finally:
        with undisturbed():
            _remove(folder)
        if os.path.exists(folder):
            place.left.append(f"rm -r {folder}")


def _remove(folder: str) -> None:
    """Remove a folder with all that is in it, also where only its mode is in the way.

    Hooks make folders that nobody may write to, which stops a user who is not root.
    """
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = f"{parent}/{name}"
            with suppress(OSError):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
