# SPDX-License-Identifier: Apache-2.0
"""The units: what they promise an engine that starts beside them, and what they must not forbid."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import shim
from cli import ctk

from nvidia_runtime.cli.system import units

FOLDER = Path(__file__).resolve().parents[1] / "packaging/systemd"
needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze"
)
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
    "MemoryDenyWriteExecute",
)
# systemd.exec(5), SystemCallFilter: what loads a driver, makes nodes and sets limits.
NEEDED = {"@module", "@mount", "@privileged", "@resources", "@system-service", "@chown", "@setuid"}


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
        "90-nvidia-cdi-refresh.preset",
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
    (calls,) = settings["SystemCallFilter"]
    assert calls[0] == "~"
    assert set(calls[1:].split()) & NEEDED == set()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_settings_are_where_the_toolkit_has_them(unit: Path) -> None:
    settings = sections(unit)["Service"]

    assert settings["Environment"] == ["NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml"]
    assert settings["EnvironmentFile"] == ["-/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"]


def test_refresh_counts_a_kept_spec_and_a_missing_driver_as_success() -> None:
    from nvidia_runtime.cli.tables import root

    settings = sections(FOLDER / "nvidia-cdi-refresh.service")["Service"]

    assert settings["SuccessExitStatus"] == [f"{root.KEPT} {root.NO_DRIVER}"]


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


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze, which leaves a file in /run, where root may hide that."""
    hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh")
    call = [*(hidden if shim.is_root else ()), "systemd-analyze", *words]
    return subprocess.run(call, capture_output=True, text=True, check=False)


@needs_analyze
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """As they are installed, with a program that is there: it looks for what it would start."""
    program = tmp_path / "nvidia-ctk"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    texts = units.texts(f"{tmp_path}/usr", f"{program}")
    for path, text in texts.items():
        ctk.write(Path(path), text.replace("/bin/kill", f"{program}"))

    files = [path for path in texts if path.endswith((".service", ".path"))]
    got = analyze("verify", "--man=no", *files)

    ours = [line for line in got.stderr.splitlines() if "nvidia" in line or str(tmp_path) in line]
    assert ours == []


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_exposure(unit: Path) -> None:
    """A threshold of 50 is 5.0; each right that counts has a line that says what needs it."""
    words = ("security", "--offline=yes", "--no-pager", f"{unit}")

    assert analyze(*words, "--threshold=50").returncode == 0
    got = analyze(*words, "--json=short")
    lines = SERVICES[0].read_text().splitlines()
    reasons = " ".join(line for line in lines if line.startswith("# "))
    rights = [row["name"] for row in json.loads(got.stdout) if row["exposure"]]
    assert len(rights) > 10
    assert [right for right in rights if not any(word in reasons for word in named(right))] == []


def named(right: str) -> list[str]:
    """Return the words by which a reason may name a right of systemd-analyze's list."""
    _, _, value = right.partition("=~")
    if not value:
        return [f"{word}=" for word in re.findall(r"[A-Z]\w+(?==)", right)]
    head, _, names = value.partition("(")
    if not names:
        return [value]
    return [f"{head}{name.rstrip('*')}" for name in names.rstrip(")").split("|")]


@pytest.mark.skipif(not shutil.which("udevadm"), reason="needs udevadm")
def test_udev_has_nothing_to_say() -> None:
    rules = str(FOLDER / "99-nvidia-cdi-refresh.rules")
    got = subprocess.run(["udevadm", "verify", rules], capture_output=True, text=True, check=False)
    if "Unknown command" in got.stderr or "Unknown operation" in got.stderr:
        pytest.skip("this udevadm cannot verify: systemd 254 can")

    assert got.returncode == 0, got.stderr
