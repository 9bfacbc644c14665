# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon has read its files: what docker answers, and what else tells."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.engines import docker, docker_info, reading
from nvidia_runtime.engines.engine import Knowledge
from nvidia_runtime.engines.running import Running

NVIDIA = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}
PATH = "/usr/bin/nvidia-container-runtime"
OLD, NEW = 1.0, 1e11  # of a daemon that began long ago, or will


def daemon(file: Path, knowledge: Knowledge | None, began: float = OLD, **fields: Any) -> Running:
    values: dict[str, Any] = {
        "engine": replace(docker.ENGINE, ask=lambda _socket: knowledge),
        "profile": docker.PROFILES[0],
        "pid": 7,
        "executable": "",
        "version": (28, 3),
        "config": str(file),
        "socket": "",
        "began": began,
    }
    return Running(**(values | fields))


def knowledge(cdi: bool | None = None, default: str = "runc", **programs: str) -> Knowledge:
    return Knowledge(programs={"runc": "runc", **programs}, default=default, cdi=cdi)


@pytest.mark.parametrize(
    ("document", "said", "began", "expected"),
    [
        pytest.param(NVIDIA, knowledge(nvidia=PATH), OLD, False, id="it knows ours"),
        pytest.param(NVIDIA, knowledge(), NEW, True, id="it does not"),
        pytest.param(
            NVIDIA, knowledge(nvidia="/x/y"), NEW, True, id="another program of that name"
        ),
        pytest.param({}, knowledge(nvidia=PATH), OLD, True, id="ours was taken out"),
        pytest.param({}, knowledge(nvidia=PATH), NEW, False, id="ours came by a flag"),
        pytest.param(
            {**NVIDIA, "default-runtime": "nvidia"},
            knowledge(nvidia=PATH),
            NEW,
            True,
            id="ours is the default now",
        ),
        pytest.param(
            NVIDIA, knowledge(nvidia=PATH, default="nvidia"), NEW, True, id="and is it no longer"
        ),
        pytest.param(
            {"features": {"cdi": False}}, knowledge(cdi=True), NEW, True, id="CDI was switched off"
        ),
        pytest.param({}, knowledge(cdi=True), OLD, False, id="CDI is on by default"),
        pytest.param({}, knowledge(cdi=None), OLD, False, id="it does not say whether CDI is on"),
        pytest.param(NVIDIA, None, OLD, True, id="no answer, and older than its file"),
        pytest.param(NVIDIA, None, NEW, False, id="no answer, and younger"),
        pytest.param(NVIDIA, None, 0.0, None, id="no answer, and its age is not known"),
    ],
)
def test_docker(
    document: dict[str, Any],
    said: Knowledge | None,
    began: float,
    expected: bool | None,
    tmp_path: Path,
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps(document))

    assert reading.is_behind(daemon(file, said, began)) is expected


def test_file_that_is_gone_was_changed(tmp_path: Path) -> None:
    began = os.stat(tmp_path).st_ctime - 1

    assert (
        reading.is_behind(daemon(tmp_path / "daemon.json", knowledge(nvidia=PATH), began)) is True
    )


def test_restored_file_was_changed(tmp_path: Path) -> None:
    """A backup brings its old time along."""
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    began = file.stat().st_ctime - 1
    os.utime(file, (1, 1))

    assert reading.is_behind(daemon(file, None, began)) is True


@pytest.mark.parametrize(
    "fields", [{"pid": 0}, {"elsewhere": "in a container"}, {"template": "/x"}]
)
def test_what_cannot_be_told(fields: dict[str, Any], tmp_path: Path) -> None:
    assert reading.is_behind(daemon(tmp_path / "daemon.json", knowledge(), **fields)) is None


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Answer one call of a socket; what was asked is in the list."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                asked.append(client.recv(4096))
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def http(document: Any, status: str = "200 OK") -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


RUNTIMES = {"nvidia": {"path": PATH, "status": {}}, "runc": {"path": "runc"}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"Runtimes": RUNTIMES, "DefaultRuntime": "nvidia", "CDISpecDirs": ["/etc/cdi"]},
            knowledge(nvidia=PATH, default="nvidia", cdi=True),
        ),
        (
            {"Runtimes": RUNTIMES, "DefaultRuntime": "runc", "CDISpecDirs": None},
            knowledge(nvidia=PATH, cdi=False),
        ),
        ({"Runtimes": RUNTIMES, "DefaultRuntime": "runc"}, knowledge(nvidia=PATH)),
        ({"Runtimes": [1]}, Knowledge(programs={}, default="", cdi=None)),
    ],
    ids=["with CDI", "CDI is off", "docker 24", "odd"],
)
def test_answer_of_docker(document: Any, expected: Knowledge, tmp_path: Path) -> None:
    with answering(tmp_path / "d.sock", http(document)) as asked:
        got = docker_info.ask(str(tmp_path / "d.sock"))

    assert got == expected
    assert asked[0].startswith(b"GET /info HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense", http({}, "500 Internal Server Error"), http(b"{"), http([])],
    ids=["none", "no HTTP", "an error", "no JSON", "a list"],
)
def test_no_answer(answer: bytes, tmp_path: Path) -> None:
    with answering(tmp_path / "d.sock", answer):
        assert docker_info.ask(str(tmp_path / "d.sock")) is None


def test_nobody_listens(tmp_path: Path) -> None:
    assert docker_info.ask(str(tmp_path / "nowhere")) is None
