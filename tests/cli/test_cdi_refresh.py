# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi refresh, on machines that change between two calls."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated

from cli import ctk
from nvidia_runtime.cli import environment_file

SPEC = "/var/run/cdi/nvidia.yaml"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
REFRESH = "refresh"


def on(name: str, *steps: str, **options: Any) -> list[str]:
    """Run the steps on one machine; return the lines of stdout, with `= CODE` after each refresh."""
    program = f"{sys.executable} -c {shlex.quote(ctk.PROGRAM)} cdi refresh"
    script = [f'refresh() {{ {program} "$@"; echo "= $?"; }}', *steps]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(simulated.TREE), **ctk.HOOK}
    env["NVIDIA_CTK_CDI_GENERATE_SPEC_VERSION"] = "content"  # whatever engines this machine has
    got = simulated.run(name, ["sh", "-c", "\n".join(script)], env=env, **options)
    assert "Traceback" not in got.stderr
    return [*got.stdout.splitlines(), *[f"! {line}" for line in got.stderr.splitlines()]]


def test_first_refresh_writes_and_the_second_does_not() -> None:
    lines = on("t4x1", REFRESH, f"stat -c '%y %i %a' {SPEC}", REFRESH, f"stat -c '%y %i %a' {SPEC}")

    assert lines[0] == f"{SPEC} written"
    assert lines[1].startswith("  3 devices: 0, GPU-")
    assert lines[2] == "= 0"
    assert lines[3].endswith(" 644")
    assert lines[4:] == [f"{SPEC} unchanged", "= 0", lines[3]]


def test_what_is_written_is_what_generate_prints() -> None:
    program = f"{sys.executable} -c {shlex.quote(ctk.PROGRAM)} cdi generate"

    lines = on("a100x8mig", REFRESH, f"{program} 2>/dev/null | cmp - {SPEC} && echo same")

    assert lines[-1] == "same"


def test_hot_plug() -> None:
    """A GPU that is removed from the machine, without a fault, is removed from the spec."""
    lines = on(
        "a100x8",
        "rm -r /proc/driver/nvidia/capabilities",  # without MIG, /proc is enough
        f"{REFRESH} >/dev/null",
        "rm -r /proc/driver/nvidia/gpus/$(ls /proc/driver/nvidia/gpus | tail -1)",
        REFRESH,
    )

    assert lines[0] == f"{SPEC} written"
    assert lines[1].startswith("  2 devices removed: 7, GPU-")
    assert lines[-1] == "= 0"


def test_mig_devices_that_are_destroyed() -> None:
    mig = "/proc/driver/nvidia/capabilities/gpu2/mig"  # of GPU 0
    lines = on(
        "a100x8mig",
        f"{REFRESH} >/dev/null",
        f"rm -r {mig}/gi*",
        "conf=$NVIDIA_SIMULATED_MACHINE/mock-nvml.conf",
        'awk \'/^\\[/ { kind = $0; gpus += kind == "[gpu]" } !(gpus == 1 && kind == "[mig]")\' '
        "$conf >/tmp/conf.$$ && cat /tmp/conf.$$ >$conf; rm /tmp/conf.$$",
        REFRESH,
    )

    assert lines[1].startswith("  14 devices removed: 0:0, 0:1, 0:2")
    assert lines[-1] == "= 0"


def test_number_that_has_changed() -> None:
    """The major number of nvidia-uvm differs after each load of its module."""
    lines = on(
        "t4x1",
        f"{REFRESH} >/dev/null",
        "rm /dev/nvidia-uvm && mknod -m 666 /dev/nvidia-uvm c 120 0",
        REFRESH,
    )

    assert lines[0] == f"{SPEC} written"
    assert lines[1].startswith("  /dev/nvidia-uvm is 120:0, was ")
    assert lines[2] == "= 0"


def test_driver_of_another_version() -> None:
    lines = on(
        "t4x1",
        f"{REFRESH} >/dev/null",
        "old=$(cat /sys/module/nvidia/version)",
        f"for file in {LIBRARIES}/*.so.$old; do mv $file ${{file%$old}}599.1; done; ldconfig",
        "echo 599.1 >/sys/module/nvidia/version",
        f"{REFRESH} | grep driver",
    )

    assert next(line for line in lines if line.startswith("  driver")).endswith(" -> 599.1")


@pytest.mark.parametrize(
    "change",
    ["rm /dev/nvidia2", "rm /dev/nvidia2; ln -s null /dev/nvidia2"],
    ids=["no node", "a link in place of a node"],
)
def test_partial_result_never_replaces_a_complete_one(change: str) -> None:
    lines = on(
        "a100x8",
        f"{REFRESH} >/dev/null",
        f"sha256sum {SPEC}",
        change,
        REFRESH,
        f"sha256sum {SPEC}",
        f"{REFRESH} --json",
    )

    assert lines[1] == f"{SPEC} kept"
    assert lines[2].startswith("  it has 0, GPU-")
    assert "/dev/nvidia2 is missing" in lines[2]
    assert lines[3] == "= 2"
    assert lines[4] == lines[0]
    assert json.loads(lines[5])["state"] == "kept"


def test_partial_result_is_better_than_none() -> None:
    lines = on("a100x8", "rm /dev/nvidia2", REFRESH, REFRESH)

    assert lines[0] == f"{SPEC} written"
    assert lines[2] == "= 0"
    assert lines[3:5] == [f"{SPEC} unchanged", "= 0"]
    assert lines[-1].startswith("! warning: left out: GPU 0: /dev/nvidia2 is missing")


def test_gpu_that_comes_back_completes_a_partial_result() -> None:
    lines = on(
        "a100x8",
        "mv /dev/nvidia2 /dev/kept",
        f"{REFRESH} >/dev/null 2>&1",
        "mv /dev/kept /dev/nvidia2",
        REFRESH,
    )

    assert lines[0] == f"{SPEC} written"
    assert lines[1].startswith("  2 devices added: 0, GPU-")


@pytest.mark.parametrize(
    "options",
    [{"fail": ["nvmlInit_v2:9"]}, {"crash": ["nvmlInit_v2"]}, {"mismatch": True}],
    ids=["NVML that does not start", "NVML that crashes", "a library of another version"],
)
def test_error_keeps_the_file(options: dict[str, Any]) -> None:
    """MIG needs NVML."""
    lines = on(
        "a100x8mig",
        "mkdir -p /var/run/cdi",
        f"echo 'complete: yes' >{SPEC}",
        REFRESH,
        f"cat {SPEC}",
        **options,
    )

    assert lines[0] == "= 1"
    assert lines[1] == "complete: yes"
    assert lines[2] == f"! {SPEC} is left as it was"
    assert lines[3].startswith("! nvidia-ctk: ")


@pytest.mark.parametrize(
    ("flags", "state", "remains"),
    [
        ("", "kept", "there"),
        ("--prune", "removed", "gone"),
        ("--prune --dry-run", "would be removed", "there"),
    ],
    ids=["by default", "to be removed", "only said"],
)
def test_no_driver(flags: str, state: str, remains: str) -> None:
    lines = on(
        "nogpu",
        "mkdir -p /var/run/cdi",
        f"echo old >{SPEC}",
        f"{REFRESH} {flags}",
        f"test -e {SPEC} && echo there || echo gone",
    )

    hint = "" if flags else "; --prune removes it"
    assert lines == [
        f"{SPEC} {state}",
        f"  no NVIDIA driver is loaded{hint}",
        "= 69",
        remains,
    ]


def test_no_driver_and_no_file() -> None:
    assert on("nogpu", REFRESH) == [f"{SPEC} absent", "  no NVIDIA driver is loaded", "= 69"]


@pytest.mark.parametrize("machine", ["orin", "wsl2"])
def test_machine_without_proc_driver_nvidia(machine: str) -> None:
    lines = on(machine, f"{REFRESH} --dry-run")

    assert lines[0] == f"{SPEC} would be written"
    assert "= 0" in lines


def test_dry_run_writes_nothing() -> None:
    lines = on(
        "t4x1",
        f"{REFRESH} --dry-run",
        "ls -A /var/run/cdi /run/nvidia-container-runtime",
    )

    assert lines[0] == f"{SPEC} would be written"
    assert [line for line in lines if "nvidia.yaml" in line] == lines[:1]
    assert not any("lock" in line for line in lines), lines


def test_broken_file_is_replaced() -> None:
    lines = on("t4x1", "mkdir -p /var/run/cdi", f"echo 'devices: [' >{SPEC}", REFRESH)

    assert lines[0] == f"{SPEC} written"
    assert lines[-1].startswith(f"! warning: {SPEC}")
    assert lines[-1].endswith("; it is replaced")


def test_file_that_another_program_wrote_with_the_same_content_stays() -> None:
    lines = on(
        "t4x1",
        f"{REFRESH} --output /tmp/nvcr-$$.json >/dev/null",
        f"mkdir -p /var/run/cdi; cp /tmp/nvcr-$$.json {SPEC}; rm /tmp/nvcr-$$.json",
        REFRESH,  # JSON is YAML
    )

    assert lines == [f"{SPEC} unchanged", "= 0"]


def test_settings_of_the_units(tmp_path: Path) -> None:
    """Without systemd, too; the environment and the flags take precedence."""
    settings = tmp_path / "refresh.env"
    settings.write_text(
        "# a comment\n"
        f"NVIDIA_CTK_CDI_OUTPUT_FILE_PATH='{tmp_path}/ours.json'\n"
        "NVIDIA_CTK_CDI_GENERATE_CLASS=accelerator\n"
        "NVIDIA_CTK_CDI_GENERATE_VENDOR=example.com\n"
        "PATH=/nowhere\n"
    )

    lines = on(
        "t4x1",
        "export NVIDIA_CTK_CDI_GENERATE_VENDOR=example.org",
        f"{REFRESH} --environment-file {settings} --no-all-device",
    )

    assert lines[0] == f"{tmp_path}/ours.json written"
    assert json.loads((tmp_path / "ours.json").read_text())["kind"] == "example.org/accelerator"


def test_settings_at_their_usual_place() -> None:
    lines = on(
        "t4x1",
        "mkdir -p /etc/nvidia-container-toolkit",
        f"echo NVIDIA_CTK_CDI_GENERATE_CLASS=other >{environment_file.PATH}",
        f"{REFRESH} >/dev/null",
        f"grep kind {SPEC}",
    )

    assert lines[-1] == "kind: nvidia.com/other"


def test_settings_that_are_missing(tmp_path: Path) -> None:
    got = ctk.run("cdi", "refresh", f"--environment-file={tmp_path}/none")

    assert got.code == 1
    assert got.err == f"nvidia-ctk: {tmp_path}/none: there is no such file of settings\n"


def test_result_as_json() -> None:
    lines = on("t4x1", f"{REFRESH} --json")

    document = json.loads(lines[0])
    assert document["path"] == SPEC
    assert document["state"] == "written"
    assert document["summary"].startswith(f"{SPEC} written: 3 devices: 0, GPU-")
    assert document["problems"] == {}
    assert f"{LIBRARIES}/libcuda.so.580.95.05" in document["watched"]
    assert "/run/nvidia-persistenced/socket" in document["watched"]


def test_two_at_once_do_not_meet() -> None:
    """The second waits for the first, and then has nothing to do."""
    lines = on(
        "a100x8mig",
        f"({REFRESH}; echo first) & sleep 0.4; ({REFRESH}; echo second); wait",
        init_us=1_500_000,
    )

    assert sorted(line for line in lines if line.startswith(SPEC)) == [
        f"{SPEC} unchanged",
        f"{SPEC} written",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--format=toml",), "unknown format 'toml'"),
        (("--patience=0",), "--patience must be from 0.01 to 86400 seconds"),
        (("--colour",), "unknown flag --colour"),
    ],
    ids=["format", "patience", "flag"],
)
def test_misuse(words: tuple[str, ...], says: str) -> None:
    got = ctk.run("cdi", "refresh", *words)

    assert got.code == 1
    assert got.err.splitlines()[0] == f"nvidia-ctk: {says}"


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    lines = on("t4x1", f"{REFRESH} --output {tmp_path}/file/nvidia.yaml")

    assert lines[0] == "= 1"
    assert lines[-1].endswith("not a directory")


def test_interrupted_refresh_leaves_the_old_file() -> None:
    """After SIGTERM during a refresh, the file is either old or new."""
    lines = on(
        "a100x8mig",
        "mkdir -p /var/run/cdi",
        f"echo old >{SPEC}",
        f"{REFRESH} >/dev/null & sleep 0.6; kill $(pgrep -P $!) 2>/dev/null; wait",
        f"cat {SPEC}",
        init_us=3_000_000,
    )

    assert "old" in lines


def test_it_is_ours_afterwards() -> None:
    """Then the runtime may replace it when it no longer matches the machine."""
    probe = (
        "import hashlib; from nvidia_runtime.compile import written; "
        f"data = open('{SPEC}', 'rb').read(); "
        f"print(written.recall('{SPEC}', hashlib.sha256(data).hexdigest()).mode)"
    )

    lines = on("t4x1", f"{REFRESH} >/dev/null", f"{sys.executable} -c {shlex.quote(probe)}")

    assert lines[-1] == "auto"


def test_help_names_the_exit_codes() -> None:
    text = subprocess.run(
        [sys.executable, "-c", ctk.PROGRAM, "cdi", "refresh", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(simulated.TREE), "COLUMNS": "100"},
    ).stdout

    assert "2, it was kept because a GPU fails or the driver is being updated; 69," in " ".join(
        text.split()
    )
