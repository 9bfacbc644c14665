# SPDX-License-Identifier: Apache-2.0
"""Programs and daemons that a test starts, waits for, and ends."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it said.

    No stream of it is /dev/null: crun gives a container's streams to the root of its user namespace.
    """
    return subprocess.run(
        argv,
        env=env,
        input="",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def succeed(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must exit with 0; return its standard output."""
    done = run(argv, env=env)
    assert done.returncode == 0, f"{argv} exited with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


@contextmanager
def daemon(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str], is_ready: Callable[[], bool]
) -> Iterator[None]:
    """Keep a daemon running, in a session of its own so that ^C ends it through us and in order.

    A daemon that ends before it is ready skips the tests: it is this machine that cannot run it.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: process.poll() is not None or is_ready(), f"{argv[0]} is ready")
        if process.returncode is not None:
            pytest.skip(f"{argv[0]} does not start here: {last_line(log)}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """Say what a daemon said last."""
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
