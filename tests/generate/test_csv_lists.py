# SPDX-License-Identifier: Apache-2.0
"""Rows of CSV lists, as JetPack and users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.generate import csv_lists


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("dev, /dev/nvmap\n", [("dev", "/dev/nvmap")]),
        ("  lib ,\t/lib/a.so  \r\n", [("lib", "/lib/a.so")]),
        ("sym,/a\ndir,/b", [("sym", "/a"), ("dir", "/b")]),
        ("dev, /dev/a, b\n", [("dev", "/dev/a, b")]),
        ("dev, /dev/a\x0bb\n", [("dev", "/dev/a\x0bb")]),
        ("lib, libfoo.so\n", [("lib", "libfoo.so")]),
        ("DEV, /dev/nvmap\n", []),
        ("bogus, /dev/nvmap\n", []),
        ("# comment\n\ndev\ndev,\n, /x\nnope\n", []),
        ("", []),
    ],
    ids=[
        "usual",
        "blanks",
        "no blanks, no end of line",
        "a comma is part of the path",
        "odd white space is part of the path",
        "a name",
        "types are lower case",
        "unknown type",
        "neither type nor path",
        "empty",
    ],
)
def test_parse(text: str, rows: list[tuple[str, str]]) -> None:
    assert csv_lists.parse(text) == rows


def test_read_keeps_the_order_of_files_and_says_what_is_wrong_with_others(tmp_path: Path) -> None:
    texts = {
        "a.csv": "dev, /dev/b\nlib, /x\ndev, /dev/a\n",
        "b.csv": "dev, /dev/b\n",
        "none.csv": "# nothing\n",
        "binary.csv": "dev, /dev/\0\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.csv").mkdir()
    names = ("a.csv", "missing.csv", "b.csv", "none.csv", "binary.csv", "folder.csv")
    rows, warnings = csv_lists.read(tuple(f"{tmp_path}/{name}" for name in names))

    assert rows == {"dev": ["/dev/b", "/dev/a"], "lib": ["/x"], "dir": [], "sym": []}
    assert warnings == [
        f"skipped {tmp_path}/missing.csv: no such file or directory",
        f"skipped {tmp_path}/none.csv: there is no row 'dev|lib|dir|sym, PATH' in it",
        f"skipped {tmp_path}/binary.csv: it is not a list of files",
        f"skipped {tmp_path}/folder.csv: is a directory",
    ]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("/usr/lib/libcuda.so", "**/libcuda.so", True),
        ("/usr/lib/libcuda.so.1", "**/libcuda.so", False),
        ("/usr/lib/libcuda.so.1", "**/libcuda.*", True),
        ("/usr/lib/libcuda.so", "/usr/lib/libcuda.so", True),
        ("/usr/lib/libcuda.so", "/usr/lib/*", True),
        ("/usr/lib/nvidia/libcuda.so", "/usr/lib/*", False),
        ("/usr/lib/nvidia/libcuda.so", "/usr/*/nvidia/lib[c]uda.so", True),
        ("/usr/lib/libcuda.so", "libcuda.so", False),
        ("/usr/lib/libcuda.so", "**/lib/libcuda.so", False),
    ],
)
def test_is_ignored(path: str, pattern: str, expected: bool) -> None:
    assert csv_lists.is_ignored(path, pattern) is expected


def test_usual_lists_that_are_not_there_are_named() -> None:
    """This system is not a Tegra."""
    if Path(csv_lists.FOLDER).exists():
        pytest.skip(f"{csv_lists.FOLDER} is there")

    assert csv_lists.present() == csv_lists.DEFAULT
