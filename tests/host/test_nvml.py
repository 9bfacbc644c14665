# SPDX-License-Identifier: Apache-2.0
"""The child that talks to NVML: its files, its end, and the progress while a user waits."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated
import waiting

# On a simulated machine: ask its NVML, and say what came of it.
PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, {tree!r})
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import nvml
library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
{script}
"""
ASK = "answer = nvml.ask(library, {patience}, 8)\n"


def run(script: str, patience: float = 5, **options: Any) -> str:
    program = PROGRAM.replace("{tree!r}", repr(os.fspath(simulated.TREE)))
    program = program.replace("{script}", script).replace("ASK", ASK.format(patience=patience))
    got = simulated.run("a100x8", [sys.executable, "-c", program], **options)
    assert (got.returncode, got.stderr) == (0, "")
    return got.stdout


def test_answer() -> None:
    said = run("ASK\nprint(answer.driver, answer.cuda, [gpu.minor for gpu in answer.gpus])")

    assert said == "580.95.05 13.0 [2, 3, 0, 1, 6, 7, 4, 5]\n"


def test_the_child_is_awaited_and_signals_are_as_before() -> None:
    script = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
ASK
print(signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
try:
    os.wait()
except ChildProcessError:
    print("no child is left")
"""
    assert run(script) == "True\nno child is left\n"


@pytest.mark.parametrize("where", ["nvmlInit_v2", "nvmlDeviceGetName@5"])
def test_a_child_that_hangs_is_killed(where: str) -> None:
    script = """
try:
    ASK
except NvidiaRuntimeError:
    pass
try:
    os.wait()
except ChildProcessError:
    print("no child is left")
"""
    script = script.replace("ASK", ASK.format(patience=0.1).strip())
    assert run(script, hang=[where]) == "no child is left\n"


def test_a_child_that_cannot_begin_is_not_a_second_one_of_us() -> None:
    script = """
sys.modules["nvidia_runtime.host.nvml_calls"] = None
try:
    ASK
except NvidiaRuntimeError as error:
    os.write(1, f"{error.what}\\n".encode())
"""
    program = PROGRAM.replace("{tree!r}", repr(os.fspath(simulated.TREE)))
    program = program.replace("{script}", script).replace("ASK", ASK.format(patience=5).strip())

    got = simulated.run("a100x8", [sys.executable, "-c", program])

    said = "NVML ended with exit code 1 while it was started\n"
    assert (got.stdout, got.stderr) == (said, "")


def test_gpus_that_all_hang_do_not_take_as_long_as_all_of_them() -> None:
    """Nobody waits for eight times the patience that one GPU has."""
    script = """
allowed, allowance = {}, nvml._Walk.allowance
nvml._Walk.allowance = lambda walk: allowed.setdefault(walk.at, allowance(walk))
ASK
print([allowed[gpu.index] for gpu in answer.gpus], sum(bool(gpu.problem) for gpu in answer.gpus))
"""
    said = run(script, patience=0.6, hang=["nvmlDeviceGetName"])

    assert said == f"{[0.6] + 7 * [0.15]} 8\n"


HOLDS = """
held = os.open("/dev/zero", os.O_RDONLY)
os.set_inheritable(held, True)
asking = os.fork()
if not asking:
    ASK
    os._exit(0)
child = ""
while not child or "libnvidia-ml" not in open(f"/proc/{child}/maps").read():
    time.sleep(0.01)
    child = open(f"/proc/{asking}/task/{asking}/children").read().strip()
def links():
    for fd in os.listdir(f"/proc/{child}/fd"):
        try:
            yield os.readlink(f"/proc/{child}/fd/{fd}")
        except FileNotFoundError:
            pass  # closed just now
while any("mock-nvml" in link for link in links()):  # it still reads the library's settings
    time.sleep(0.01)
print(sorted(link.partition(":")[0] for link in links()))
os.waitpid(asking, 0)
"""


def test_all_gpus_together_have_a_limit() -> None:
    """The one that took the time is named, and the others were not asked."""
    script = """
answer = nvml.ask(library, 0.4, 8, 0.4)
print([gpu.index for gpu in answer.gpus if gpu.is_silent])
print(answer.gpus[0].problem[:21], "|", answer.gpus[7].problem)
"""
    said = run(script, hang=["nvmlDeviceGetName@0"]).splitlines()

    assert said[0] == "[0]"
    assert said[1] == ("GPU 0: NVML did not a | GPU 7 was not asked: NVML took too long before")


def test_a_child_that_hangs_holds_nothing_that_an_engine_waits_for() -> None:
    """Its standard streams are /dev/null, and the descriptors that we inherited are closed."""
    said = run(HOLDS, patience=3, hang=["nvmlDeviceGetName@5"])

    assert said == "['/dev/null', '/dev/null', '/dev/null', 'pipe']\n"


def test_a_child_ends_with_us() -> None:
    script = "ASK"
    program = PROGRAM.format(tree=os.fspath(simulated.TREE), script=script)
    program = program.replace("ASK", ASK.format(patience=60))
    words = simulated.words("a100x8", [sys.executable, "-c", program], hang=["nvmlDeviceGetName@5"])
    parent = subprocess.Popen(words)
    child = _child_of(parent)

    parent.kill()
    parent.wait()

    waiting.eventually(lambda: not waiting.is_alive(child), "the child has ended")


def _child_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for the child that has loaded NVML."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids: list[int] = []

    def is_there() -> bool:
        for child in children.read_text().split():
            with contextlib.suppress(OSError):  # it was a short one
                if "libnvidia-ml" in Path(f"/proc/{child}/maps").read_text():
                    pids.append(int(child))
        return bool(pids)

    waiting.eventually(is_there, "the child has loaded NVML", process)
    return pids[0]


def test_a_user_at_a_terminal_is_told_what_takes_so_long() -> None:
    program = PROGRAM.format(tree=os.fspath(simulated.TREE), script=ASK.format(patience=5))
    words = simulated.words("t4x1", [sys.executable, "-c", program], attach_us=900_000)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)

    assert process.wait() == 0

    said = os.read(ours, 4096)
    os.close(ours)
    assert "\r\x1b[Kasking GPU 0 of 1 …".encode() in said
    assert said.endswith(b"\r\x1b[K")


def test_a_terminal_that_cannot_take_a_line_back_gets_none() -> None:
    program = PROGRAM.format(tree=os.fspath(simulated.TREE), script=ASK.format(patience=5))
    words = simulated.words("t4x1", [sys.executable, "-c", program], attach_us=900_000)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)

    process = subprocess.Popen(words, stderr=theirs, env={**os.environ, "TERM": "dumb"})

    assert process.wait() == 0
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    os.close(theirs)
    os.close(ours)


def test_a_short_wait_needs_no_progress() -> None:
    script = f"nvml.PROGRESS_AFTER = 60\n{ASK.format(patience=5)}"  # long, on a busy machine
    program = PROGRAM.format(tree=os.fspath(simulated.TREE), script=script)
    words = simulated.words("t4x1", [sys.executable, "-c", program])
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(words, stderr=theirs)

    assert process.wait() == 0

    with pytest.raises(BlockingIOError):
        os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"text", "cannot be loaded: ", id="no library"),
        pytest.param(None, "cannot be loaded: ", id="missing"),
    ],
)
def test_a_library_that_cannot_be_loaded(content: bytes | None, says: str, tmp_path: Path) -> None:
    from nvidia_runtime.errors import NvidiaRuntimeError
    from nvidia_runtime.host import nvml

    library = tmp_path / "libnvidia-ml.so.1"
    if content:
        library.write_bytes(content)

    with pytest.raises(NvidiaRuntimeError) as error:
        nvml.ask(os.fspath(library), 5)

    assert str(error.value).startswith(f"{library}: {says}")
    assert error.value.hint == "is the driver completely installed, and all of it in one version?"
