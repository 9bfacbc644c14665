# SPDX-License-Identifier: Apache-2.0
"""netDevices before runc: whom to believe, which names are good, whose container has ended."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import builders
import pytest
import shim

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.net import devices as net_devices
from nvidia_runtime.net import records
from nvidia_runtime.net.devices import IGNORES, MOVES, PIECE, UNKNOWN
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
ORIGIN = '{"file": "/etc/cdi/nic.json"}'
OWN_NETWORK: dict[str, Any] = {"namespaces": [{"type": "mount"}, {"type": "network"}]}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is remembered in a folder of the test's."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(folder))
    return folder


def source(**names: str) -> Source:
    """Make the edits of a device that gives the container interfaces."""
    source = Source("example.com/nic=0", ORIGIN, "{}")
    source.edits = {"netDevices": {host: {"name": name} for host, name in names.items()}}
    return source


@pytest.mark.parametrize(
    ("contents", "does"),
    [
        pytest.param(b"\x7fELF", UNKNOWN, id="another program"),
        pytest.param(b"#!/bin/sh\nexec runc", UNKNOWN, id="a script"),
        pytest.param(b"opencontainers/runc/libcontainer", IGNORES, id="old runc"),
        pytest.param(
            b'opencontainers/runc/libcontainer json:"netDevices,omitempty"',
            IGNORES,
            id="runc with a new runtime-spec and old code",
        ),
        pytest.param(
            b"opencontainers/runc/libcontainer *configs.LinuxNetDevice", MOVES, id="new runc"
        ),
        pytest.param(b"[libcrun:%s]", IGNORES, id="old crun"),
        pytest.param(b"[libcrun:%s] netDevices", MOVES, id="new crun"),
        pytest.param(b"libcrun.so.0", MOVES, id="crun with its library"),
        pytest.param(b"netDevices configs.LinuxNetDevice", UNKNOWN, id="neither"),
        pytest.param(
            b"x" * (PIECE - 5) + b"libcrun" + b"x" * (2 * PIECE - 10) + b"netDevices",
            MOVES,
            id="across the pieces that are read",
        ),
    ],
)
def test_runtime_is_recognised_by_its_contents(contents: bytes, does: str, tmp_path: Path) -> None:
    program, library = tmp_path / "runtime", tmp_path / "lib" / "libcrun.so.0"
    program.write_bytes(contents)
    library.parent.mkdir()
    library.write_bytes(b"netDevices")

    assert net_devices.recognise(str(program), (str(library.parent), "/nowhere")) == does


@pytest.mark.parametrize(("name", "since"), [("runc", (1, 4)), ("crun", (1, 22))])
def test_the_installed_runtime_is_recognised(name: str, since: tuple[int, int]) -> None:
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or pytest.skip(
        f"no {name}"
    )
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"version (\d+)\.(\d+)", said.stdout)
    assert version

    is_new = (int(version[1]), int(version[2])) >= since
    assert net_devices.recognise(program) == (MOVES if is_new else IGNORES)


def test_answer_is_kept_until_the_runtime_changes(tmp_path: Path, state: Path) -> None:
    program = tmp_path / "runc"
    program.write_bytes(b"opencontainers/runc/libcontainer")
    before = net_devices.support(str(program))
    kept = state / "net-devices-support"
    kept.write_text(kept.read_text().replace(IGNORES, UNKNOWN))
    again = net_devices.support(str(program))
    program.write_bytes(b"opencontainers/runc/libcontainer configs.LinuxNetDevice")

    assert (before, again) == (IGNORES, UNKNOWN)
    assert net_devices.support(str(program)) == MOVES


@pytest.mark.parametrize(
    "linux",
    [
        pytest.param({}, id="no linux"),
        pytest.param({"namespaces": [{"type": "pid"}]}, id="no network namespace"),
        pytest.param(
            {"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}]}, id="the host's"
        ),
    ],
)
def test_without_a_network_of_its_own_the_runtime_judges(linux: dict[str, Any]) -> None:
    spec = builders.spec(linux=linux)

    assert net_devices.prepare(spec, [source(nowhere0="net0")], "/bin/true", "config.json") == {}


def in_a_network_with_a_link(name: str, function: Callable[[], T]) -> T:
    """Call a function in a network namespace that has an interface of this name."""

    def enter() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0, ctypes.get_errno()
        subprocess.run(["ip", "link", "add", name, "type", "veth"], check=True)

    with ThreadPoolExecutor(1, initializer=enter) as thread:
        return thread.submit(function).result()


@shim.needs_root
@pytest.mark.skipif(not shutil.which("ip"), reason="ip is not installed")
def test_unknown_runtime_gets_the_field_only() -> None:
    spec = builders.spec(linux=OWN_NETWORK)

    def prepare() -> object:
        return net_devices.prepare(spec, [source(nic0="net0")], "/bin/true", "c")

    assert in_a_network_with_a_link("nic0", prepare) == {}


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        pytest.param(
            {"eth0": "a-name-too-long0"},
            "config.json: linux.netDevices.eth0: invalid interface name 'a-name-too-long0': "
            "it is longer than 15 bytes",
            id="too long",
        ),
        pytest.param(
            {"eth0": "lo"},
            "config.json: linux.netDevices.eth0: 'lo' is in every network namespace and can "
            "neither be moved nor replaced",
            id="loopback",
        ),
        pytest.param(
            {"eth0": "net0", "eth1": "net1", "eth2": "net0"},
            "config.json: linux.netDevices: the interfaces eth0, eth2 would all be net0 in the "
            "container",
            id="one name for two",
        ),
    ],
)
def test_names_that_cannot_be_are_refused(devices: dict[str, str], says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        net_devices.prepare(
            builders.spec(linux=OWN_NETWORK), [source(**devices)], "/bin/true", "config.json"
        )

    assert str(error.value) == says


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("net0", ""),
        ("net%d", ""),
        ("a=b,c", ""),
        ("é" * 7, ""),
        ("é" * 8, "it is longer than 15 bytes"),
        ("", "it says nothing"),
        ("..", "it says nothing"),
        ("a/b", "it has a slash, a colon or a space in it"),
        ("eth0:1", "it has a slash, a colon or a space in it"),
        ("a b", "it has a slash, a colon or a space in it"),
        ("net%s", "a % may only be part of one %d"),
        ("%d%d", "a % may only be part of one %d"),
    ],
)
def test_names_are_good_if_the_kernel_takes_them(name: str, complaint: str) -> None:
    assert net_devices.name_complaint(name) == complaint


def test_all_missing_interfaces_are_named_with_the_file_that_wants_them() -> None:
    wanted = [source(nowhere0="net0"), source(nowhere1="net1")]
    with pytest.raises(NvidiaRuntimeError) as error:
        net_devices.prepare(builders.spec(linux=OWN_NETWORK), wanted, "/bin/true", "config.json")

    begin = "/etc/cdi/nic.json: the host has no network interface nowhere0, nowhere1; "
    assert str(error.value).startswith(begin)
    assert error.value.hint.startswith("see 'ip link'")


@pytest.mark.parametrize(
    ("present", "says"),
    [
        (["lo", "enp1s0f0", "enp1s0f1"], "did you mean enp1s0f1, enp1s0f0?"),
        (["lo", "wlan0"], "there are lo, wlan0"),
        (
            [f"tap{n}" for n in range(9)],
            "there are " + ", ".join(f"tap{n}" for n in range(8)) + " and 1 more",
        ),
    ],
)
def test_near_names_are_offered(present: list[str], says: str) -> None:
    assert net_devices.near(["enp1s0f2"], present) == says


def test_hook_is_python_with_site_packages_and_a_fixed_environment() -> None:
    """argv[0] is the path: by it Python finds the virtual environment that pyroute2 is in."""
    words = net_devices.command("recover", "/run/x")

    assert words[:3] == [sys.executable, "-I", "-c"]
    assert os.path.isfile(f"{words[4]}/nvidia_runtime/net/hook.py")
    assert words[5:] == ["recover", "/run/x"]


def record(**fields: Any) -> dict[str, Any]:
    """Make a record of a container whose first process we are."""
    return {
        "pid": os.getpid(),
        "started": records.started(os.getpid()),
        "pid_namespace": records.identity("/proc/self/ns/pid"),
        "host_namespace": records.identity("/proc/self/ns/net"),
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "is_over"),
    [
        pytest.param({}, False, id="it runs"),
        pytest.param({"started": 1}, True, id="another process has its number"),
        pytest.param({"pid": 1 << 30}, True, id="no process"),
        pytest.param({"pid": 1 << 30, "pid_namespace": [0, 1]}, False, id="not of our processes"),
        pytest.param({"pid": 1 << 30, "host_namespace": [0, 1]}, False, id="not of our network"),
    ],
)
def test_container_has_ended_if_its_process_has(fields: dict[str, Any], is_over: bool) -> None:
    assert records.is_over(record(**fields)) is is_over


def test_zombie_holds_nothing() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert records.started(child.pid) == 0


def test_nothing_to_recover_costs_no_process(tmp_path: Path) -> None:
    assert net_devices.recover(str(tmp_path / "missing")) == []
