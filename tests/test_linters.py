# SPDX-License-Identifier: Apache-2.0
"""The linters, so that one command checks everything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
LAUNCHERS = sorted((TREE / "packaging" / "bin").iterdir())
SPDX = "# SPDX-License-Identifier: Apache-2.0"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def files() -> list[Path]:
    """List the files of the tree, those that git does not know yet too."""
    if not (TREE / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout: which files are ours?")
    words = ["git", "-C", str(TREE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [TREE / name for name in sorted(set(found.split("\0"))) if (TREE / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in files() if path.suffix in (".py", ".pyi")]


def shell_scripts() -> list[Path]:
    """List what a shell would run, by the first line."""
    return [path for path in files() if re.match(rb"#!.*\b(ba|da)?sh\b", path.read_bytes()[:40])]


def says(*words: str) -> str:
    """Run a linter of this environment in the tree; give what it says, "" if all is well."""
    run = subprocess.run(words, check=False, capture_output=True, text=True, cwd=TREE)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def test_ruff() -> None:
    assert says(sys.executable, "-m", "ruff", "check", "--no-cache", ".") == ""


def test_ruff_format() -> None:
    assert says(sys.executable, "-m", "ruff", "format", "--no-cache", "--diff", ".") == ""


def test_mypy() -> None:
    assert says(sys.executable, "-m", "mypy", "--no-error-summary") == ""


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shellcheck() -> None:
    assert says("shellcheck", *map(str, shell_scripts())) == ""


def test_shell_scripts_are_found() -> None:
    found = shell_scripts()

    assert {TREE / ".ci/run", TREE / "tests/setup.sh", *LAUNCHERS} <= set(found)
    assert Path(__file__) not in found


def test_every_python_file_has_its_licence() -> None:
    lines = {path: path.read_text().split("\n", 1)[0] for path in python_files()}

    assert [path for path, line in lines.items() if line != SPDX] == []


def test_every_script_has_its_licence() -> None:
    heads = {path: path.read_text().splitlines()[:2] for path in shell_scripts()}

    assert [path for path, head in heads.items() if SPDX not in head] == []


def test_no_tabs() -> None:
    ours = [*python_files(), *shell_scripts()]

    assert [path for path in ours if "\t" in path.read_text()] == []


def test_no_blanks_at_the_end_of_lines() -> None:
    ours = [*python_files(), *shell_scripts(), *[path for path in files() if path.suffix == ".md"]]

    assert [path for path in ours if re.search(r"[ \t]$", path.read_text(), re.MULTILINE)] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(TREE)}: {link}"
        for path in files()
        if path.suffix == ".md"
        for link, _ in LINK.findall(path.read_text())
        if "://" not in link
        and not link.startswith("mailto:")
        and not (path.parent / link).exists()
    ]

    assert broken == []


def test_launchers_are_the_same_file() -> None:
    texts = [path.read_bytes() for path in LAUNCHERS]

    assert [path.name for path in LAUNCHERS] == [
        "nvidia-cdi-hook",
        "nvidia-container-runtime",
        "nvidia-container-runtime-hook",
        "nvidia-container-runtime.cdi",
        "nvidia-container-runtime.legacy",
        "nvidia-container-toolkit",
    ]
    assert texts == [texts[0]] * 6


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_launcher_is_short_and_executable(launcher: Path) -> None:
    assert len(launcher.read_text().splitlines()) <= 60
    assert launcher.stat().st_mode & 0o777 == 0o755
