# SPDX-License-Identifier: Apache-2.0
"""The linters, so that one command checks everything."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime import schemas
from nvidia_runtime.cli import ctk
from nvidia_runtime.cli.command import Group

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


def commands(app: Any, path: str = "nvidia-ctk") -> Iterator[tuple[str, Any]]:
    """Walk the commands of nvidia-ctk, each with its name in full."""
    yield path, app
    for name, below in vars(app).items():
        if name.startswith("_subcommand_"):
            yield from commands(below.get(), f"{path} {below.name}")


Flag = tuple[str, tuple[str, ...], bool]


def switches_of(app: Any) -> dict[frozenset[str], Flag]:
    """Return the flags of a command, by all names of each: the sentence of the help, the variables,
    and whether it has a value; without those that plumbum gives to each.
    """
    infos = [
        switch._switch_info
        for kind in app.mro()
        for switch in vars(kind).values()
        if hasattr(switch, "_switch_info")
    ]
    return {
        frozenset(info.names): (*said_of(info.help), info.argtype is not None)
        for info in reversed(infos)
        if info.group != "Meta-switches"
    }


def said_of(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a flag's help into the sentence and the variables, which stand in brackets."""
    match = re.fullmatch(r"(.*?)(?: \[\$([^\]]*)\])?(; the default is .*)?", text)
    assert match
    text, variables, default = match.groups(default="")
    sentence = f"{text[:1].lower()}{text[1:]}{default}.".replace("…", "...")
    return sentence, tuple(variables.split(", $")) if variables else ()


def entries(section: str) -> dict[frozenset[str], Flag]:
    """Return the flags that a section of the page describes, as `switches_of` does."""
    flags = {}
    for entry in re.findall(r"^\.It (Fl .*?)(?=^\.It |^\.El$)", section, re.MULTILINE | re.DOTALL):
        head, *lines = entry.splitlines()
        names = re.findall(r"Fl -?([\w.-]+)", head)
        variables = re.findall(r"^\.Ev (\S+)", entry, re.MULTILINE)
        sentence = " ".join(itertools.takewhile(lambda line: line != "Also as", lines))
        sentence = sentence[:1].lower() + sentence[1:]
        flags[frozenset(names)] = (sentence, tuple(variables), " Ar " in head)
    return flags


MAN_OF_CTK = (TREE / "packaging/man/nvidia-ctk.1").read_text()
COMMANDS = {name: app for name, app in commands(ctk.Ctk) if not issubclass(app, Group)}
OTHER_NAMES = {f"nvidia-ctk config {name}-default" for name in ("create", "generate")}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - OTHER_NAMES))
def test_man_page_of_nvidia_ctk_says_what_the_help_says(name: str) -> None:
    sections = re.split(r"^\.S[sh] ", MAN_OF_CTK, flags=re.MULTILINE)
    (section,) = [
        section
        for section in sections
        if re.match(rf"{re.escape(name)}( (Op|Ar|--) .*)?\n", section)
    ]
    flags = switches_of(COMMANDS[name])
    if name == "nvidia-ctk cdi refresh":  # the page refers to the other for the rest
        others = switches_of(COMMANDS["nvidia-ctk cdi generate"])
        flags = {names: flag for names, flag in flags.items() if others.get(names) != flag}

    assert entries(section) == flags


def described(table: Any, path: str = "") -> dict[str, str]:
    """Return what the schema says of each setting, by its name in full."""
    texts: dict[str, str] = {}
    for name, schema in table["properties"].items():
        below = "properties" in schema
        texts |= (
            described(schema, f"{path}{name}.")
            if below
            else {f"{path}{name}": schema["description"]}
        )
    return texts


def test_man_page_of_the_settings_says_what_the_schema_says() -> None:
    text = (TREE / "packaging/man/nvidia-container-runtime.toml.5").read_text()
    said: dict[str, str] = {}
    for part in text.partition("\n.Sh SETTINGS\n")[2].partition("\n.Sh ")[0].split("\n.Ss ")[1:]:
        heading, *entries = re.split(r"^\.It Va ", part, flags=re.MULTILINE)
        table = re.findall(r"^The table (\S+)$", heading, re.MULTILINE)
        for entry in entries:
            name = ".".join([*table, entry.partition(" = ")[0]])
            said[name] = " ".join(entry.removesuffix(".El").splitlines()[1:]).removesuffix(" .El")

    assert said == described(schemas.schema("config"))


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
    assert len(launcher.read_text().splitlines()) <= 92
    assert launcher.stat().st_mode & 0o777 == 0o755
