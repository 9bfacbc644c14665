# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime configure and unconfigure, by their flags."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import waiting

from nvidia_runtime.engines import docker_gpus
from nvidia_runtime.engines.engine import Intent

from . import ctk

V2 = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "kata"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
"""
INTENT = Intent(name="nvidia", program="nvidia-container-runtime", config="/x")
NVIDIA = {"args": [], "path": "nvidia-container-runtime"}


class Host:
    """A folder for engines' files and the journal, without an engine that judges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()

    def run(self, verb: str, *words: str | Path, **variables: str) -> ctk.Ended:
        state = str(self.folder / "state")
        return ctk.run(
            "runtime", verb, *words, PATH=f"{self.bin}", STATE_DIRECTORY=state, **variables
        )

    def configure(self, *words: str | Path, **variables: str) -> ctk.Ended:
        return self.run("configure", *words, **variables)

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def docker(host: Host, *flags: str) -> dict[str, Any]:
    file = host.folder / "daemon.json"
    got = host.configure("--config", file, *flags)
    assert (got.code, got.out) == (0, ""), got.err
    document: dict[str, Any] = json.loads(file.read_text())
    return document


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"runtimes": {"nvidia": NVIDIA}}),
        (["--runtime=docker", "--config-mode=config"], {"runtimes": {"nvidia": NVIDIA}}),
        (["--nvidia-runtime-name", "gpu"], {"runtimes": {"gpu": NVIDIA}}),
        (["--runtime-path=/x"], {"runtimes": {"nvidia": {"args": [], "path": "/x"}}}),
        (["--nvidia-runtime-path", "x"], {"runtimes": {"nvidia": {"args": [], "path": "x"}}}),
        (["--cdi.enabled"], {"runtimes": {"nvidia": NVIDIA}, "features": {"cdi": True}}),
        (["--cdi.enable"], {"runtimes": {"nvidia": NVIDIA}, "features": {"cdi": True}}),
        (["--enable-cdi=true"], {"runtimes": {"nvidia": NVIDIA}, "features": {"cdi": True}}),
        (["--enable-cdi=false"], {"runtimes": {"nvidia": NVIDIA}}),
        (["--set-as-default"], {"runtimes": {"nvidia": NVIDIA}, "default-runtime": "nvidia"}),
        (
            ["--nvidia-set-as-default"],
            {"runtimes": {"nvidia": NVIDIA}, "default-runtime": "nvidia"},
        ),
        (["--drop-in-config="], {"runtimes": {"nvidia": NVIDIA}}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_docker(flags: list[str], expected: dict[str, Any], host: Host) -> None:
    assert docker(host, *flags) == expected


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--runtime=lxc"], "unrecognized runtime 'lxc'\nhint: it is one of containerd, crio,"),
        (["--config-source=x"], "invalid --config-source: 'x'\nhint: it is 'file' or 'command'"),
        (["--restart=now"], "invalid --restart: 'now'\nhint: it is one of none, ask,"),
        (["--drop-in-config=/x"], "docker does not support drop-in configs\nhint: docker reads"),
        (
            ["--runtime=containerd", "--restart=signal"],
            "containerd reads its configuration only when it starts\nhint: --restart=systemd",
        ),
        (
            ["--runtime=crio", "--drop-in-config=x"],
            "the path of the drop-in must be absolute, not 'x'",
        ),
        (
            ["--runtime=containerd", "--nvidia-runtime-path=x"],
            "the path of the NVIDIA runtime must be absolute, not 'x'\nhint: containerd does not",
        ),
        (["--runtime=podman"], "{file}: podman reads files only whose name ends in .conf\nhint:"),
        (["--nvidia-runtime-name="], "invalid --nvidia-runtime-name: ''"),
        (["--bogus"], "unknown flag --bogus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_flags_that_are_wrong(flags: list[str], says: str, host: Host) -> None:
    file = host.folder / "daemon.json"

    got = host.configure("--config", file, *flags)

    assert (got.code, got.out, file.exists()) == (1, "", False)
    assert got.err.startswith(f"nvidia-ctk: {says.format(file=file)}")


@pytest.mark.parametrize(
    ("engine", "text", "says"),
    [
        ("docker", "{", ":1:2: expecting property name enclosed in double quotes"),
        ("docker", '{"runtimes": []}', ": runtimes: must be an object, not a list"),
        ("docker", '{"runtimes": {"x": {"path": 1}}}', ": runtimes.x.path: must be a string"),
        ("docker", '{"features": {"cdi": "on"}}', ": features.cdi: must be true or false"),
        ("docker", '{"default-runtime": 1}', ": default-runtime: must be a string"),
        ("containerd", "version = \n", ":1:11: invalid value"),
        ("containerd", 'version = "2"', ": version: must be an integer, not '2'"),
        ("containerd", "version = 2\nplugins = 1", ": plugins: must be a table, not 1"),
        ("containerd", "version = 2\nimports = [1]", ": imports: must be a list of strings"),
        ("crio", "[crio\n", ":1:6: expected ']' at the end of a table declaration"),
        ("crio", "crio = 1", ": crio: must be a table, not 1"),
        ("podman", "[engine]\nruntime = 1", ": engine.runtime: must be a string, not 1"),
    ],
)
def test_files_that_are_wrong(engine: str, text: str, says: str, host: Host) -> None:
    file = ctk.write(host.folder / "f.conf", text)
    drop_in = [] if engine == "docker" else [f"--drop-in-config={host.folder}/d/99-nvidia.conf"]

    got = host.configure("--runtime", engine, "--config", file, *drop_in)

    assert (got.code, got.out) == (1, "")
    assert got.err.startswith(f"nvidia-ctk: {file}{says}")
    assert file.read_text() == text
    assert sorted(path.name for path in host.folder.iterdir()) == ["bin", "f.conf"]


def test_what_it_says(host: Host) -> None:
    """The program is in our PATH, and not in that of a daemon to come."""
    host.program("nvidia-container-runtime", "exit 0")
    file = host.folder / "daemon.json"
    named = f"warning: nvidia-container-runtime is not in docker's PATH; {host.bin}/"
    named += "nvidia-container-runtime is named\n"

    after = "docker reads it when it is started again"
    how = f"{docker_gpus.usage(INTENT, 0)}\n"

    assert host.configure("--config", file).err == f"{named}wrote {file}\n{after}\n{how}"
    assert host.configure("--config", file).err == f"{named}nothing to change: {file}\n{how}"
    path = json.loads(file.read_text())["runtimes"]["nvidia"]["path"]
    assert path == f"{host.bin}/nvidia-container-runtime"
    assert host.run("unconfigure", "--config", file).err == f"removed {file}\n{after}\n"
    assert host.run("unconfigure", "--config", file).err == f"nothing to change: {file}\n"


@pytest.mark.parametrize(
    ("is_default", "has_hook", "says"),
    [
        (False, True, "containers get GPUs by 'docker run --runtime=nvidia --gpus all'"),
        (True, True, "containers get GPUs by 'docker run --gpus all'"),
        (
            False,
            False,
            "containers get GPUs by 'docker run --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all'; "
            "'--gpus all' works, too, once nvidia-container-runtime-hook is in dockerd's PATH ({}) "
            "and it is restarted",
        ),
    ],
    ids=["named", "default", "without the hook"],
)
def test_how_docker_is_asked(
    is_default: bool, has_hook: bool, says: str, host: Host, tmp_path: Path
) -> None:
    """By the PATH that the daemon has, which may not be ours."""
    if has_hook:
        host.program("nvidia-container-runtime-hook", "exit 0")
    daemon = subprocess.Popen(["/bin/sleep", "1000"], env={"PATH": str(host.bin)})
    try:
        intent = replace(INTENT, is_default=is_default)
        environment = Path(f"/proc/{daemon.pid}/environ")
        waiting.eventually(environment.read_bytes, "the program is executed")

        assert docker_gpus.usage(intent, daemon.pid) == says.format(host.bin)
    finally:
        daemon.kill()
        daemon.wait()


def test_dry_run_prints_the_files_as_the_toolkit_does(host: Host) -> None:
    file = ctk.write(host.folder / "config.toml", V2)

    got = host.configure(
        *("--runtime=containerd", "--config", file, "--dry-run"),
        f"--drop-in-config={host.folder}/conf.d/x.toml",
    )

    drop_in, _, top = got.out.partition("\n\nversion = 2\nimports")
    assert tomllib.loads(drop_in)["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"][
        "nvidia"
    ] == {
        "runtime_type": "io.containerd.kata.v2",
        "options": {"BinaryName": "/usr/bin/nvidia-container-runtime"},
    }
    assert top.startswith(f' = ["{host.folder}/conf.d/*.toml"]\n[plugins.')
    assert file.read_text() == V2
    assert sorted(path.name for path in host.folder.iterdir()) == ["bin", "config.toml"]


def test_diff(host: Host) -> None:
    file = ctk.write(host.folder / "daemon.json", '{"a": 1}')

    assert host.configure("--config", file, "--diff").out == (
        f"--- {file}\n+++ {file}\n@@ -1 +1 @@\n"
        '-{"a": 1}\n\\ No newline at end of file\n'
        '+{"a": 1, "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}\n'
        "\\ No newline at end of file\n"
    )
    host.configure("--config", file)
    got = host.configure("--config", file, "--diff")
    assert (got.out, got.err) == ("", "nothing would change\n")
    got = host.run("unconfigure", "--config", file, "--diff")
    assert got.out.endswith('+{"a": 1}\n\\ No newline at end of file\n')


@pytest.mark.parametrize(
    ("flags", "variables", "shown"),
    [
        ([], {}, "\033[32m+{\033[0m"),
        ([], {"NO_COLOR": "1"}, "\n+{"),
        (["--plain"], {}, "\n{"),
    ],
    ids=["a diff in colour", "without colour", "the toolkit's text"],
)
def test_dry_run_on_a_terminal(
    flags: list[str], variables: dict[str, str], shown: str, host: Host
) -> None:
    words = ["runtime", "configure", "--dry-run", "--config", str(host.folder / "f"), *flags]
    master, slave = pty.openpty()
    root = str(Path(__file__).parents[2])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "TERM": "xterm", **variables}
    with subprocess.Popen(
        [sys.executable, "-c", ctk.PROGRAM, *words], stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        text = b""
        while chunk := read(master):
            text += chunk
    os.close(master)

    assert process.returncode == 0
    assert shown in "\n" + text.decode().replace("\r\n", "\n")


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # how a terminal ends on Linux
        return b""


def test_containerd_is_asked(host: Host) -> None:
    """Its answer is copied, while the file keeps its own text and gets only the import."""
    file = ctk.write(host.folder / "config.toml", "# mine\nversion = 2\n")
    drop_in = host.folder / "conf.d" / "x.toml"
    ctk.write(host.folder / "dump", V2)
    host.program("containerd", f'[ "$*" = "config dump" ] && exec /bin/cat {host.folder}/dump')

    got = host.configure(
        *("--runtime=containerd", "--config", file, "--config-source=command"),
        f"--drop-in-config={drop_in}",
    )

    assert got.code == 0, got.err
    assert "io.containerd.kata.v2" in drop_in.read_text()
    assert file.read_text() == (f'# mine\nversion = 2\nimports = ["{drop_in.parent}/*.toml"]\n')


@pytest.mark.parametrize(
    ("engine", "programs", "says"),
    [
        ("containerd", {}, "containerd config dump: no such file or directory"),
        ("containerd", {"containerd": "echo not toml"}, "containerd config dump:1:5: expected"),
        (
            "crio",
            {"crio": "echo no crio >&2; exit 1", "crio-status": "exit 3"},
            "crio status config: no crio; crio-status config: exit code 3",
        ),
    ],
)
def test_engine_that_does_not_answer(
    engine: str, programs: dict[str, str], says: str, host: Host
) -> None:
    for name, text in programs.items():
        host.program(name, text)

    got = host.configure(
        *("--runtime", engine, "--config", host.folder / "f", "--config-source=command"),
        f"--drop-in-config={host.folder}/d/x",
    )

    assert got.code == 1
    assert says in got.err
    assert sorted(path.name for path in host.folder.iterdir()) == ["bin"]


def test_podman_drop_in(host: Host) -> None:
    file = host.folder / "containers.conf.d" / "99-nvidia.conf"

    got = host.configure(
        *("--runtime=podman", "--set-as-default", f"--drop-in-config={file}"),
        f"--config={host.folder}/containers.conf",
    )

    assert got.code == 0, got.err
    assert tomllib.loads(file.read_text()) == {
        "engine": {
            "runtime": "nvidia",
            "runtimes": {"nvidia": ["/usr/bin/nvidia-container-runtime"]},
        }
    }


@pytest.mark.parametrize("engine", ["podman", "crio"])
def test_cdi_is_always_on_there(engine: str, host: Host) -> None:
    got = host.configure(
        *("--runtime", engine, "--cdi.enabled", "--config", host.folder / "x.conf"),
        *("--drop-in-config=", "--dry-run"),
    )

    assert "has CDI always on; the flag changes nothing" in got.err


def test_two_at_once(host: Host) -> None:
    """One waits for the other, so both runtimes are added."""
    file = host.folder / "daemon.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "STATE_DIRECTORY": str(host.folder / "state"),
    }
    words = [sys.executable, "-c", ctk.PROGRAM, "runtime", "configure", "--config", str(file)]
    names = ["a", "b", "c", "d"]
    running = [
        subprocess.Popen([*words, "--nvidia-runtime-name", name], env=environment) for name in names
    ]
    assert [process.wait() for process in running] == [0, 0, 0, 0]

    assert sorted(json.loads(file.read_text())["runtimes"]) == names


def test_one_runtime_or_all_are_taken_back(host: Host) -> None:
    file = host.folder / "daemon.json"
    docker(host, "--set-as-default")
    docker(host, "--nvidia-runtime-name=nvidia-cdi")

    host.run("unconfigure", "--config", file, "--nvidia-runtime-name=nvidia-cdi")
    assert json.loads(file.read_text()) == {
        "runtimes": {"nvidia": NVIDIA},
        "default-runtime": "nvidia",
    }
    host.run("unconfigure", "--config", file)
    assert not file.exists()


def test_runtime_that_is_not_there_is_a_warning(host: Host) -> None:
    """It may come later; until then no container with this runtime starts."""
    file = host.folder / "daemon.json"

    absent = host.configure("--config", file, "--nvidia-runtime-path=/nowhere/runtime")
    host.program("nvidia-container-runtime", "exit 0")
    program = host.bin / "nvidia-container-runtime"
    present = host.configure("--config", file, f"--nvidia-runtime-path={program}")

    assert "warning: /nowhere/runtime is not on this machine" in absent.err
    assert (absent.code, present.code) == (0, 0)
    assert "is not on this machine" not in present.err


def test_docker_keeps_the_name_runc(host: Host) -> None:
    file = host.folder / "daemon.json"

    got = host.configure("--config", file, "--nvidia-runtime-name=runc")

    assert (got.code, file.exists()) == (1, False)
    assert "docker keeps the name runc to itself" in got.err


def test_program_that_is_not_utf8_is_refused(host: Host) -> None:
    file = host.folder / "config.toml"

    got = host.configure(
        "--runtime=containerd", "--config", file, "--drop-in-config=", "--runtime-path=/\udcff"
    )

    assert (got.code, file.exists()) == (1, False)
    assert "is not UTF-8" in got.err


def test_engine_that_moves_the_cursor(host: Host) -> None:
    host.program("dockerd", "printf 'no\\033[2J\\n' >&2; exit 1")
    (host.folder / "daemon.json").write_text("{}")

    got = host.configure("--config", host.folder / "daemon.json")

    assert "no?[2J" in got.err
    assert "\033" not in got.err
