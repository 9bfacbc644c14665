# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk simulate: its help, its errors, and the command it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import simulated

import nvidia_runtime
from nvidia_runtime.simulate import catalogue

PROGRAM = "from nvidia_runtime.cli import main; main()"
PACKAGE = os.fspath(Path(nvidia_runtime.__file__).parents[1])
NOBODY = 65534


def ctk(*words: str, cwd: Path | str = "/tmp", **more: object) -> subprocess.CompletedProcess[str]:
    """Run nvidia-ctk simulate; there must be no traceback."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", PROGRAM, "simulate", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **more,  # type: ignore[call-overload]
    )
    assert "Traceback" not in done.stderr
    return done


def test_list_describes_each_machine() -> None:
    rows = ctk("--list").stdout.splitlines()

    assert [row.split()[0] for row in rows] == [machine.name for machine in catalogue.machines()]
    assert all(row.split(maxsplit=1)[1] for row in rows)


def test_help_says_what_stays_and_how_to_change_the_machine() -> None:
    text = " ".join(ctk("--help").stdout.split())

    for part in (
        "nvidia-ctk simulate [OPTIONS] MACHINE -- COMMAND...",
        "/tmp, /var/tmp, /home, /root",
        "/etc/cdi",
        "$NVIDIA_SIMULATED_MACHINE/mock-nvml.conf",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no machine is named"),
        (("t4x1",), "no command to run on the machine is given"),
        (("t4", "--", "true"), "there is no simulated machine 't4'"),
        (("t4x1", "--fail", "x", "--", "true"), "--fail takes FUNCTION:RESULT[@GPU]"),
        (("t4x1", "--lose", "1", "--", "true"), "--lose: there is no GPU 1"),
        (("t4x1", "--lose", "x", "--", "true"), "--lose must be a whole number, not 'x'\n"),
        (
            ("t4x1", "--fail", "nvmlFoo:1", "--", "true"),
            "the simulated NVML has no function 'nvmlF",
        ),
        (
            ("t4x1", "--hang", "nvmlInitt", "--", "true"),
            "the simulated NVML has no function 'nvmlI",
        ),
        (
            ("t4x1", "--crash", "nvmlX@0", "--", "true"),
            "the simulated NVML has no function 'nvmlX'",
        ),
        (("t4x1", "--init-us", "-1", "--", "true"), "--init-us must be from 0 to 10000000000, not"),
        (("t4x1", "--xid", "79", "--", "true"), "--xid takes XID@GPU, XID being one of 48, 62,"),
        (("t4x1", "--xid", "79@1", "--", "true"), "--xid: there is no GPU 1"),
        (("t4x1", "ls", "-l"), "unknown flag -l"),
    ],
)
def test_misuse_is_one_sentence_and_a_hint(words: tuple[str, ...], says: str) -> None:
    done = ctk(*words)

    assert done.returncode == 1
    assert done.stderr.startswith(f"nvidia-ctk: {says}")
    assert done.stdout == ""


def test_command_has_its_own_flags_and_exit_code(tmp_path: Path) -> None:
    simulated.need_root()
    script = 'echo "$1" >out; echo talk >&2; exit 5'

    done = ctk("--lose", "0", "t4x1", "--", "sh", "-c", script, "sh", "--lose", cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (5, "", "talk\n")
    assert (tmp_path / "out").read_text() == "--lose\n"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (("--lose", "0"), "lost = 1"),
        (("--xid", "48@0"), "recovery = reset"),
        (("--fail", "nvmlDeviceGetUUID:15@0"), "fail = nvmlDeviceGetUUID:15@0"),
        (("--hang", "nvmlInit"), "hang = nvmlInit"),
        (("--crash", "nvmlInit"), "crash = nvmlInit"),
        (("--mismatch",), "fail = nvmlInit:18"),
        (("--init-us", "1"), "init_us = 1"),
        (("--attach-us", "2"), "attach_us = 2"),
        (("--call-us", "3"), "call_us = 3"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_faults_are_in_the_settings_of_nvml(options: tuple[str, ...], settings: str) -> None:
    simulated.need_root()
    path = "/run/nvidia-simulated-machine/mock-nvml.conf"

    assert settings in ctk("t4x1", *options, "--", "cat", path).stdout.splitlines()


@pytest.mark.parametrize(
    ("option", "result"),
    [
        pytest.param("--without-symbol=nvmlDeviceGetUUID", "nvmlDeviceGetUUID", id="symbol"),
        pytest.param("--without-code", "nvmlDeviceGetUUID", id="code"),
    ],
)
def test_library_that_is_not_whole(option: str, result: str) -> None:
    simulated.need_root()
    load = "import ctypes; ctypes.CDLL('libnvidia-ml.so.1').nvmlDeviceGetUUID"

    done = ctk(
        "t4x1",
        option,
        "--",
        sys.executable,
        "-I",
        "-c",
        f"try: {load}\nexcept Exception as e: print(e)",
    )

    assert result in done.stdout


def test_machine_in_a_folder(tmp_path: Path) -> None:
    simulated.need_root()
    folder = tmp_path / "machine"

    done = ctk("t4x1", "--write", os.fspath(folder))

    assert (done.returncode, done.stderr) == (0, f"t4x1 is in {folder}\n")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("dev", "etc", "lib", "proc", "sys", "usr")
    ]
    again = ctk("t4x1", "--write", os.fspath(folder))
    assert again.returncode == 1
    assert again.stderr.startswith(f"nvidia-ctk: {folder}: is not empty\n")


def test_root_in_a_folder(tmp_path: Path) -> None:
    simulated.need_root()
    folder = os.fspath(tmp_path / "root")

    done = ctk(
        "t4x1", "--root-only", folder, "--", "ls", f"{folder}/dev", "/proc/driver/nvidia/gpus"
    )

    assert "nvidia0\n" in done.stdout
    assert "0000:00:1e.0\n" in done.stdout


def test_without_root_one_sentence_says_so(tmp_path: Path) -> None:
    other = NOBODY if os.geteuid() == 0 else None
    try:
        done = ctk("t4x1", "--without-code", "--", "true", user=other)
    except PermissionError:
        pytest.skip(f"another user cannot run {sys.executable}")
    if "ModuleNotFoundError" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user cannot read the package")

    assert done.returncode == 1
    assert done.stderr.startswith("nvidia-ctk: root is missing: the mounts and device nodes")


def test_command_that_is_not_there() -> None:
    simulated.need_root()
    done = ctk("t4x1", "--", "no-such-command")

    assert done.returncode == 127
    assert done.stderr == (
        "nvidia-ctk: there is no command 'no-such-command' on the simulated machine\n"
    )
