# SPDX-License-Identifier: Apache-2.0
"""Configuration files from the wild, each a folder in golden/; golden/README.md says what lies there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from cli import ctk

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("*/why.txt"))


def texts(folder: Path, root: Path) -> dict[str, bytes]:
    """Return the files below a folder; the name of an empty folder ends in a slash."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            contents[name] = path.read_bytes().replace(b"{{root}}", bytes(root))
        elif not any(path.iterdir()):
            contents[f"{name}/"] = b""
    return contents


def lay_out(case: Path, root: Path) -> None:
    root.mkdir()
    for name, text in texts(case / "before", root).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)


def call(verb: str, case: Path, root: Path, *more: str) -> ctk.Ended:
    words = shlex.split((case / "argv").read_text().replace("{{root}}", str(root)))
    flags = [word for word in words if verb == "configure" or not is_for_configure(word)]
    state = str(root.parent / "state")
    got = ctk.run("runtime", verb, *flags, *more, STATE_DIRECTORY=state)
    assert got.code == 0, got.err
    return got


def is_for_configure(word: str) -> bool:
    return word.partition("=")[0] in (
        "--set-as-default",
        "--cdi.enabled",
        "--nvidia-runtime-path",
    ) or (word.startswith("--runtime-path"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, tmp_path: Path) -> None:
    """Configured twice, and undone twice."""
    root = tmp_path / "root"
    lay_out(case, root)
    before = texts(root, root)

    got = call("configure", case, root)
    assert texts(root, root) == texts(case / "after", root)
    # Whether the runtime is installed is this machine's business.
    lines = [line for line in got.err.splitlines() if "is not on this machine" not in line]
    warnings = [line for line in lines if line.startswith("warning: ")]
    expected = case / "warnings.txt"
    text = expected.read_text().replace("{{root}}", str(root)) if expected.exists() else ""
    assert warnings == text.splitlines()

    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert "nothing to change" in call("configure", case, root).err
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps

    call("unconfigure", case, root)
    assert texts(root, root) == before
    call("unconfigure", case, root)
    assert texts(root, root) == before


def test_every_case_is_complete() -> None:
    folders = sorted(path for path in GOLDEN.iterdir() if path.is_dir())

    assert folders == CASES
    assert len(CASES) >= 12
    for case in CASES:
        assert (case / "argv").exists(), case
        assert texts(case / "after", case), case
        assert len((case / "why.txt").read_text().splitlines()) == 1, case
