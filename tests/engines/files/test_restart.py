# SPDX-License-Identifier: Apache-2.0
"""Restarting an engine: by its own service, by a signal, when asked, and never otherwise."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
import waiting

from nvidia_runtime.engines import restart
from nvidia_runtime.engines.running import Running
from nvidia_runtime.engines.supported import ENGINES
from nvidia_runtime.errors import NvidiaRuntimeError

from . import listener

TREE = Path(restart.__file__).parents[2]


def engine(name: str, pid: int, socket: str = "", profile: str = "") -> Running:
    value = ENGINES[name]
    return Running(
        engine=value,
        pid=pid,
        executable="",
        version=(),
        config="",
        socket=socket,
        profile=next(other for other in value.profiles if other.name == profile),
    )


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a systemctl into PATH that notes its words; a test writes what else it does."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.mark.parametrize(
    ("name", "profile", "words"),
    [
        ("docker", "", "systemctl restart docker"),
        ("docker", "snap-docker", "snap restart docker.dockerd"),
        ("docker", "rootless-docker", "systemctl --user restart docker"),
        ("containerd", "", "systemctl restart containerd"),
        ("containerd", "k3s", "systemctl restart k3s"),
        ("containerd", "rke2", "systemctl restart rke2-server"),
        ("containerd", "microk8s", "snap restart microk8s.daemon-containerd"),
        ("crio", "", "systemctl restart crio"),
    ],
)
def test_nothing_is_restarted_unless_asked_for(
    systemctl: Path, name: str, profile: str, words: str
) -> None:
    messages: list[str] = []

    restart.carry_out(engine(name, os.getpid(), profile=profile), restart.NONE, messages.append)

    assert messages == [f"to make {name} read the file: {words}"]
    assert not (systemctl.parents[1] / "called").exists()


def test_every_daemon_has_a_way_to_restart() -> None:
    for profile in (profile for engine in ENGINES.values() for profile in engine.profiles):
        if profile.sockets:
            assert profile.units
            assert profile.restart


def test_engine_that_does_not_run() -> None:
    messages: list[str] = []

    restart.carry_out(engine("docker", 0), restart.SYSTEMD, messages.append)
    restart.carry_out(engine("podman", 0), restart.SYSTEMD, messages.append)

    assert messages == ["docker does not run; it reads the file when it starts"]


def test_signal_reloads_docker(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    messages: list[str] = []
    with listener.running("dockerd", path) as daemon:
        restart.carry_out(engine("docker", daemon.pid), restart.SIGNAL, messages.append)
        waiting.eventually(Path(f"{path}.reloaded").exists, "docker reloads", daemon)

    assert messages == [
        f"docker (pid {daemon.pid}) was told to read runtimes and the default runtime, but not CDI again;",
        "what the file no longer names it keeps until it is restarted",
    ]


@pytest.mark.parametrize("name", ["containerd", "crio"])
def test_signal_would_end_the_others(name: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        restart.carry_out(engine(name, os.getpid()), restart.SIGNAL, print)

    assert str(error.value) == f"{name} reads its configuration only when it starts"
    assert error.value.hint == "--restart=systemd restarts it"


def test_what_systemd_says_is_one_line(systemctl: Path) -> None:
    systemctl.write_text("#!/bin/sh\nprintf 'Job failed.\\nSee the journal.\\n' >&2\nexit 1\n")

    with pytest.raises(NvidiaRuntimeError) as error:
        restart.carry_out(engine("crio", os.getpid()), restart.SYSTEMD, lambda _: None)

    assert str(error.value) == "'systemctl restart crio' failed: Job failed. See the journal."


def test_systemd_restarts_and_the_new_daemon_is_awaited(
    tmp_path: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    messages: list[str] = []
    with listener.running("dockerd", path) as daemon:
        home = f"PYTHONHOME={listener.HOME['PYTHONHOME']}"
        start = f"{home} exec -a dockerd {sys.executable} {listener.__file__} -1 {path}"
        systemctl.write_text(
            f'#!/bin/bash\necho "$@" >{tmp_path}/called\nkill -KILL {daemon.pid}\n'
            f"({start}) >/dev/null 2>&1 &\necho $! >{tmp_path}/new\n"
        )
        restart.carry_out(engine("docker", daemon.pid, str(path)), restart.SYSTEMD, messages.append)

    os.kill(int((tmp_path / "new").read_text()), 9)
    assert (tmp_path / "called").read_text() == "restart docker\n"
    assert messages == ["restarting docker: systemctl restart docker", "docker runs again"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param(
            "echo 'Job for docker.service failed.' >&2; exit 1",
            "'systemctl restart docker' failed: Job for docker.service failed.",
            id="failed",
        ),
        pytest.param("exit 0", "docker does not listen on /nowhere again", id="never came back"),
    ],
)
def test_restart_that_failed(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    monkeypatch.setattr(restart, "SECONDS", 0.5)
    systemctl.write_text(f"#!/bin/sh\n{script}\n")

    with pytest.raises(NvidiaRuntimeError) as error:
        restart.carry_out(engine("docker", os.getpid(), "/nowhere"), restart.SYSTEMD, print)

    assert str(error.value) == says
    assert error.value.hint == "'journalctl -u docker' says why"


@pytest.mark.parametrize(("answer", "is_called"), [("y", True), ("", False), ("no", False)])
def test_question_on_a_terminal(
    tmp_path: Path, systemctl: Path, answer: str, *, is_called: bool
) -> None:
    systemctl.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\nexit 1\n")
    probe = (
        "from nvidia_runtime.engines import docker, restart, running\n"
        "it = running.Running(engine=docker.ENGINE, pid=1, executable='', version=(), config='',"
        " socket='', profile=docker.PROFILES[0])\n"
        "try: restart.carry_out(it, 'ask', str)\n"
        "except Exception: pass\n"
    )
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    subprocess.run(
        [sys.executable, "-c", probe],
        stdin=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(TREE)},
        check=True,
    )
    question, shown = "restart docker now (systemctl restart docker)? [y/N] ", bytearray()
    while question.encode() not in shown:  # the answer's echo may come by itself
        assert select.select([ours], [], [], waiting.PATIENCE)[0], shown
        shown += os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)

    assert (tmp_path / "called").exists() is is_called


def test_nobody_is_asked_without_a_terminal(systemctl: Path) -> None:
    messages: list[str] = []

    restart.carry_out(engine("docker", os.getpid()), restart.ASK, messages.append)

    assert messages == ["to make docker read the file: systemctl restart docker"]
    assert not (systemctl.parents[1] / "called").exists()
