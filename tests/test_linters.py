# SPDX-License-Identifier: Apache-2.0
"""The linters, so that one command checks everything."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nvidia_runtime.cli.manual import __main__ as manual
from nvidia_runtime.prepare import verbs

TREE = Path(__file__).resolve().parents[1]
LONGEST_README = 130
DOCUMENTS = [
    *[TREE / f"{name}.md" for name in ("BENCHMARKS", "DIFFERENCES", "README", "SECURITY")],
    *sorted((TREE / "packaging").rglob("*.md")),
]
MAN_PAGES = sorted((TREE / "packaging/man").iterdir())
LAUNCHERS = sorted((TREE / "packaging" / "bin").iterdir())
SPDX = "# SPDX-License-Identifier: Apache-2.0"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def files() -> list[Path]:
    """List the files of the tree, those that git does not know yet too."""
    if not (TREE / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout: which files are ours?")
    words = ["git", "-C", str(TREE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [TREE / name for name in sorted(set(listing.split("\0"))) if (TREE / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in files() if path.suffix in (".py", ".pyi")]


def shell_scripts() -> list[Path]:
    """List what a shell would run, by the first line."""
    return [path for path in files() if re.match(rb"#!.*\b(ba|da)?sh\b", path.read_bytes()[:40])]


def says(*words: str) -> str:
    """Run a linter of this environment in the tree; return what it says, "" if all is well."""
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
    scripts = shell_scripts()

    assert {TREE / ".ci/run", TREE / "tests/setup.sh", *LAUNCHERS} <= set(scripts)
    assert Path(__file__) not in scripts


def test_every_python_file_has_its_licence() -> None:
    lines = {path: path.read_text().split("\n", 1)[0] for path in python_files()}

    assert [path for path, line in lines.items() if line != SPDX] == []


def test_every_script_has_its_licence() -> None:
    heads = {path: path.read_text().splitlines()[:2] for path in shell_scripts()}

    assert [path for path, head in heads.items() if SPDX not in head] == []


# Words that say how a value was come by, not what it is.
NO_NOUNS = {"found", "each", "known", "made"}


def test_variables_are_nouns() -> None:
    paths = python_files()
    names = [
        (str(path.relative_to(TREE)), node.lineno, name)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.arg, ast.Name))
        for name in [node.arg if isinstance(node, ast.arg) else node.id]
        if name in NO_NOUNS
    ]

    assert {path.relative_to(TREE).parts[0] for path in paths} >= {"nvidia_runtime", "tests"}
    assert names == []


def test_docstrings_return_what_they_give() -> None:
    """As the specifications have it: "Return the …"."""
    docstrings = [
        f"{path.name}: {text}"
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module))
        for text in [ast.get_docstring(node) or ""]
        if text.startswith("Give ") and not text.startswith("Give back ")
    ]

    assert docstrings == []


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


def test_readme_is_for_newcomers() -> None:
    """What is longer has a page of its own: DIFFERENCES, BENCHMARKS, packaging/man."""
    assert len((TREE / "README.md").read_text().splitlines()) <= LONGEST_README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TREE)))
def test_one_sentence_a_line(document: Path) -> None:
    """A change of one sentence is then a change of one line; tables and blocks have their own."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith("|")]

    assert [line for line in lines if re.search(r"[a-z0-9)`\"]\. [A-Z]", line)] == []


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda path: path.name)
def test_man_page(page: Path) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("needs mandoc")
    run = subprocess.run(
        ["mandoc", "-T", "lint", str(page)], check=False, capture_output=True, text=True
    )
    lines = (run.stdout + run.stderr).splitlines()

    # Which pages are installed is the machine's matter.
    assert [line for line in lines if "manual not found" not in line and ".db" not in line] == []


def test_man_pages_refer_to_pages() -> None:
    names = [path.name.rpartition(".") for path in MAN_PAGES]
    ours = {f"{name} {section}" for name, _, section in names}
    foreign = {"crun 1", "nvidia-container-cli 1", "nvidia-smi 1", "runc 8"}
    named = {
        f"{name} {section}"
        for path in MAN_PAGES
        for name, section in re.findall(r"^\.Xr (\S+) (\d)", path.read_text(), re.MULTILINE)
    }

    assert named - foreign - ours == set()


@pytest.mark.parametrize("name", manual.PAGES)
def test_man_page_is_made_from_tables_and_schemas(name: str) -> None:
    """`make man` writes it."""
    assert (TREE / "packaging/man" / name).read_text() == manual.PAGES[name]()


def test_man_page_of_the_hook_has_all_verbs() -> None:
    text = (TREE / "packaging/man/nvidia-cdi-hook.8").read_text()
    flags = {flag for flags in verbs.VERBS.values() for flag in flags}

    assert [verb for verb in verbs.VERBS if not re.search(rf"\.(It )?Cm {verb}\b", text)] == []
    assert [flag for flag in (*flags, *verbs.SWITCHES) if f"Fl -{flag}" not in text] == []


def test_launchers_are_the_same_file() -> None:
    texts = [path.read_bytes() for path in LAUNCHERS]

    assert [path.name for path in LAUNCHERS] == [
        "nvidia-cdi-hook",
        "nvidia-container-cli",
        "nvidia-container-runtime",
        "nvidia-container-runtime-hook",
        "nvidia-container-runtime.cdi",
        "nvidia-container-runtime.legacy",
        "nvidia-container-toolkit",
    ]
    assert texts == [texts[0]] * 7


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_launcher_is_short_and_executable(launcher: Path) -> None:
    assert len(launcher.read_text().splitlines()) <= 92
    assert launcher.stat().st_mode & 0o777 == 0o755
