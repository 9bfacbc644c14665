# SPDX-License-Identifier: Apache-2.0
"""Which files are meant, by flags and by the engine that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nvidia_runtime.cli.runtime.configure import Configure
from nvidia_runtime.engines import running as engines
from nvidia_runtime.engines.engine import Profile
from nvidia_runtime.engines.running import Running
from nvidia_runtime.engines.supported import ENGINES
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable

CONF_D = "/etc/containerd/conf.d/99-nvidia.toml"


def running(**fields: Any) -> Running:
    values: dict[str, Any] = {
        "engine": ENGINES["containerd"],
        "profile": Profile(),
        "pid": 1,
        "executable": "/opt/bin/containerd",
        "version": (2, 1),
        "config": "/etc/containerd/config.toml",
        "socket": "",
    }
    return Running(**(values | fields))


def command(**flags: str) -> Configure:
    configure = Configure("nvidia-ctk")
    for name, value in ({"runtime": "containerd"} | flags).items():
        setattr(configure, name, value)
    return configure


@pytest.mark.parametrize(
    ("flags", "daemon", "config", "drop_in"),
    [
        ({}, None, "/etc/containerd/config.toml", CONF_D),
        ({}, running(config="/srv/c.toml"), "/srv/c.toml", CONF_D),
        ({"config": "/x.toml"}, None, "/x.toml", CONF_D),
        ({"drop_in": ""}, None, "/etc/containerd/config.toml", ""),
        ({"drop_in": "/y.toml"}, running(), "/etc/containerd/config.toml", "/y.toml"),
        ({}, running(template="/args/t.toml"), "/args/t.toml", ""),
        (
            {},
            running(profile=Profile(drop_in="/etc/k0s/containerd.d/nvidia.toml")),
            "/etc/containerd/config.toml",
            "/etc/k0s/containerd.d/nvidia.toml",
        ),
        (
            {"runtime": "docker"},
            running(engine=ENGINES["docker"], config="/home/u/.config/docker/daemon.json"),
            "/home/u/.config/docker/daemon.json",
            "",
        ),
        (
            {"runtime": "podman"},
            running(engine=ENGINES["podman"], config="/home/u/.config/containers/containers.conf"),
            "/home/u/.config/containers/containers.conf",
            "/home/u/.config/containers/containers.conf.d/99-nvidia.conf",
        ),
        ({"runtime": "podman", "config": "/x.conf"}, None, "/x.conf", ""),
        (
            {"runtime": "crio"},
            None,
            "/etc/crio/crio.conf",
            "/etc/crio/crio.conf.d/99-nvidia.toml",
        ),
    ],
    ids=[
        "nothing runs",
        "the file of the one that runs",
        "a file that is named",
        "no drop-in",
        "a drop-in that is named",
        "a template, in place",
        "a folder that is read without an import",
        "rootless docker",
        "rootless podman",
        "podman's file that is named, in place",
        "crio",
    ],
)
def test_files(flags: dict[str, str], daemon: Running | None, config: str, drop_in: str) -> None:
    intent = command(**flags).intent(daemon)

    assert (intent.config, intent.drop_in) == (config, drop_in)
    assert intent.is_merged == bool(daemon and daemon.profile.drop_in)


def test_engine_that_runs_judges_and_has_its_version() -> None:
    intent = command().intent(running())

    assert (intent.executable, intent.version) == ("/opt/bin/containerd", (2, 1))


def test_engine_that_does_not_run_is_looked_for_in_path() -> None:
    assert command().intent(running(pid=0)).executable == ""


@pytest.mark.parametrize(
    ("engine", "program", "expected"),
    [
        ("docker", "nvidia-container-runtime", "nvidia-container-runtime"),
        ("containerd", "nvidia-container-runtime", "/usr/bin/nvidia-container-runtime"),
        ("crio", "/opt/x", "/opt/x"),
    ],
)
def test_program(engine: str, program: str, expected: str) -> None:
    assert command(runtime=engine).intent(None, program).program == expected


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Running], None]:
    def find(daemon: Running) -> None:
        monkeypatch.setattr(engines, "all_of", lambda _: [daemon])

    return find


def test_nothing_to_do(runs: Callable[[Running], None], capsys: pytest.CaptureFixture[str]) -> None:
    runs(running(profile=Profile(advice="k3s does it itself", note="restart k3s")))
    configure = command()

    assert configure.advise(configure.daemon())

    assert capsys.readouterr().err == "k3s does it itself\nhint: restart k3s\n"


def test_engine_elsewhere_is_not_configured(runs: Callable[[Running], None]) -> None:
    runs(running(elsewhere="it runs in a container"))

    with pytest.raises(NvidiaRuntimeError, match="it runs in a container"):
        command().daemon()


@pytest.mark.parametrize("flag", ["config", "engine_program"])
def test_engine_is_not_looked_for_when_a_file_is_named(
    flag: str, runs: Callable[[Running], None]
) -> None:
    runs(running(elsewhere="it runs in a container"))

    assert command(**{flag: "/x"}).daemon() is None
