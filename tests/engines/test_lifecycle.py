# SPDX-License-Identifier: Apache-2.0
"""A container's life through our runtime: exit codes, exec, stop, kill and rm are the engine's."""

from __future__ import annotations

import pytest
import waiting

from .engine import TERMINATED, Container, Engine


def await_handler(container: Container) -> None:
    """Wait until the container's first process has set its signal handler."""
    is_ready = ("test", "-e", "/tmp/ready")
    waiting.eventually(lambda: container.exec(*is_ready).returncode == 0, "the handler is set")


def test_exit_code_comes_through(engine: Engine) -> None:
    done = engine.run("sh", "-c", "exit 42", gpus="all")

    assert done.returncode == 42


def test_runtime_writes_its_log(engine: Engine) -> None:
    """The log is ours alone: an engine that had gone straight to runc would leave none."""
    engine.run("true", gpus="0")
    quiet = engine.runtime.log.exists()
    done = engine.run("true", gpus="0", debug=True)

    assert not quiet
    assert done.returncode == 0, done.stderr
    assert "mode cdi" in engine.debug_runtime.log.read_text()


def test_exec_again_and_again(engine: Engine) -> None:
    """As a health check does, with exit codes that mean something."""
    container = engine.start(gpus="0")
    check = ("sh", "-c", 'cat /usr/share/nvidia/gpu0.txt; exit "$0"')
    health = [container.exec(*check, code) for code in ("0", "1", "0", "1", "0", "1")]

    assert [done.returncode for done in health] == [0, 1, 0, 1, 0, 1]
    assert {done.stdout for done in health} == {"this is gpu0.txt\n"}


def test_stop_and_rm(engine: Engine) -> None:
    container = engine.start(gpus="all")
    await_handler(container)
    code = container.stop()
    container.remove()

    assert code == TERMINATED
    assert engine.containers() == []
    assert engine.runtime.called() == {"create", "start", "exec", "kill", "delete"}


def test_kill_and_rm(engine: Engine) -> None:
    container = engine.start(gpus="all")
    code = container.kill()
    container.remove()

    assert code == 128 + 9
    assert engine.containers() == []


@pytest.mark.long
def test_many_containers(engine: Engine) -> None:
    """One after the other, as a busy machine starts them."""
    codes = [engine.run("sh", "-c", f"exit {n}", gpus="all").returncode for n in range(60)]

    assert codes == list(range(60))
    assert engine.containers() == []


@pytest.mark.long
def test_long_health_check(engine: Engine) -> None:
    container = engine.start(gpus="0")
    codes = [container.exec("sh", "-c", "exit 3").returncode for _ in range(200)]

    assert set(codes) == {3}
