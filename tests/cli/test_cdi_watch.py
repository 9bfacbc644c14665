# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi watch: the service as systemd starts it, on machines that change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import simulated

from cli import ctk
from nvidia_runtime.cli.ourselves import PROGRAM

SPEC = "/var/run/cdi/nvidia.yaml"
UEVENT = simulated.TREE / "tests/watch/uevent.py"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(simulated.TREE), **ctk.HOOK}
ENVIRONMENT["NVIDIA_CTK_CDI_GENERATE_SPEC_VERSION"] = "content"  # whatever engines are here
WATCH = [sys.executable, "-c", PROGRAM, "cdi", "watch", "--settle=0.2"]
# Starts the service, runs each command when the output contains its text, and ends the service.
DRIVER = """
import os, subprocess, sys
command, *steps = eval(sys.stdin.read())
service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
for words, step in steps:
    for line in service.stderr:
        print(line, end="", flush=True)
        if words in line:
            break
    else:
        sys.exit(f"ended before it said {words!r}")
    print("do", step, flush=True)
    if step.startswith("kill"):
        service.send_signal(int(step.split()[1]))
    else:
        subprocess.run(step.replace("PID", str(service.pid)), shell=True, check=True)
print(service.communicate(timeout=20)[1], end="")
sys.exit(service.returncode)
"""
END = f"kill {int(signal.SIGTERM)}"
HANGUP = f"kill {int(signal.SIGHUP)}"


def on(
    name: str, *steps: tuple[str, str], words: tuple[str, ...] = (), interval: float = 0.1
) -> list[str]:
    """Run the service on a machine; a step is a text of the output and the command to run then."""
    got = simulated.run(
        name,
        ["timeout", "50", "unshare", "--net", sys.executable, "-c", DRIVER],
        env=ENVIRONMENT,
        input=repr(([*WATCH, f"--interval={interval}", *words], *steps)),
    )
    assert (got.returncode, got.stderr) == (0, ""), got.stdout
    return got.stdout.splitlines()


def test_first_spec_is_there_at_once() -> None:
    lines = on("t4x1", (f"{SPEC} written", f"test -s {SPEC} && kill PID"))

    assert lines[0].startswith(f"{SPEC} written: 3 devices: 0, GPU-")


def test_end_is_clean() -> None:
    lines = on("t4x1", ("written", END))

    assert lines[-1] == "SIGTERM: ending"


def test_mig_device_that_is_destroyed_sends_no_uevent_and_is_noticed() -> None:
    lines = on(
        "a100x8mig",
        ("written", "rm -r /proc/driver/nvidia/capabilities/gpu3/mig/gi1"),
        ("nvidia.yaml unchanged", END),  # NVML still has it here
    )

    assert any(line.endswith("gpu3/mig/gi1/ci0 disappeared") for line in lines)


def test_node_that_appears_is_in_the_spec() -> None:
    """The toolkit's spec lacks what nvidia-modprobe makes late until the next boot."""
    lines = on(
        "t4x1",
        ("written", "rm /dev/nvidia-modeset"),
        ("device node removed: /dev/nvidia-modeset", "mknod /dev/nvidia-modeset c 195 254"),
        ("device node added: /dev/nvidia-modeset", END),
    )

    assert "/dev/nvidia-modeset appeared" in lines


def test_driver_that_is_loaded_late_is_described_when_the_kernel_says_so() -> None:
    """The modules' folder is checked, too, but here only the uevent is fast enough."""
    event = "ACTION=add SUBSYSTEM=module DEVPATH=/module/nvidia"
    lines = on(
        "t4x1",
        ("written", f"rm {SPEC}; {sys.executable} {UEVENT} {event}"),
        ("uevent: add module nvidia", "true"),
        ("written: 3 devices", END),
        interval=600,
    )

    assert [line for line in lines if "uevent" in line and "do " not in line] == [
        "uevent: add module nvidia"
    ]


def test_hangup_refreshes_now() -> None:
    lines = on("t4x1", ("written", HANGUP), ("unchanged", END))

    assert "SIGHUP: refreshing now" in lines


def test_spec_waits_for_a_sick_gpu() -> None:
    lines = on(
        "a100x8",
        ("written", "rm /dev/nvidia2"),
        ("trying again in 5 s", "mknod -m 666 /dev/nvidia2 c 195 2"),
        ("nvidia.yaml unchanged", END),
    )

    assert any(re.match(rf"{SPEC} kept: it has 0, GPU-.* is missing", line) for line in lines)


def test_no_driver_waits_in_silence() -> None:
    lines = on("nogpu", ("no NVIDIA driver is loaded", END))

    assert lines[0] == f"{SPEC} absent: no NVIDIA driver is loaded"


def test_words_for_refresh(tmp_path: Path) -> None:
    file = tmp_path / "ours.json"

    lines = on("t4x1", ("written", END), words=("--", "--output", str(file), "--no-all-device"))

    assert lines[0].startswith(f"{file} written: 2 devices: 0, GPU-")


def test_settings_of_the_units_are_those_of_the_refreshes(tmp_path: Path) -> None:
    settings = tmp_path / "refresh.env"
    settings.write_text(f"NVIDIA_CTK_CDI_OUTPUT_FILE_PATH={tmp_path}/ours.json\n")

    lines = on("t4x1", ("written", END), words=("--environment-file", str(settings)))

    assert lines[0].startswith(f"{tmp_path}/ours.json written")


def test_wrong_words_for_refresh_are_said() -> None:
    lines = on("t4x1", ("trying again in 5 s", END), words=("--", "--colour"))

    assert lines[0] == "nvidia-ctk: unknown flag --colour"


@pytest.mark.parametrize("flag", ["--interval", "--settle", "--patience"])
def test_misuse(flag: str) -> None:
    got = ctk.run("cdi", "watch", f"{flag}=0")

    assert got.err == f"nvidia-ctk: {flag} must be from 0.01 to 86400 seconds\n"
    assert got.code == 1


@pytest.fixture
def without_pyroute2(tmp_path: Path) -> Iterator[str]:
    module = tmp_path / "pyroute2"
    module.mkdir()
    (module / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'pyroute2'\")")
    yield str(tmp_path)


def test_without_uevents_it_still_looks(without_pyroute2: str) -> None:
    """Without pyroute2, or if the kernel refuses the socket."""
    path = f"{without_pyroute2}:{simulated.TREE}"
    service = subprocess.Popen(
        [*WATCH, "--interval=0.1", "--", "--dry-run"],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"PYTHONPATH": path},
    )
    assert service.stderr
    first = [service.stderr.readline(), service.stderr.readline()]

    service.terminate()
    rest = service.communicate(timeout=20)[1]

    assert first[0].startswith("warning: No module named 'pyroute2'")
    assert first[0].endswith("changes are noticed every 0.1 s only\n")
    assert rest.endswith("SIGTERM: ending\n")
