# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime status: what is said of each engine, and how it is laid out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nvidia_runtime.cli.runtime import status
from nvidia_runtime.cli.runtime.status import Status
from nvidia_runtime.engines import native_cdi
from nvidia_runtime.engines.running import Running
from nvidia_runtime.engines.supported import ENGINES

from . import ctk


def engine(
    name: str, version: tuple[int, ...], config: str = "/nowhere", default: str = ""
) -> Running:
    return Running(
        engine=ENGINES[name],
        profile=ENGINES[name].profiles[0],
        pid=7,
        executable="/usr/bin/x",
        version=version,
        config=config,
        socket="/run/x.sock",
        default=default,
    )


@pytest.mark.parametrize(
    ("name", "version", "setting", "has"),
    [
        pytest.param("docker", (24, 0, 9), True, False, id="docker that does not know it"),
        pytest.param("docker", (25, 0), None, False, id="docker where it is off by default"),
        pytest.param("docker", (25, 0), True, True, id="docker where it was switched on"),
        pytest.param("docker", (28, 2, 2), None, True, id="docker where it is on by default"),
        pytest.param("docker", (28, 2, 2), False, False, id="docker where it was switched off"),
        pytest.param("docker", (), None, None, id="docker of an unknown version"),
        pytest.param("containerd", (1, 6, 20), True, False, id="containerd that does not know it"),
        pytest.param("containerd", (1, 7, 2), True, True, id="containerd 1.7, switched on"),
        pytest.param("containerd", (2, 0, 0), None, True, id="containerd 2"),
        pytest.param("podman", (4, 3, 1), True, True, id="podman"),
    ],
)
def test_cdi(
    name: str, version: tuple[int, ...], *, setting: bool | None, has: bool | None
) -> None:
    assert native_cdi.is_on(ENGINES[name], version, setting) is has


@pytest.mark.parametrize(
    ("name", "version", "setting", "says"),
    [
        pytest.param("docker", (26, 1, 5), None, "is refused; 'nvidia-ctk runtime", id="docker"),
        pytest.param("docker", (28, 5, 1), None, "", id="docker where it is on"),
        pytest.param(
            "docker",
            (20, 10, 24),
            None,
            "takes names like nvidia.com/gpu=0 since 25;",
            id="too old",
        ),
        pytest.param("docker", (), None, "", id="unknown"),
        pytest.param("containerd", (1, 7, 24), None, "is dropped without a word;", id="containerd"),
        pytest.param(
            "containerd", (2, 1, 4), False, "is dropped without a word;", id="switched off"
        ),
        pytest.param("podman", (4, 3, 1), True, "", id="podman"),
    ],
)
def test_what_comes_of_cdi_names(
    name: str, version: tuple[int, ...], setting: bool | None, says: str
) -> None:
    note = native_cdi.note(ENGINES[name], version, setting)

    assert bool(note) is bool(says)
    assert says in note
    assert status.describe(engine(name, version)).notes == (
        (note,) if note and setting is None else ()
    )


def test_what_a_file_says_of_us(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(
        json.dumps(
            {
                "default-runtime": "nvidia",
                "runtimes": {
                    "nvidia": {"path": "/usr/bin/nvidia-container-runtime"},
                    "kata": {"path": "/usr/bin/kata"},
                },
            }
        )
    )

    shown = status.describe(engine("docker", (28, 3), str(file)))

    assert (shown.runtimes, shown.default_runtime, shown.is_default, shown.cdi) == (
        ("nvidia",),
        "nvidia",
        True,
        True,
    )
    assert (shown.version, shown.file_exists, shown.problem) == ("28.3", True, "")


@pytest.mark.parametrize("name", ["docker", "crio"])
def test_default_of_a_flag_counts_more_than_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("" if name == "docker" else "[crio.runtime]\ndefault_runtime = 'nvidia'\n")

    shown = status.describe(engine(name, (28, 3), str(file), default="kata"))

    assert (shown.default_runtime, shown.is_default) == ("kata", False)


def test_broken_file_is_a_part_of_the_answer(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{")

    shown = status.describe(engine("docker", (28, 3), str(file)))

    assert shown.problem.startswith(str(file))
    assert shown.runtimes == ()


def test_table() -> None:
    lines = status.table(
        [
            Status(
                engine="docker",
                installed=True,
                running=True,
                pid=812,
                version="28.3.0",
                file="/etc/docker/daemon.json",
                file_exists=True,
                runtimes=("nvidia", "nvidia-legacy"),
                default_runtime="nvidia",
                is_default=True,
                cdi=True,
            ),
            Status(
                engine="containerd",
                installed=True,
                running=True,
                pid=91,
                profile="k3s",
                file="/x/config.toml",
            ),
            Status(engine="crio", installed=False, running=False),
            Status(
                engine="podman", installed=True, running=False, version="4.3.1", file="/p", cdi=True
            ),
        ]
    )

    assert lines == [
        "engine            runs           version  our runtimes           default runtime  CDI"
        "      file",
        "docker            pid 812        28.3.0   nvidia, nvidia-legacy  nvidia (ours)    on"
        "       /etc/docker/daemon.json",
        "containerd (k3s)  pid 91         unknown  -                      -                unknown"
        "  /x/config.toml (absent)",
        "crio              not installed  -        -                      -                -"
        "        -",
        "podman            no daemon      4.3.1    -                      -                on"
        "       /p (absent)",
    ]


def test_json_has_every_engine() -> None:
    got = ctk.run("runtime", "status", "--format=json", DOCKER_HOST="unix:///nowhere")

    assert [entry["engine"] for entry in json.loads(got.out)] == [
        "docker",
        "containerd",
        "crio",
        "podman",
    ]


def test_one_engine() -> None:
    got = ctk.run("runtime", "status", "--runtime=crio", "--format=json")

    assert [entry["engine"] for entry in json.loads(got.out)] == ["crio"]


def test_unknown_engine() -> None:
    got = ctk.run("runtime", "status", "--runtime=lxc")

    assert (got.code, got.out) == (1, "")
    assert "lxc" in got.err
