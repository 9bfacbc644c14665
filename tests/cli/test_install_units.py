# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system install-units: what is written where, for which program, and taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shim

from . import ctk

WORDS = ("system", "install-units")
SERVICE = "systemd/system/nvidia-cdi-refresh.service"
FILES = [
    "systemd/system-preset/90-nvidia-cdi-refresh.preset",
    "systemd/system/nvidia-cdi-refresh.path",
    SERVICE,
    "systemd/system/nvidia-cdi-watch.service",
    "udev/rules.d/99-nvidia-cdi-refresh.rules",
]
SETTINGS = "nvidia-container-toolkit/nvidia-cdi-refresh.env"
SOURCE = shim.TREE / "packaging/systemd"


def install(folder: Path, *words: str, program: str = "/opt/nv/bin/nvidia-ctk") -> ctk.Ended:
    return ctk.run(*WORDS, f"--prefix={folder}", f"--nvidia-ctk-path={program}", *words)


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_files_name_the_program(tmp_path: Path) -> None:
    got = install(tmp_path / "usr")

    files = tree(tmp_path / "usr/lib")
    assert (got.code, got.out) == (0, "")
    assert sorted(files) == FILES
    assert got.err == "".join(
        f"wrote {tmp_path}/usr/lib/{name}\n" for name in sorted(FILES, key=os.path.basename)
    )
    assert b"\nExecStart=/opt/nv/bin/nvidia-ctk cdi refresh\n" in files[SERVICE]
    assert b"/usr/bin/nvidia-ctk" not in b"".join(files.values())
    assert {(tmp_path / "usr/lib" / name).stat().st_mode & 0o777 for name in FILES} == {0o644}


def test_a_package_s_program_changes_nothing_but_a_line(tmp_path: Path) -> None:
    install(tmp_path, program="/usr/bin/nvidia-ctk")

    for path in (tmp_path / "lib").rglob("*.*"):
        if path.is_file():
            lines = path.read_text().splitlines()
            assert lines[1].startswith("# Written by 'nvidia-ctk system install-units'")
            assert [lines[0], *lines[2:]] == (SOURCE / path.name).read_text().splitlines()


def test_settings_are_the_user_s(tmp_path: Path) -> None:
    """Below etc, and nowhere else: a package has that file by itself."""
    install(tmp_path / "etc")
    file = tmp_path / "etc" / SETTINGS
    assert sorted(tree(tmp_path / "etc")) == sorted([*FILES, SETTINGS])
    assert file.read_bytes() == (SOURCE / file.name).read_bytes()

    file.write_text("NVIDIA_CTK_DRIVER_ROOT=/x\n")
    again = install(tmp_path / "etc", program="/other/nvidia-ctk")
    assert file.read_text() == "NVIDIA_CTK_DRIVER_ROOT=/x\n"
    assert SETTINGS not in again.err
    assert "/other/nvidia-ctk" in (tmp_path / "etc" / SERVICE).read_text()

    removed = install(tmp_path / "etc", "--remove")
    assert (removed.code, list(tree(tmp_path / "etc"))) == (0, [SETTINGS])


def test_all_that_was_written_is_removed(tmp_path: Path) -> None:
    install(tmp_path / "etc")
    (tmp_path / "etc/systemd/system/mine.service").touch()

    dry = install(tmp_path / "etc", "--remove", "--dry-run")
    assert len(tree(tmp_path / "etc")) == len(FILES) + 2
    got = install(tmp_path / "etc", "--remove")
    assert dry.err.replace("would be removed: ", "removed ") == got.err
    assert list(tree(tmp_path / "etc")) == ["systemd/system/mine.service"]
    assert install(tmp_path / "etc", "--remove").err == f"nothing to remove below {tmp_path}/etc\n"


def test_dry_run(tmp_path: Path) -> None:
    got = install(tmp_path / "etc", "--dry-run")

    assert (got.code, list(tmp_path.iterdir())) == (0, [])
    install(tmp_path / "etc")
    paths = [line.removesuffix(":") for line in got.err.splitlines()]
    assert sorted(paths) == [f"{tmp_path}/etc/{name}" for name in sorted([*FILES, SETTINGS])]
    assert got.out == "".join(f"{Path(path).read_text()}\n" for path in paths)


@pytest.mark.parametrize("words", [[], ["--dry-run"]], ids=["to write", "to show"])
def test_program_that_systemd_could_not_name(words: list[str], tmp_path: Path) -> None:
    got = install(tmp_path, *words, program="/opt/with space/nvidia-ctk")

    assert (got.code, list(tmp_path.iterdir())) == (1, [])
    assert got.err == (
        "nvidia-ctk: systemd's units cannot name '/opt/with space/nvidia-ctk'\n"
        "hint: link to it, and name the link by --nvidia-ctk-path\n"
    )
    assert install(tmp_path, *words, program="/usr/local/bin/nvidia-ctk").code == 0


def test_file_of_somebody_else_stays(tmp_path: Path) -> None:
    """The toolkit's has the same name."""
    file = ctk.write(tmp_path / "etc" / SERVICE, "[Service]\n")

    got = install(tmp_path / "etc")

    assert (got.code, list(tree(tmp_path / "etc").values())) == (1, [b"[Service]\n"])
    assert got.err == (
        f"nvidia-ctk: {file}: not written by this command\n"
        "hint: move it away, or use another --prefix; nothing was changed\n"
    )
    assert install(tmp_path / "etc", "--remove").code == 0
    assert file.read_text() == "[Service]\n"
    file.rename(tmp_path / "away")
    assert install(tmp_path / "etc").code == 0


def test_unit_that_systemd_still_starts_stays(tmp_path: Path) -> None:
    install(tmp_path / "etc")
    unit = tmp_path / "etc" / SERVICE
    link = unit.parent / "multi-user.target.wants" / unit.name
    link.parent.mkdir()
    link.symlink_to(unit)

    refused = install(tmp_path / "etc", "--remove")
    kept = unit.exists()
    link.unlink()
    done = install(tmp_path / "etc", "--remove")

    assert (refused.code, kept) == (1, True)
    assert refused.err == (
        f"nvidia-ctk: {link.parent}: systemd still starts {unit.name}\n"
        f"hint: 'systemctl disable --now {unit.name}' first\n"
    )
    assert (done.code, unit.exists()) == (0, False)


def test_program_is_the_one_that_was_called(tmp_path: Path) -> None:
    """By its link, which an upgrade leaves where it is; else the one in PATH."""
    program = tmp_path / "venv/bin/nvidia-ctk"
    program.parent.mkdir(parents=True)
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r})\n{ctk.PROGRAM}\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    link = tmp_path / "bin/nvidia-ctk"
    link.parent.mkdir()
    link.symlink_to(program)
    words = [*WORDS, f"--prefix={tmp_path}", "--dry-run"]

    by_link = subprocess.run(
        [link, *words], check=True, capture_output=True, text=True, env={"PATH": "/nowhere"}
    ).stdout
    by_name = ctk.run(*words, PATH=f"{link.parent}:{os.environ['PATH']}")
    nowhere = ctk.run(*words, PATH="/nowhere")

    assert f"\nExecStart={link} cdi refresh\n" in by_link
    assert by_name.out == by_link
    assert nowhere.err == (
        "nvidia-ctk: it is not known where nvidia-ctk is\nhint: name it by --nvidia-ctk-path\n"
    )
    named = ctk.run(*words, f"--nvidia-ctk-path={link}", PATH="/nowhere")
    assert named.out == by_link


def install_here(site: shim.Site, program: str | Path) -> shim.Ended:
    """Install below /etc itself, which is an empty folder of the machine's."""
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
    words = [sys.executable, "-c", code, *WORDS, f"--nvidia-ctk-path={program}"]
    covered = ["sh", "-c", 'mount -t tmpfs none /etc && exec "$@"', "sh", *words]
    return shim.end(site.execute(covered))


@shim.needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "is_warned"),
    [(0o755, 0, False), (0o775, 0, True), (0o755, 1000, True)],
    ids=["root's", "a group's", "a user's"],
)
def test_program_that_a_user_could_exchange(mode: int, owner: int, is_warned: bool) -> None:
    with shim.Site() as site:
        program = site.folder / "p/nvidia-ctk"
        program.parent.mkdir(mode=0o755)
        program.touch()
        program.chmod(mode)
        os.chown(program, owner, 0)
        got = install_here(site, program)

    assert got.code == 0, got.err
    assert got.err.endswith(
        "systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service\n"
    )
    warning = f"others than root may write to {program}, and root's units start {program}"
    assert (warning in got.err) == is_warned


@shim.needs_root
def test_program_that_is_not_there() -> None:
    with shim.Site() as site:
        got = install_here(site, "/nowhere/nvidia-ctk")

    warning = "/nowhere/nvidia-ctk is not on this machine; until it is, the units do nothing"
    assert f"warning: {warning}\n" in got.err
