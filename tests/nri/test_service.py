# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk nri as a process, and an engine that asks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import shim
from cli import ctk
from engines import wire

from .engine import MESSAGES, Engine, Session

pytest.importorskip("google.protobuf", reason="protobuf is not installed")
POD = "nvidia.cdi.k8s.io/pod"


@contextmanager
def serving(path: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Keep the service running; it must end by SIGTERM, with 0."""
    words = [sys.executable, "-c", ctk.PROGRAM, "nri", f"--nri-socket={path}", *flags]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "nri.sock") as opened:
        yield opened


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """Return a plugin that is registered and configured."""
    others = "--nri-management-cdi-device-namespaces=a,b"
    with serving(engine.path, "--nri-namespace=system", others):
        session = engine.session()
        session.accept()
        session.call("Configure", {"runtime_name": "containerd", "runtime_version": "v2.1.9"})
        yield session


def test_registration(engine: Engine) -> None:
    with serving(engine.path, "--nri-plugin-index=7") as process:
        session = engine.session()
        asked = session.accept()
        configured = session.call("Configure", {"runtime_name": "x", "runtime_version": "\x1b[1m"})
        events = wire.decode(MESSAGES, "ConfigureResponse", configured["payload"])
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()

    assert asked == {"plugin_name": "nvidia-ctk", "plugin_idx": "07"}
    assert events == {"events": 0b1000}  # CREATE_CONTAINER
    assert said.splitlines()[0].endswith(" registered with x \\x1b[1m")
    assert said.splitlines()[-1].endswith(" ending")


def test_container(session: Session) -> None:
    assert session.create({}) == ([], "")
    assert session.create({POD: "nvidia.com/gpu=0,nvidia.com/gpu=1"}) == (
        ["nvidia.com/gpu=0", "nvidia.com/gpu=1"],
        "",
    )
    assert session.create({"nvidia.cdi.k8s.io/container.c": "a.b/c=d"}, container="other") == (
        [],
        "",
    )


def test_management(session: Session) -> None:
    asked = {POD: "management.nvidia.com/gpu=all"}

    assert session.create(asked) == ([], "")
    for namespace in ("system", "a", "b"):
        assert session.create(asked, namespace=namespace) == (["management.nvidia.com/gpu=all"], "")


def test_name_that_cannot_be_is_an_error_of_the_container(session: Session) -> None:
    devices, error = session.create({POD: "gpu0"})

    assert devices == []
    assert error == f"{POD}: 'gpu0': no device name: it must be VENDOR/CLASS=DEVICE"
    assert session.create({POD: "a.b/c=d"}) == (["a.b/c=d"], "")


def test_many_pods_in_pieces(session: Session) -> None:
    """What an engine sends at once may be in several frames, and in several messages."""
    pods = [{"id": f"{number:064}", "name": "p" * 200} for number in range(1000)]

    answer = session.call("Synchronize", {"pods": pods, "more": 1}, most=1000)

    assert wire.decode(MESSAGES, "SynchronizeResponse", answer["payload"]) == {"more": 1}
    assert session.create({POD: "a.b/c=d"}) == (["a.b/c=d"], "")


@pytest.mark.parametrize(("method", "code"), [("StateChange", 0), ("Shutdown", 0), ("New", 12)])
def test_other_calls(method: str, code: int, session: Session) -> None:
    answer = session.call(method, {})

    assert answer.get("status", {}).get("code", 0) == code


def test_engine_that_restarts(tmp_path: Path) -> None:
    path = tmp_path / "nri.sock"
    with serving(path):  # before there is an engine
        for _ in range(2):
            with Engine(path) as engine:
                session = engine.session()
                session.accept()
                assert session.create({POD: "a.b/c=d"}) == (["a.b/c=d"], "")


def test_engine_that_refuses(engine: Engine) -> None:
    with serving(engine.path):
        engine.session().accept(code=5)
        engine.session().accept()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff" * 64, id="a frame of 4 GiB"),
        pytest.param(b"\0\0\0\1\0\0\0\x0a" + b"\xff" * 10, id="a message of 4 GiB"),
        pytest.param(b"\0\0\0\1\0\0\0\x0d\0\0\0\3\0\0\0\1\1\0\xff\xff\xff", id="no protobuf"),
    ],
)
def test_what_no_engine_sends_ends_the_connection(data: bytes, engine: Engine) -> None:
    with serving(engine.path):
        session = engine.session()
        session.accept()
        session.socket.sendall(data)
        engine.session().accept()


def test_without_protobuf(tmp_path: Path) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google/__init__.py").write_text("raise ImportError\n")

    got = ctk.run("nri", PYTHONPATH=f"{tmp_path}:{shim.TREE}")

    assert got.code == 1
    assert got.err.startswith(
        "nvidia-ctk: Python's package protobuf is missing\nhint: install it: "
    )


def test_wrong_index() -> None:
    got = ctk.run("nri", "--nri-plugin-index=100")

    assert got.code == 1
    assert "--nri-plugin-index must be in the range [0,99]" in got.err
