# SPDX-License-Identifier: Apache-2.0
"""The units: what they promise an engine that starts beside them, and what they must not forbid."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "packaging/systemd"
UNITS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".service", ".path"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]
ENGINES = {
    "docker.service",
    "containerd.service",
    "crio.service",
    "podman.service",
    "podman-restart.service",
    "kubelet.service",
}
# systemd.unit(5): what makes a unit wait for another, or stop with it.
TIES = ("After", "Requires", "Requisite", "BindsTo", "PartOf", "Wants", "Upholds", "OnFailure")
# systemd.exec(5): what hides /dev, forbids mknod or modprobe, or the sockets in /tmp.
FORBIDDING = (
    "PrivateDevices",
    "DevicePolicy",
    "DeviceAllow",
    "ProtectClock",  # implies DeviceAllow=char-rtc
    "ProtectKernelModules",
    "ProtectKernelTunables",  # nvidia-modprobe has PCI scanned again
    "ProtectProc",
    "PrivateTmp",
    "PrivateNetwork",
    "PrivateUsers",
    "DynamicUser",
    "User",
    "SystemCallFilter",
    "MemoryDenyWriteExecute",
)


def sections(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read a unit: each setting with its values, in their order."""
    unit: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = unit.setdefault(line.strip("[]"), {})
        elif line and line[0] not in "#;":
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return unit


def seconds(path: Path, name: str) -> float:
    (value,) = sections(path)["Service"][name]
    return float(value)


def test_units_have_the_toolkit_s_names() -> None:
    """Who enabled them by name has them still."""
    assert [path.name for path in sorted(FOLDER.iterdir())] == [
        "99-nvidia-cdi-refresh.rules",
        "README.md",
        "nvidia-cdi-refresh.env",
        "nvidia-cdi-refresh.path",
        "nvidia-cdi-refresh.service",
        "nvidia-cdi-watch.service",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_waits_for_nothing_and_stops_with_nothing(unit: Path) -> None:
    """After= what never comes, or comes after the engines, was a boot without docker."""
    assert [name for name in TIES if name in sections(unit)["Unit"]] == []


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_engines_start_after_it_and_soon(unit: Path) -> None:
    (before,) = sections(unit)["Unit"]["Before"]

    assert set(before.split()) == ENGINES
    assert 0 < seconds(unit, "TimeoutStartSec") <= 60


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_service_never_gives_up(unit: Path) -> None:
    """The toolkit's unit fails five times in ten seconds while the driver loads, and is dead."""
    assert sections(unit)["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert sections(unit)["Service"]["Restart"][0] in ("always", "on-failure")
    assert seconds(unit, "RestartSec") >= 5


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_service_may_do_what_it_has_to(unit: Path) -> None:
    settings = sections(unit)["Service"]
    (capabilities,) = settings["CapabilityBoundingSet"]

    assert [name for name in FORBIDDING if name in settings] == []
    assert {"CAP_SYS_MODULE", "CAP_MKNOD", "CAP_SYS_ADMIN"} <= set(capabilities.split())
    assert settings["ProtectSystem"] == ["full"]  # strict makes /run read-only, full not
    assert settings["ReadWritePaths"] == ["-/etc/cdi"]
    assert "AF_NETLINK" in settings["RestrictAddressFamilies"][0]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_settings_are_where_the_toolkit_has_them(unit: Path) -> None:
    settings = sections(unit)["Service"]

    assert settings["Environment"] == ["NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml"]
    assert settings["EnvironmentFile"] == ["-/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"]


def test_refresh_counts_a_kept_spec_and_a_missing_driver_as_success() -> None:
    from nvidia_runtime.cli.cdi import refresh

    settings = sections(FOLDER / "nvidia-cdi-refresh.service")["Service"]

    assert settings["SuccessExitStatus"] == [f"{refresh.KEPT} {refresh.NO_DRIVER}"]


def test_watch_is_ready_before_systemd_loses_patience() -> None:
    from nvidia_runtime.watch.service import Timing

    unit = FOLDER / "nvidia-cdi-watch.service"

    assert Timing().ready < seconds(unit, "TimeoutStartSec")
    assert sections(unit)["Service"]["Type"] == ["notify"]


def test_path_notices_an_installed_driver() -> None:
    settings = sections(FOLDER / "nvidia-cdi-refresh.path")["Path"]

    assert settings["PathChanged"] == [
        "/lib/modules/%v/modules.dep",
        "/lib/modules/%v/modules.dep.bin",
        "/usr/bin/nvidia-ctk",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_is_read_by_others_too(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]

    parser.read_string(unit.read_text())

    assert parser["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """With a program that is there, since it looks for what it would start."""
    program = tmp_path / "nvidia-ctk"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text().replace("/usr/bin/nvidia-ctk", str(program))
        (tmp_path / unit.name).write_text(text.replace("/bin/kill", str(program)))

    files = [str(tmp_path / unit.name) for unit in UNITS]
    words = ["systemd-analyze", "verify", "--man=no", *files]
    got = subprocess.run(words, capture_output=True, text=True, check=False)

    ours = [line for line in got.stderr.splitlines() if "nvidia" in line or str(tmp_path) in line]
    assert ours == []


@pytest.mark.skipif(not shutil.which("udevadm"), reason="needs udevadm")
def test_udev_has_nothing_to_say() -> None:
    rules = str(FOLDER / "99-nvidia-cdi-refresh.rules")
    got = subprocess.run(["udevadm", "verify", rules], capture_output=True, text=True, check=False)
    if "Unknown command" in got.stderr or "Unknown operation" in got.stderr:
        pytest.skip("this udevadm cannot verify: systemd 254 can")

    assert got.returncode == 0, got.stderr
