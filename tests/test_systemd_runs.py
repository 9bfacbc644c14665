# SPDX-License-Identifier: Apache-2.0
"""The units under a real systemd, on a simulated machine: what they may still do, and their life."""

from __future__ import annotations

from collections.abc import Iterator

import booted
import pytest
import waiting
from booted import PROGRAM, Booted

pytestmark = pytest.mark.long

REFRESH, WATCH = "nvidia-cdi-refresh.service", "nvidia-cdi-watch.service"
PATH = "nvidia-cdi-refresh.path"
SPEC = "/var/run/cdi/nvidia.yaml"
SYSTEM = "/etc/systemd/system"


@pytest.fixture
def machine() -> Iterator[Booted]:
    """Boot a machine on which the units are installed.

    The path unit runs: systemd forgets how a service ended that no other unit names.
    """
    with booted.machine("t4x1") as machine:
        machine.succeed(PROGRAM, "system", "install-units")
        drop_in = f"{SYSTEM}/nvidia-cdi-.service.d/of-the-machine.conf"
        machine.write(drop_in, f"[Service]\n{booted.IN_PROC}")
        machine.succeed("systemctl", "daemon-reload")
        machine.succeed("systemctl", "start", PATH)
        yield machine


def has_spec(machine: Booted) -> bool:
    return machine.run("grep", "-q", "^kind: nvidia.com/gpu$", SPEC).returncode == 0


def test_refresh_may_do_what_it_has_to(machine: Booted) -> None:
    """It loads modules, makes a node that is missing, asks NVML, and writes the spec."""
    node = "/dev/nvidiactl"
    machine.succeed("rm", node)
    machine.write("/sbin/modprobe", "#!/bin/sh\necho $* >>/run/loaded\n")

    machine.succeed("systemctl", "start", REFRESH)

    assert machine.shows(REFRESH, "Result") == "success"
    assert machine.shows(REFRESH, "ExecMainStatus") == "0"
    assert machine.succeed("stat", "-c", "%t:%T %a", node) == "c3:ff 666\n"
    assert machine.succeed("cat", "/run/loaded").split()[:1] == ["nvidia"]
    assert has_spec(machine)


def test_refresh_without_a_driver_is_no_failure(machine: Booted) -> None:
    machine.succeed("rm", "-r", "/sys/module/nvidia", "/proc/driver/nvidia")

    machine.succeed("systemctl", "start", REFRESH)

    assert machine.shows(REFRESH, "Result") == "success"
    assert machine.shows(REFRESH, "ExecMainStatus") == "69"
    assert not has_spec(machine)


def test_path_notices_a_new_program(machine: Booted) -> None:
    """What tells of an installed driver, depmod's files, is watched in the same way."""
    assert not has_spec(machine)

    machine.succeed("sh", "-c", f"cp {PROGRAM} {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM}")

    waiting.eventually(lambda: has_spec(machine), "the spec is written")


def test_watch_runs_until_it_is_stopped(machine: Booted) -> None:
    machine.succeed("systemctl", "start", WATCH)
    pid = machine.shows(WATCH, "MainPID")
    assert machine.shows(WATCH, "StatusText").startswith(SPEC)
    assert has_spec(machine)

    machine.succeed("rm", SPEC)
    machine.succeed("systemctl", "reload", WATCH)
    waiting.eventually(lambda: has_spec(machine), "the spec is written again")
    assert machine.shows(WATCH, "MainPID") == pid

    machine.succeed("systemctl", "stop", WATCH)
    assert machine.shows(WATCH, "Result") == "success"


def test_settings_of_the_toolkit_s_place(machine: Booted) -> None:
    file = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
    machine.write(file, "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/etc/cdi/own.yaml\n")

    machine.succeed("systemctl", "start", REFRESH)

    assert "kind: nvidia.com/gpu" in machine.succeed("cat", "/etc/cdi/own.yaml")
    assert not has_spec(machine)


def test_units_come_and_go(machine: Booted) -> None:
    """As packaging/systemd/README.md has it."""
    listing = ("find", SYSTEM, "-name", "nvidia-cdi-*", "!", "-type", "d")
    machine.succeed("systemctl", "enable", "--now", PATH, REFRESH)
    assert has_spec(machine)
    assert len(machine.succeed(*listing).split()) == 5

    refused = machine.run(PROGRAM, "system", "install-units", "--remove")
    assert refused.returncode == 1
    assert f"hint: 'systemctl disable --now {PATH} {REFRESH}' first\n" in refused.stderr
    machine.succeed("systemctl", "disable", "--now", PATH, REFRESH, WATCH)
    machine.succeed(PROGRAM, "system", "install-units", "--remove")
    machine.succeed("systemctl", "daemon-reload")

    assert machine.succeed(*listing) == ""
    assert machine.shows(REFRESH, "LoadState") == "not-found"
