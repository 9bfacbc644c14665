# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the launcher, each a folder in golden/: golden/README.md says what lies there."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shim
from shim import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("*/why.txt"))
# Those of an installation have its packages beside them, which YAML needs.
INSTALLED = Path(sys.executable).parent
USE_INSTALLED = "NVCR_BIN" not in os.environ and (INSTALLED / shim.NAME).exists()
BIN = INSTALLED if USE_INSTALLED else shim.BIN
KINDS = {"c": 0o020000, "b": 0o060000, "p": 0o010000}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        yield machine


def text_of(file: Path, site: Site) -> str:
    text = file.read_text().replace("{{root}}", str(site.folder))
    return text.replace("{{bin}}", str(BIN))


def lay_out(case: Path, site: Site) -> None:
    """Copy a case onto the machine, its spec.json as config.json."""
    for source in sorted(case.rglob("*")):
        target = site.folder / source.relative_to(case)
        if source.suffix == ".symlink":  # a link out of the tree could not be shipped
            target.with_suffix("").symlink_to(source.read_text().strip())
        elif source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_text(text_of(source, site))
    (site.folder / "spec.json").rename(site.bundle / "config.json")
    make_nodes(site.folder / "nodes", site)


def make_nodes(file: Path, site: Site) -> None:
    """Make device nodes: each line is TYPE MAJOR MINOR MODE PATH."""
    for line in file.read_text().splitlines() if file.exists() else ():
        kind, major, minor, mode, path = line.split()
        node = site.folder / path
        node.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.mknod(node, KINDS[kind], os.makedev(int(major), int(minor)))
        except PermissionError:
            pytest.skip("needs root and CAP_MKNOD to make device nodes")
        node.chmod(int(mode, 8))


def logged(site: Site) -> str:
    """Return what was logged, without the times."""
    return re.sub(r'^time="[^"]*" ', "", (site.folder / "log").read_text(), flags=re.MULTILINE)


def check(case: Path, site: Site, before: bytes) -> None:
    """Call the launcher, and compare what comes out with what the case says."""
    words = shlex.split(text_of(case / "argv", site))
    name = words.pop(0) if words[0].startswith(shim.NAME) else shim.NAME

    got = site.run(*words, launcher=BIN / name, cwd=site.bundle)

    after = (site.bundle / "config.json").read_bytes()
    refused = (case / "expected.error").exists()
    assert got.err == (text_of(case / "expected.error", site) if refused else "")
    assert (got.code, got.runtime) == ((1, "") if refused else (0, "runc"))
    if (case / "expected.json").exists():
        assert json.loads(after) == json.loads(text_of(case / "expected.json", site))
    else:
        assert after == before
    if (case / "expected.log").exists():
        assert logged(site) == text_of(case / "expected.log", site)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, site: Site) -> None:
    """Twice: compiled from the files, and from the snapshot that the first call leaves."""
    lay_out(case, site)
    site.settle()
    before = (site.bundle / "config.json").read_bytes()
    for _ in ("compiled", "from the snapshot"):
        (site.bundle / "config.json").write_bytes(before)
        shim.unlink(site.folder / "log")

        check(case, site, before)


def test_every_case_is_complete() -> None:
    folders = sorted(path for path in GOLDEN.iterdir() if path.is_dir())

    assert folders == CASES
    for case in CASES:
        assert (case / "argv").exists(), case
        assert (case / "spec.json").exists(), case
        assert not ((case / "expected.json").exists() and (case / "expected.error").exists()), case
        assert len((case / "why.txt").read_text().splitlines()) == 1, case
