# SPDX-License-Identifier: Apache-2.0
"""What is made of pages in memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from benchmarks import cold
from benchmarks.results import Form


def form() -> Form:
    launcher = Path("/venv/bin/nvidia-container-runtime")
    python = "/usr/bin/none/python3.11"
    return Form(is_short=False, rounds=1, launcher=launcher, python=python, inside="")


@pytest.mark.parametrize("size", [0, 1, mmap.PAGESIZE, mmap.PAGESIZE + 1])
def test_what_was_just_written_is_in_memory_in_whole_pages(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)

    assert cold.in_memory(file) == -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('[pid 7] openat(AT_FDCWD, "/etc/x", O_RDONLY|O_CLOEXEC) = 3', "/etc/x"),
        ('execve("/bin/x", ["x", "-f"], 0x7ffe /* 4 vars */) = 0', "/bin/x"),
        ('openat(AT_FDCWD, "/gone", O_RDONLY) = -1 ENOENT (No such file or directory)', ""),
        ('openat(5, "etc", O_RDONLY|O_PATH) = 6', ""),
    ],
)
def test_what_strace_says_is_opened(line: str, path: str) -> None:
    match = cold.OPENED.search(line)

    assert (match[1] if match else "") == path


def test_the_parts_of_the_first_sum_follow_it() -> None:
    files = {
        "/usr/bin/none/python3.11": 5_000_000,
        "/usr/lib/x86_64-linux-gnu/libc.so.6": 1_000_000,
        "/usr/lib/python3.11/encodings/__pycache__/utf_8.cpython-311.pyc": 40_000,
        "/usr/lib/python3/dist-packages/nvidia_runtime/start.py": 20_000,
        "/venv/bin/nvidia-ctk": 10_000,
    }

    rows = cold.rows({cold.AUTO: files, cold.CDI: {"/usr/lib/libm.so.6": 500_000}}, form())

    assert [(row.name, row.figure) for row in rows] == [
        (cold.AUTO, 6.07),
        (f"of these, {cold.INTERPRETER}", 5.0),
        (f"of these, {cold.LIBRARIES}", 1.0),
        (f"of these, {cold.MODULES}", 0.04),
        (f"of these, {cold.OURS}", 0.03),
        (cold.CDI, 0.5),
    ]
