# SPDX-License-Identifier: Apache-2.0
"""A bundle that is moved: first lines of programs, and the loader of a real executable."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from nvidia_runtime.installer import relocation

LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
ROOM = "/" * 200
SECOND = 10**9


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a small bundle that is at home in /nowhere, whose interpreter is any executable."""
    loader = next((path for path in LOADERS if Path(path).exists()), "")
    if not loader or not shutil.which("cc"):
        pytest.skip("needs a C compiler and glibc's loader")
    folder = tmp_path / "bundle"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    shutil.copy(os.path.realpath(loader), folder / "lib" / os.path.basename(loader))
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return 42; }\n")
    path = f"{ROOM}/nowhere/lib/{os.path.basename(loader)}"
    words: list[str | Path] = [
        "cc",
        "-o",
        folder / "bin/python3",
        f"-Wl,--dynamic-linker={path}",
        source,
    ]
    subprocess.run(words, check=True)
    programs = {
        "nvidia-container-runtime": "#!/bin/sh\necho launcher\n",
        "nvidia-ctk": "#!/usr/bin/env python3\nprint()\n",
        "other": "#!/bin/bash\n",
        "busybox": "\x7fELF",
    }
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
        os.utime(folder / "bin" / name, ns=(SECOND, SECOND))
    (folder / "bin/grep").symlink_to("busybox")
    return folder


def test_interpreter_starts_by_the_loader_of_the_bundle(bundle: Path) -> None:
    with pytest.raises(FileNotFoundError):
        subprocess.run([bundle / "bin/python3"], check=False)

    relocation.relocate(bundle, str(bundle))

    assert subprocess.run([bundle / "bin/python3"], check=False).returncode == 42
    shutil.move(bundle / "lib", bundle / "other")
    with pytest.raises(FileNotFoundError):
        subprocess.run([bundle / "bin/python3"], check=False)


def test_first_lines(bundle: Path) -> None:
    changed = relocation.relocate(bundle, "/opt/x")

    assert changed == ["nvidia-container-runtime", "nvidia-ctk", "python3"]
    read = {path.name: path.read_text() for path in (bundle / "bin").glob("n*")}
    assert read == {
        "nvidia-container-runtime": "#!/opt/x/bin/busybox sh\necho launcher\n",
        "nvidia-ctk": "#!/opt/x/bin/python3 -IS\nprint()\n",
    }


def test_it_can_be_moved_again_and_again(bundle: Path) -> None:
    for prefix in ("/a", "/a/much/longer/place-than.before_", "/b"):
        relocation.relocate(bundle, prefix)
    size = (bundle / "bin/python3").stat().st_size

    relocation.relocate(bundle, str(bundle))

    assert subprocess.run([bundle / "bin/python3"], check=False).returncode == 42
    assert (bundle / "bin/python3").stat().st_size == size
    assert relocation.relocate(bundle, str(bundle)) == []


def test_times_and_modes_stay(bundle: Path) -> None:
    relocation.relocate(bundle, "/opt/x")

    status = (bundle / "bin/nvidia-ctk").stat()
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (SECOND, 0o755)
    assert (bundle / "bin/grep").is_symlink()


def test_running_interpreter_is_replaced(bundle: Path) -> None:
    source = bundle.parent / "sleep.c"
    source.write_text("#include <unistd.h>\nint main(void) { pause(); }\n")
    path = f"-Wl,--dynamic-linker={ROOM}/{bundle}/lib/{next((bundle / 'lib').iterdir()).name}"
    subprocess.run(["cc", "-o", bundle / "bin/python3", path, source], check=True)
    with subprocess.Popen([bundle / "bin/python3"]) as process:
        relocation.relocate(bundle, "/opt/x")

        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("relative", "is not an absolute path"),
        ("/with blank", "is not an absolute path"),
        ("/new\nline", "is not an absolute path"),
        ("/" + "x" * 110, "is too long for the first line of a program"),
        ("/" + "x" * 300, "is too long for"),
    ],
)
def test_place_that_cannot_be(prefix: str, said: str, bundle: Path) -> None:
    before = {path: path.read_bytes() for path in (bundle / "bin").iterdir()}

    with pytest.raises(ValueError, match=said):
        relocation.relocate(bundle, prefix)

    assert {path: path.read_bytes() for path in (bundle / "bin").iterdir()} == before


def test_what_is_no_bundle(bundle: Path) -> None:
    shutil.copy("/bin/true", bundle / "bin/python3")

    with pytest.raises(ValueError, match="has no room for the path of its loader"):
        relocation.relocate(bundle, "/opt/x")
