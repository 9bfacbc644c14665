# SPDX-License-Identifier: Apache-2.0
"""Messages for engines and people: the ``--log`` file, and stderr."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shim import NOBODY, needs_root

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.log import Log, line_of, report, shown, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Return the path of a log file; what a test opens is closed."""
    before = set(os.listdir("/proc/self/fd"))
    yield tmp_path / "log"
    for name in set(os.listdir("/proc/self/fd")) - before:
        if os.path.exists(f"/proc/self/fd/{name}"):
            os.close(int(name))


def messages(file: Path) -> list[str]:
    """Return the lines of a log file in text form, without their times."""
    return [line.partition(" ")[2] for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("message", "quoted"),
    [
        ("all is well", '"all is well"'),
        ('say "no"\n', r'"say \"no\"\n"'),
        ("a\\b\tc", r'"a\\b\tc"'),
        ("é\udcff", r'"\u00e9\udcff"'),
    ],
)
def test_line(message: str, quoted: str) -> None:
    text = line_of("error", message, json=False)
    assert re.fullmatch(f'time="{TIME}" level=error msg={re.escape(quoted)}\n', text)

    line = line_of("error", message, json=True)
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert re.fullmatch(TIME, entry.pop("time"))
    assert entry == {"level": "error", "msg": message}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", ["error", "warning", "info", "debug"]),
        ("debug", ["error", "warning", "info", "debug"]),
        ("info", ["error", "warning", "info"]),
        ("warn", ["error", "warning"]),
        (" WARNING ", ["error", "warning"]),
        ("fatal", []),
        ("loud", ["error", "warning", "info"]),
        ("", ["error", "warning", "info"]),
    ],
)
def test_level(level: str, expected: list[str], file: Path) -> None:
    log = Log(level=level)
    log.open(str(file))

    for severity in ("error", "warning", "info", "debug"):
        log.write(severity, "x")

    assert messages(file) == [f'level={severity} msg="x"' for severity in expected]


def test_open_makes_folders_and_appends(file: Path) -> None:
    deep = file / "a" / "b" / "log"
    for message in ("one", "two"):
        log = Log()
        log.open(str(deep))
        log.write("info", message)

    assert messages(deep) == ['level=info msg="one"', 'level=info msg="two"']


@pytest.mark.parametrize("path", ["", "/dev/null"])
def test_no_file(path: str) -> None:
    log = Log()

    log.open(path)

    assert log.descriptors == []


def test_every_file_gets_every_message(file: Path, tmp_path: Path) -> None:
    log = Log()
    log.open(str(file))
    log.open(str(tmp_path / "other"))

    log.write("info", "x")

    assert messages(file) == messages(tmp_path / "other") == ['level=info msg="x"']


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/proc/1/x/log", "[Errno 2] No such file or directory: '/proc/1/x'"),
        ("/", "[Errno 21] Is a directory: '/'"),
        ("/a\0b", "embedded null byte"),
    ],
)
def test_file_that_cannot_be_opened_is_a_warning_to_the_others(
    path: str, says: str, file: Path
) -> None:
    log = Log()
    log.open(str(file))

    log.open(path)

    assert messages(file) == [
        "level=warning msg=" + json.dumps(shown(f"failed to open log file {path}: {says}"))
    ]


def test_full_disk_stops_nothing(file: Path) -> None:
    log = Log()
    log.open("/dev/full")
    log.open(str(file))

    log.write("info", "x")

    assert messages(file) == ['level=info msg="x"']


def test_report(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.open(str(file))

    report(NvidiaRuntimeError("is wrong", where="/x", hint="mend it"), "nvcr", log)

    assert capfd.readouterr().err == "nvcr: /x: is wrong\nhint: mend it\n"
    assert messages(file) == ['level=error msg="nvcr: /x: is wrong (hint: mend it)"']


def test_report_without_hint(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(json=True)
    log.open(str(file))

    report(NvidiaRuntimeError("is wrong"), "nvcr", log)

    assert capfd.readouterr().err == "nvcr: is wrong\n"
    assert json.loads(file.read_text())["msg"] == "nvcr: is wrong"


def test_warn_writes_what_no_terminal_could_show(capfd: pytest.CaptureFixture[str]) -> None:
    warn("\udcff é\n")

    assert capfd.readouterr().err == "\\udcff é\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all is well", "all is well"),
        ("naïve 日本", "naïve 日本"),
        ("9\x1b]0;x\x07", "9\\x1b]0;x\\x07"),
        ("0\nhint: run it", "0\\nhint: run it"),
        ("\rover", "\\rover"),
        ("\u202egpj", "\\u202egpj"),
    ],
)
def test_nothing_moves_the_cursor(text: str, expected: str) -> None:
    """Containers choose the names that are repeated in messages, and terminals obey."""
    assert shown(text) == expected


def test_fifo_that_nobody_reads_is_no_log(file: Path, tmp_path: Path) -> None:
    """It would hold up every call."""
    os.mkfifo(tmp_path / "fifo")
    log = Log()
    log.open(str(file))

    log.open(str(tmp_path / "fifo"))

    assert len(log.descriptors) == 1
    assert "failed to open log file" in messages(file)[0]


@needs_root
@pytest.mark.parametrize("at", ["link", "link/log", "link/new/log"])
@pytest.mark.parametrize(
    ("owner", "mode", "is_followed"),
    [(NOBODY, 0o1777, False), (0, 0o1777, True), (NOBODY, 0o755, True)],
    ids=["of somebody in a folder of all", "of root in a folder of all", "in a folder of root"],
)
def test_link_of_somebody_else(
    owner: int, mode: int, is_followed: bool, at: str, tmp_path: Path
) -> None:
    """Anybody could have root write anywhere: the kernel's protection may be off."""
    folder, target = tmp_path / "tmp", tmp_path / "target"
    folder.mkdir()
    folder.chmod(mode)
    target.mkdir()
    (folder / "link").symlink_to(target / "log" if at == "link" else target)
    os.chown(folder / "link", owner, owner, follow_symlinks=False)
    log = Log()

    log.open(str(folder / at))

    assert bool(log.descriptors) == is_followed
    assert bool(os.listdir(target)) == is_followed
    for descriptor in log.descriptors:
        os.close(descriptor)


def test_endless_message_is_cut() -> None:
    assert shown("x" * 100_000) == "x" * 16384 + "…"
