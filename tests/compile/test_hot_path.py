# SPDX-License-Identifier: Apache-2.0
"""The one file with the code of the hot path: what is in it, and every doubt about it."""

from __future__ import annotations

import _json
import ast
import marshal
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime import start
from nvidia_runtime.compile import hot_path

BIND, REMOUNT, READ_ONLY = 4096, 32, 1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
PACKAGE = shim.TREE / "nvidia_runtime"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a site with a package of its own, of which the file is made."""
    with Site() as machine:
        machine.launcher = shim.copy_tree(machine.folder / "tree")
        machine.write_specs(nvidia=builders.cdi_spec())
        machine.settle()  # so that the first create keeps a snapshot
        create(machine)
        yield machine


def create(site: Site) -> None:
    """Let a container have its GPU."""
    site.write_bundle(builders.asking())
    got = site.create()
    assert (got.err, got.code, got.runtime) == ("", 0, "runc")
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


def file_of(site: Site) -> Path:
    folder = site.launcher.parents[2] / "nvidia_runtime/__pycache__"
    return folder / Path(start.HOT.path).name


def codes(code: CodeType) -> list[CodeType]:
    """List the code of a module, and of all that is in it."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [code, *[one for part in inner for one in codes(part)]]


def docstrings(file: Path) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    parts = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, kinds)]
    return [text for part in parts if (text := ast.get_docstring(part, clean=False))]


def test_all_that_is_loaded_ahead_is_in_it() -> None:
    """Whatever a call of `preload` names, together; what it does not name by words is above it."""
    named = {
        tuple(ast.literal_eval(word) for word in call.args)
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("preload", "start.preload")
        if all(isinstance(word, ast.Constant) for word in call.args)
    }

    assert len(named) >= 7
    assert named - set(hot_path.GROUPS) == set()


def test_code_is_that_of_the_sources() -> None:
    """Without docstrings and the places of instructions."""
    data = hot_path.make(PACKAGE)
    end = start_of_code(data)
    index = marshal.loads(data[20:end])
    library = getattr(_json, "__file__", None)  # some interpreters have it built in
    assert index.pop("_json", None) == ((sys.version, library) if library else None)

    assert [tuple(key.split()) for key in index] == [*hot_path.GROUPS]
    for key, (at, size, *stamps) in index.items():
        together = zip(key.split(), marshal.loads(data[at : at + size]), stamps, strict=True)
        for name, code, stamp in together:
            file = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
            assert stamp == (file.stat().st_mtime_ns, file.stat().st_size)
            every = codes(compile(file.read_bytes(), str(file), "exec"))
            whole = [code for code in every if code.co_name != "__annotate__"]  # since 3.14
            bare = codes(code)
            places = [(code.co_name, code.co_firstlineno, code.co_filename) for code in bare]
            assert {code.co_linetable for code in bare} == {b""}
            assert places == [(code.co_name, code.co_firstlineno, str(file)) for code in whole]
            assert [text for text in docstrings(file) if text.encode() in data] == []
    assert sum(size for _, size, *_ in index.values()) == len(data) - end


def test_library_that_is_built_in_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `import`, whatever has its name in the folders on ``sys.path``."""
    monkeypatch.setattr(sys, "builtin_module_names", (*sys.builtin_module_names, "_json"))

    data = hot_path.make(PACKAGE)

    assert "_json" not in marshal.loads(data[20 : start_of_code(data)])


def start_of_code(data: bytes) -> int:
    return 20 + int.from_bytes(data[16:20], "little")


def test_create_opens_one_file_of_ours(site: Site) -> None:
    """But for `start`, which comes before."""
    compiled = site.launcher.parents[2] / "nvidia_runtime"
    for file in compiled.rglob("*.pyc"):
        if file.name.split(".")[0] not in ("start", "hot_path"):
            file.unlink()
    before = {path: path.stat().st_ctime_ns for path in compiled.rglob("*.pyc")}

    create(site)

    assert {path: path.stat().st_ctime_ns for path in compiled.rglob("*.pyc")} == before


def instead(file: Path, make: Callable[[Path], None]) -> None:
    file.unlink()
    make(file)


DOUBTS: dict[str, Callable[[Path], object]] = {
    "there is none": Path.unlink,
    "it is empty": lambda file: file.write_bytes(b""),
    "it is cut in its first word": lambda file: os.truncate(file, 10),
    "it is cut in its index": lambda file: os.truncate(file, 300),
    "it is cut in the code": lambda file: os.truncate(file, start_of_code(file.read_bytes()) + 100),
    "it is another interpreter's": lambda file: file.write_bytes(b"1234" + file.read_bytes()[4:]),
    "it is an older version's": lambda file: file.write_bytes(
        file.read_bytes().replace(b"hot path v3", b"hot path v2", 1)
    ),
    "its index is no index": lambda file: file.write_bytes(
        file.read_bytes()[:16] + b"\1\0\0\0" + marshal.dumps(None) + file.read_bytes()[21:]
    ),
    "there is a folder": lambda file: instead(file, Path.mkdir),
    "there is a FIFO": lambda file: instead(file, os.mkfifo),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_doubt(doubt: str, site: Site) -> None:
    """The modules come from their own files then; it is made anew, where that can be done."""
    file = file_of(site)
    good = file.read_bytes()
    DOUBTS[doubt](file)

    for _ in range(2):
        create(site)

    assert file.is_dir() or file.read_bytes() == good


@pytest.mark.parametrize("module", ["__init__", "document", "oci/edit", "create"])
def test_edited_source_counts_at_once(module: str, site: Site) -> None:
    """And the file follows it."""
    source = site.launcher.parents[2] / "nvidia_runtime" / f"{module}.py"
    before = file_of(site).read_bytes()
    source.write_text(f"{source.read_text()}\n{module.rpartition('/')[2]}_edited = True\n")

    create(site)
    after = file_of(site).read_bytes()
    create(site)

    assert after != before
    assert f"{module.rpartition('/')[2]}_edited".encode() in after
    assert file_of(site).read_bytes() == after


def test_debugging_shows_lines(site: Site) -> None:
    """Which the file has not."""
    source = site.launcher.parents[2] / "nvidia_runtime/create.py"
    source.write_text(f"{source.read_text()}\n\ndef run(*_):\n    1 / 0\n")
    file_of(site).write_bytes(hot_path.make(source.parent))
    site.write_bundle(builders.asking())

    plain, debugging = site.create(), site.run("--debug", "create", "--bundle", site.bundle, "c1")

    line = source.read_text().count("\n")
    assert "ZeroDivisionError" in plain.err
    assert "create.py" not in plain.err
    assert f'create.py", line {line}, in run' in debugging.err


@pytest.mark.parametrize(
    ("program", "words", "env"),
    [
        ("nvidia-container-runtime-hook", ["-debug=true", "prestart"], {}),
        ("nvidia-container-runtime-hook", ["--debug", "prestart"], {}),
        ("nvidia-cdi-hook", ["-d", "noop"], {}),
        ("nvidia-cdi-hook", ["--debug=1", "noop"], {}),
        ("nvidia-cdi-hook", ["noop"], {"NVIDIA_CTK_DEBUG": "true"}),
        ("nvidia-cdi-hook", ["noop"], {"NVIDIA_CDI_DEBUG": "true"}),
    ],
)
def test_debugging_of_a_hook_shows_lines(
    program: str, words: list[str], env: dict[str, str], site: Site
) -> None:
    """However it is asked for."""
    package = site.launcher.parents[2] / "nvidia_runtime"
    for name in ("prestart", "cdi_hook"):
        source = package / f"hooks/{name}.py"
        function = "configure" if name == "prestart" else "_carry_out"
        source.write_text(f"{source.read_text()}\n\ndef {function}(*_, **__):\n    1 / 0\n")
    file_of(site).write_bytes(hot_path.make(package))
    launcher = site.launcher.with_name(program)

    plain, debugging = (
        site.run(words[-1], launcher=launcher),
        site.run(*words, launcher=launcher, env=env),
    )

    assert "ZeroDivisionError" in plain.err
    assert ".py" not in plain.err
    assert re.search(r'hooks/\w+\.py", line [1-9]\d*, in (configure|_carry_out)\n', debugging.err)


@needs_root
def test_read_only_package_is_left_alone(site: Site) -> None:
    """As on systems whose /usr cannot be written."""
    file = file_of(site)
    file.write_bytes(b"old")
    folder = str(file.parent)
    site.inside(lambda: shim.mount(folder, folder, BIND))
    site.inside(lambda: shim.mount(folder, folder, BIND | REMOUNT | READ_ONLY))

    create(site)

    assert file.read_bytes() == b"old"
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def test_full_disk_leaves_what_is_there(site: Site) -> None:
    """A create does not fail for it."""
    file = file_of(site)
    file.write_bytes(b"old")
    site.write_bundle(builders.asking())
    limit = file_limit(100_000)

    got = site.create(preexec_fn=limit)

    assert (got.err, got.code, got.runtime) == ("", 0, "runc")
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"
    assert file.read_bytes() == b"old"
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def file_limit(size: int) -> Callable[[], None]:
    """Return what lets no file of a process become larger."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
