# SPDX-License-Identifier: Apache-2.0
"""A child that asks something: what it keeps open, how it ends, and the sentence about that."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import child


def children() -> list[str]:
    """List our children; engines of other tests may be among them."""
    return [
        number
        for task in Path("/proc/self/task").iterdir()
        for number in (task / "children").read_text().split()
    ]


def kill_itself(number: int) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        os.kill(os.getpid(), number)
        os._exit(0)

    return work


def hang() -> bytes:
    time.sleep(60)
    return b"too late"


def answer_and_hang() -> bytes:
    """Leave the pipe open, as what hangs in the kernel at its end does."""
    if not os.fork():
        time.sleep(4)
        os._exit(0)
    return b"answer"


def fail() -> bytes:
    raise RuntimeError("is not shown")


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        pytest.param(lambda: b"answer", (b"answer", "ended with exit code 0"), id="answer"),
        pytest.param(lambda: b"", (b"", "ended with exit code 0"), id="no answer"),
        pytest.param(fail, (b"", "ended with exit code 1"), id="exception"),
        pytest.param(kill_itself(11), (b"", "crashed (SIGSEGV)"), id="crash"),
        pytest.param(kill_itself(40), (b"", "crashed (signal 40)"), id="a signal without a name"),
        pytest.param(hang, (b"", "did not answer within 0.2 s"), id="hangs"),
        pytest.param(
            answer_and_hang, (b"answer", "ended with exit code 0"), id="hangs after its answer"
        ),
    ],
)
def test_ask(
    work: Callable[[], bytes], expected: tuple[bytes, str], capfd: pytest.CaptureFixture[str]
) -> None:
    patience = {hang: 0.2, answer_and_hang: 2}.get(work, 10)
    before = children()

    assert child.ask(work, patience) == expected
    assert children() == before
    assert capfd.readouterr() == ("", "")


def test_long_answer_is_cut() -> None:
    data, _ = child.ask(lambda: b"x" * (child.MOST * 4), 10)

    assert child.MOST <= len(data) < child.MOST * 3


def test_it_keeps_nothing_open_and_leaves_no_core() -> None:
    def work() -> bytes:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        targets = sorted(os.readlink(link) for link in links if os.path.exists(link))
        return json.dumps([targets, resource.getrlimit(resource.RLIMIT_CORE)[0]]).encode()

    held = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        data, _ = child.ask(work, 10)
    finally:
        os.close(held)

    targets, limit = json.loads(data)
    assert targets[:3] == ["/dev/null"] * 3
    assert [target.partition(":")[0] for target in targets[3:]] == ["pipe"]
    assert limit < 2


def test_where_an_engine_ignores_how_children_end() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert child.ask(kill_itself(6), 10) == (b"", "crashed (SIGABRT)")
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_no_descriptor_is_left_for_a_child() -> None:
    """An engine that has reached its limit: a sentence with what to do."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(2)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(NvidiaRuntimeError) as error:
            child.ask(lambda: b"", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert str(error.value) == "the driver: cannot be asked: too many open files"
    assert "LimitNOFILE=" in error.value.hint
