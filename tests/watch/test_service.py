# SPDX-License-Identifier: Apache-2.0
"""The loop of the service, as a process of its own, with a script in place of the refresh."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import waiting
from waiting import PATIENCE

import nvidia_runtime

HERE = Path(__file__).parent
PROGRAM = """
import sys
from nvidia_runtime.watch import service, signs, uevents
folder, script, listens, *seconds = sys.argv[1:]
timing = service.Timing(**{name: float(value) for name, value in (s.split("=") for s in seconds)})
lookout = signs.Lookout(folder, folder)
say = lambda text: print(text, flush=True)
watching = service.Service([script], lookout, timing, say, lambda text: say(f"debug: {text}"))
listener = uevents.Listener() if listens == "listen" else None
watching.run(listener)
print("over", flush=True)
if listener:
    listener.close()
"""
FAST = {"interval": 0.05, "quiet": 0.1, "longest": 1.0, "patience": 20.0, "ready": 20.0}


class Watching:
    """A running service: its output, and that of its refreshes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = folder / "machine"
        self.machine.mkdir()
        self.calls = folder / "calls"
        self.script = folder / "refresh"
        self.becomes('echo \'{"summary": "unchanged"}\'')
        self.process: subprocess.Popen[bytes] | None = None

    def becomes(self, text: str) -> None:
        """Set what a refresh does, after it has noted that it was called."""
        temporary = self.folder / "refresh.new"
        temporary.write_text(f"#!/bin/sh\necho called >>{self.calls}\n{text}\n")
        temporary.chmod(0o755)
        temporary.rename(self.script)

    def start(self, *, listens: bool = False, **seconds: float) -> None:
        prefix = ["unshare", "--net"] if listens else []
        timing = [f"{name}={value}" for name, value in (FAST | seconds).items()]
        words = [self.machine, self.script, "listen" if listens else "", *timing]
        path = str(Path(nvidia_runtime.__file__).parents[1])
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", PROGRAM, *map(str, words)],
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path},
        )

    def says(self, wanted: str) -> list[str]:
        """Read until a line has these words; return the lines."""
        lines: list[str] = []
        assert self.process
        assert self.process.stdout
        until = time.monotonic() + PATIENCE
        while not lines or wanted not in lines[-1]:
            # One line at a time, so that nothing waits in a buffer while select finds nothing.
            ready = select.select([self.process.stdout], [], [], until - time.monotonic())
            assert ready[0], lines
            line = self.process.stdout.readline()
            assert line, lines
            lines.append(line.decode().rstrip("\n"))
        return lines

    def number_of_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def ends(self) -> None:
        """End it by SIGTERM."""
        assert self.process
        self.send(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0

    def makes(self, number: int) -> None:
        """Wait until it has called this many refreshes."""
        waiting.eventually(
            lambda: self.number_of_calls() >= number, f"{number} refreshes", self.process
        )


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    service = Watching(tmp_path)
    yield service
    if service.process:
        service.process.kill()
        service.process.communicate()


def notices(watching: Watching, systemd: socket.socket, wanted: str) -> list[str]:
    """Receive the messages to systemd, up to this one."""
    messages = [""]

    def is_told() -> bool:
        with suppress(BlockingIOError):
            messages.append(systemd.recv(4096).decode())
        return wanted in messages[-1]

    waiting.eventually(is_told, f"systemd is told {wanted}", watching.process)
    return messages[1:]


def test_first_refresh_waits_for_nothing(watching: Watching) -> None:
    watching.start(quiet=60)

    assert watching.says("unchanged") == ["unchanged"]


def test_burst_of_changes_is_one_refresh(watching: Watching) -> None:
    watching.start(quiet=2.0, longest=60.0)
    watching.says("unchanged")
    folder = watching.machine / "dev"
    folder.mkdir()

    for number in range(5):
        (folder / f"nvidia{number}").touch()
        time.sleep(2 * FAST["interval"])  # so that it sees some of them in a look of their own
    lines = watching.says("unchanged")

    assert "appeared" in lines[0]
    assert watching.number_of_calls() == 2


def test_changes_without_end_do_not_put_it_off_for_ever(watching: Watching) -> None:
    watching.start(quiet=0.5, longest=1.0)
    watching.says("unchanged")
    folder = watching.machine / "dev"
    folder.mkdir()

    numbers = itertools.count()

    def changes() -> bool:
        (folder / f"nvidia{next(numbers)}").touch()
        return watching.number_of_calls() >= 3

    waiting.eventually(changes, "a refresh in the midst of changes", watching.process)


def test_hangup_refreshes_now(watching: Watching) -> None:
    watching.start(quiet=60)
    watching.says("unchanged")

    watching.send(signal.SIGHUP)

    assert watching.says("unchanged") == ["SIGHUP: refreshing now", "unchanged"]


@pytest.mark.parametrize("script", ["exit 1", "kill -SEGV $$", "echo '{'; exit 2", "exec sleep 0"])
def test_whatever_a_refresh_does_the_service_goes_on(script: str, watching: Watching) -> None:
    watching.becomes(script)
    watching.start()
    if script != "exec sleep 0":
        lines = watching.says("trying again in 5 s")
        assert lines[-1].endswith("trying again in 5 s, or when something changes")

    watching.becomes('echo \'{"summary": "wrote it"}\'')
    (watching.machine / "dev").mkdir()
    (watching.machine / "dev/nvidia0").touch()

    assert watching.says("wrote it")


def test_missing_driver_is_no_failure(watching: Watching) -> None:
    watching.becomes('echo \'{"summary": "no driver"}\'; exit 69')
    watching.start()

    assert watching.says("no driver") == ["no driver"]
    watching.send(signal.SIGHUP)
    assert watching.says("no driver") == ["SIGHUP: refreshing now", "no driver"]


def test_refresh_that_cannot_be_started_is_tried_again(watching: Watching) -> None:
    watching.script.unlink()
    watching.start()

    assert watching.says("cannot start a refresh")

    watching.becomes("exit 0")
    watching.send(signal.SIGHUP)
    watching.says("SIGHUP")
    watching.makes(1)
    assert watching.number_of_calls() == 1


def test_refresh_that_hangs_is_ended_with_its_children(watching: Watching) -> None:
    """Also one that ignores signals, whose own children keep its output open."""
    pids = watching.folder / "pids"
    watching.becomes(f"trap '' TERM; sleep 1000 & echo $! >{pids}; wait; sleep 1000")
    watching.start(patience=2.5)

    assert watching.says("trying again")[-2] == "the refresh took more than 2.5 s and was ended"
    pid = int(pids.read_text())
    waiting.eventually(lambda: not waiting.is_alive(pid), "its child has ended")


@pytest.mark.parametrize("script", ["exit 0", "sleep 1000"], ids=["idle", "in a refresh"])
def test_end_is_at_once(script: str, watching: Watching) -> None:
    watching.becomes(script)
    watching.start()
    watching.makes(1)

    watching.ends()
    assert watching.says("over") == ["SIGTERM: ending", "over"]


def test_what_the_generator_looked_at_is_looked_at(watching: Watching) -> None:
    file = watching.folder / "fabricmanager.conf"
    watching.becomes(f"echo '{json.dumps({'summary': 'unchanged', 'watched': [str(file)]})}'")
    watching.start()
    watching.says("unchanged")

    file.touch()

    assert watching.says("unchanged") == [f"{file} appeared", "unchanged"]


def told(watching: Watching, monkeypatch: pytest.MonkeyPatch, **options: Any) -> socket.socket:
    """Start it as systemd does; return systemd's socket."""
    name = str(watching.folder / "notify")
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.setblocking(False)
    systemd.bind(name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    watching.start(**options)
    return systemd


def test_systemd_is_told(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.becomes('echo \'{"summary": "wrote it"}\'; test -z "$NOTIFY_SOCKET"')
    with told(watching, monkeypatch) as systemd:
        assert notices(watching, systemd, "READY=1") == ["STATUS=wrote it", "READY=1"]

        watching.ends()

        assert notices(watching, systemd, "STOPPING=1") == ["STOPPING=1"]


def test_engines_do_not_wait_for_a_refresh_that_hangs(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching.becomes("sleep 1000")
    with told(watching, monkeypatch, ready=0.3) as systemd:
        assert notices(watching, systemd, "READY=1") == ["READY=1"]
        watching.ends()  # and with it what hangs


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"),
    reason="needs root, unshare and nsenter: a network namespace of its own",
)
def test_uevent_of_a_gpu_refreshes(watching: Watching) -> None:
    watching.start(listens=True, interval=600)
    watching.says("unchanged")
    assert watching.process
    nsenter = [
        "nsenter",
        "--net",
        "-t",
        str(watching.process.pid),
        sys.executable,
        str(HERE / "uevent.py"),
    ]

    for words in (["--forged", "ACTION=add", "SUBSYSTEM=module", "DEVPATH=/module/nvidia"],
                  ["ACTION=add", "SUBSYSTEM=block", "DEVPATH=/x/nvme7"],
                  ["ACTION=add", "SUBSYSTEM=module", "DEVPATH=/module/nvidia"]):  # fmt: skip
        subprocess.run([*nsenter, *words], check=True)
    lines = watching.says("unchanged")

    assert [line for line in lines if "nv" in line] == [
        "debug: ignored uevent: add block nvme7",
        "uevent: add module nvidia",
    ]
    assert any(line.endswith("sent, not the kernel") for line in lines)
    assert watching.number_of_calls() == 2
