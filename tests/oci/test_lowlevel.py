# SPDX-License-Identifier: Apache-2.0
"""The low-level runtime: where it is, and that it is not ourselves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lowlevel

LAUNCHER = Path(__file__).parents[2] / "packaging/bin/nvidia-container-runtime"
TREE = str(LAUNCHER.parents[2])


def program(path: Path, text: str = "", mode: int = 0o755) -> Path:
    """Write an executable, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def find(*candidates: str, path: str = "") -> str:
    return lowlevel.find(list(candidates), path, str(LAUNCHER))


@pytest.fixture
def no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing that this machine has be found."""
    monkeypatch.setattr(lowlevel, "DEFAULT_PATH", ())


def test_first_folder_of_path_goes_first(tmp_path: Path) -> None:
    first, second = program(tmp_path / "a/runc"), program(tmp_path / "b/runc")

    assert find("runc", path=f"{first.parent}:{second.parent}") == str(first)
    assert find("runc", path=f"{second.parent}:{first.parent}") == str(second)


@pytest.mark.usefixtures("no_defaults")
def test_first_candidate_goes_first(tmp_path: Path) -> None:
    runc, crun = program(tmp_path / "runc"), program(tmp_path / "crun")

    assert find("crun", "runc", path=str(tmp_path)) == str(crun)
    assert find("kata", "", "runc", path=str(tmp_path)) == str(runc)


@pytest.mark.parametrize("path", ["", ":", "relative:./relative:."])
def test_default_folders_follow_path(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative entries do not count: the working directory is the bundle."""
    monkeypatch.setattr(lowlevel, "DEFAULT_PATH", (str(tmp_path),))
    file = program(tmp_path / "runc")
    (tmp_path / "bundle" / "relative").mkdir(parents=True)
    program(tmp_path / "bundle" / "relative" / "runc")
    program(tmp_path / "bundle" / "runc")
    monkeypatch.chdir(tmp_path / "bundle")

    assert find("runc", path=path) == str(file)


def test_candidate_with_a_slash_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = program(tmp_path / "my runc")
    monkeypatch.chdir(tmp_path)

    assert find(str(file)) == str(file)
    assert find("./my runc") == "./my runc"


@pytest.mark.usefixtures("no_defaults")
@pytest.mark.parametrize(
    ("candidates", "says"),
    [
        ([], "no low-level runtime found among []"),
        (["runc", "crun"], "no low-level runtime found among 'runc', 'crun'"),
        (["/absent/runc"], "no low-level runtime found among '/absent/runc'"),
        (["r*c", "\0"], "no low-level runtime found among 'r*c', '\\x00'"),
    ],
)
def test_none(candidates: list[str], says: str, tmp_path: Path) -> None:
    program(tmp_path / "runc", mode=0o644)
    (tmp_path / "crun").mkdir()

    with pytest.raises(NvidiaRuntimeError) as error:
        find(*candidates, path=str(tmp_path))

    assert str(error.value) == says
    assert error.value.exit_code == 127
    assert error.value.hint == (
        "install runc or crun, or name it in nvidia-container-runtime.runtimes of config.toml"
    )


def link(path: Path) -> Path:
    path.symlink_to(LAUNCHER)
    return path


def copy(path: Path) -> Path:
    return program(path, LAUNCHER.read_text())


def older_copy(path: Path) -> Path:
    return program(path, "#!/bin/sh\n# of another version\nnvcr_config=/etc\n")


@pytest.mark.usefixtures("no_defaults")
@pytest.mark.parametrize("make", [link, copy, older_copy])
def test_ourselves_are_skipped(make: object, tmp_path: Path) -> None:
    assert callable(make)
    ours = make(tmp_path / "runc")
    crun = program(tmp_path / "crun", "#!/bin/sh\n")

    assert find("runc", "crun", path=str(tmp_path)) == str(crun)
    with pytest.raises(NvidiaRuntimeError) as error:
        find("runc", path=str(tmp_path))

    assert str(error.value) == (
        "no low-level runtime found among 'runc'; "
        f"skipped because it is this program itself: {ours}"
    )


def test_binary_that_has_our_mark_is_no_launcher(tmp_path: Path) -> None:
    file = program(tmp_path / "runc", "\x7fELF nvcr_")

    assert find("runc", path=str(tmp_path)) == str(file)


def test_script_that_names_a_file_like_our_variables_is_no_launcher(tmp_path: Path) -> None:
    file = program(tmp_path / "runc", '#!/bin/sh\nexec /tmp/nvcr_1/runc "$@"\n')

    assert find("runc", path=str(tmp_path)) == str(file)


def become(runtime: Path, ignored: str = "", **environment: str) -> str:
    """Become a runtime in a process of its own; return what that printed."""
    code = f"import sys; sys.path.insert(0, {TREE!r}); from nvidia_runtime.oci import lowlevel\n"
    code += f"lowlevel.become({str(runtime)!r}, sys.argv[1:], {ignored!r})"
    words = [sys.executable, "-ISc", code, "--root", "a b", "state", "\udcff"]
    run = subprocess.run(words, check=True, capture_output=True, env=environment)
    return run.stdout.decode(errors="surrogateescape")


def test_words_arrive_and_the_first_is_the_runtimes_path(tmp_path: Path) -> None:
    runtime = program(tmp_path / "runc", '#!/bin/sh\nprintf \'%s|\' "$0" "$@"')

    assert become(runtime) == f"{runtime}|--root|a b|state|\udcff|"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LC_ALL": ""},
        {"LC_CTYPE": "C"},
        {"LC_CTYPE": "POSIX", "A": "1"},
        {"LANG": "C"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C.UTF-8", "LC_CTYPE": "C"},
    ],
)
def test_environment_arrives(environment: dict[str, str]) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from nvidia_runtime.oci import lowlevel\n"
    code += "lowlevel.become('/usr/bin/env', [], '')"
    words = [sys.executable, "-ISc", code, TREE]

    run = subprocess.run(words, check=True, capture_output=True, env=environment)

    variables = dict(line.split("=", 1) for line in run.stdout.decode().splitlines())
    assert variables == environment


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [("", []), ("pipe", ["PIPE"]), ("xfsz", ["XFSZ"]), ("pipe xfsz", ["PIPE", "XFSZ"])],
)
def test_signals_that_the_caller_ignored_stay_ignored(
    ignored: str, expected: list[str], tmp_path: Path
) -> None:
    runtime = program(tmp_path / "runc", "#!/bin/sh\ngrep SigIgn /proc/self/status")

    mask = int(become(runtime, ignored, PATH="/usr/bin:/bin").split()[1], 16)

    bits = {"PIPE": mask & 1 << signal.SIGPIPE - 1, "XFSZ": mask & 1 << signal.SIGXFSZ - 1}
    assert [name for name, bit in bits.items() if bit] == expected


def test_runtime_that_cannot_be_executed(tmp_path: Path) -> None:
    runtime = program(tmp_path / "runc", "#!/absent/sh\n")

    with pytest.raises(subprocess.CalledProcessError) as error:
        become(runtime)

    assert error.value.stderr.decode().splitlines()[-1] == (
        f"nvidia_runtime.errors.NvidiaRuntimeError: {runtime}: "
        "cannot execute the low-level runtime: no such file or directory"
    )


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Return a folder with a program in it."""
    (tmp_path / "program").touch()
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "text").touch()
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/absolute/absent", "/absolute/absent"),
        ("program", "{}/program"),
        ("text", "/usr/bin/default"),
        ("folder", "/usr/bin/default"),
        ("absent", "/usr/bin/default"),
        ("", "/usr/bin/default"),
        ("./program", "/usr/bin/default"),
        ("a\0b", "/usr/bin/default"),
    ],
)
def test_executable(program: str, expected: str, bin_folder: Path) -> None:
    path = f"relative::{bin_folder}"

    assert lowlevel.executable(program, "default", path) == expected.format(bin_folder)


def test_executable_in_a_default_folder(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvidia_runtime.oci.lowlevel.DEFAULT_PATH", (str(bin_folder),))

    assert lowlevel.executable("program", "default", "") == f"{bin_folder}/program"
