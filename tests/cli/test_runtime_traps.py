# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime where it would do what nobody meant: it refuses, says so, or does better."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import shim
import waiting
from engines.files import listener
from shim import Site, needs_root

from . import ctk

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
NVIDIA = "nvidia-container-runtime"


@contextmanager
def daemon_in(site: Site, socket: Path, *words: str, **options: Any) -> Iterator[int]:
    """Run a dockerd on the site's machine that listens on a socket."""
    ready = Path(f"{socket}.ready")
    env = {**os.environ, **listener.HOME}
    call = ["dockerd", listener.__file__, "-1", str(socket), *words]
    process = site.execute(call, executable=sys.executable, env=env, **options)
    try:
        waiting.eventually(ready.exists, "dockerd listens", process)
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def as_user(site: Site, *words: str, **variables: str) -> shim.Ended:
    """Run nvidia-ctk as somebody who is not root, with folders of his own."""
    options = site.unprivileged()
    own = options["env"]["XDG_RUNTIME_DIR"]
    env = {"PATH": "/usr/bin:/bin", "HOME": own, "XDG_RUNTIME_DIR": own, **variables}
    call = [sys.executable, "-c", CODE, *words]
    return shim.end(site.execute(call, **(options | {"env": env})))


@needs_root
def test_root_s_daemon_is_not_configured_by_a_user(site: Site) -> None:
    """It wrote a file that nothing reads, and said that docker does not run."""
    socket, file = site.folder / "d.sock", site.folder / "daemon.json"
    file.write_text("{}")
    here = {"DOCKER_HOST": f"unix://{socket}"}
    words = ("runtime", "configure", "--runtime=docker")
    with daemon_in(site, socket, f"--config-file={file}") as pid:
        socket.chmod(0o600)
        refused = as_user(site, *words, **here)
        shown = as_user(site, *words, "--dry-run", **here)
        status = as_user(site, "runtime", "status", "--runtime=docker", "--format=json", **here)

    own = site.folder / "user"
    assert refused.code == 1
    assert refused.err == (
        f"nvidia-ctk: docker (pid {pid}) is root's, and reads {file}, not your own "
        f"{own}/.config/docker/daemon.json\nhint: run it as root, or name the file by --config\n"
    )
    assert (file.read_text(), list(own.iterdir())) == ("{}", [])
    assert shown.code == 0, shown.err
    assert shown.err.startswith(f"{file}:\n")
    (described,) = json.loads(status.out)
    assert (described["running"], described["pid"], described["file"]) == (True, pid, str(file))
    done = as_user(site, *words, f"--config={own}/daemon.json", **here)
    assert (done.code, file.read_text()) == (0, "{}"), done.err


@needs_root
def test_user_s_own_daemon_comes_first(site: Site) -> None:
    options = site.unprivileged()
    own = Path(options["env"]["XDG_RUNTIME_DIR"])
    user = {name: options[name] for name in ("user", "group", "extra_groups")}
    with (
        daemon_in(site, site.run_folder / "docker.sock"),  # which is in its /run
        daemon_in(site, own / "docker.sock", **user),
    ):
        got = as_user(site, "runtime", "configure", "--runtime=docker", "--dry-run")

    file = own / ".config/docker/daemon.json"
    assert got.code == 0, got.err
    assert got.err == (
        "warning: another docker runs, too, on /etc/docker/daemon.json; it is left alone\n"
        f"{file}:\n"
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Make a folder with nvidia-ctk and the runtime beside it, as pip does."""
    folder = tmp_path / "venv/bin"
    folder.mkdir(parents=True)
    for name, text in (("nvidia-ctk", f"#!{sys.executable}\n{CODE}\n"), (NVIDIA, "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("engine", ["docker", "containerd", "crio", "podman"])
def test_runtime_beside_us_is_named(engine: str, installed: Path, tmp_path: Path) -> None:
    """Where the usual one is missing, as after an installation by pip."""
    if os.path.exists(f"/usr/bin/{NVIDIA}"):
        pytest.skip("this machine has a runtime at the usual place")
    file = tmp_path / "file.conf"
    words = ["runtime", "configure", f"--runtime={engine}", f"--config={file}"]
    drop_in = [] if engine == "docker" else ["--drop-in-config="]
    env = {"PATH": "/usr/bin:/bin", "STATE_DIRECTORY": f"{tmp_path}/state"}

    got = subprocess.run(
        [installed / "nvidia-ctk", *words, *drop_in],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )

    assert got.returncode == 0, got.stderr
    usual, place = (NVIDIA, "in docker's PATH")
    if engine != "docker":
        usual, place = (f"/usr/bin/{NVIDIA}", "on this machine")
    assert f"warning: {usual} is not {place}; {installed}/{NVIDIA} is named\n" in got.stderr
    assert f'"{installed}/{NVIDIA}"' in file.read_text()


def test_default_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """No container would start, until it is installed."""
    socket, file = tmp_path / "c.sock", tmp_path / "config.toml"
    file.write_text("version = 2\n")
    program = tmp_path / "bin/runtime"
    words = ("runtime", "configure", "--runtime=containerd", "--drop-in-config=")
    flags = (f"--nvidia-runtime-path={program}", "--set-as-default")
    env = {"CONTAINERD_ADDRESS": f"{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    with listener.running("containerd", socket, f"--config={file}"):
        refused = ctk.run(*words, *flags, **env)
        before = (file.read_text(), (tmp_path / "state").exists())
        program.parent.mkdir()
        program.touch(0o755)
        done = ctk.run(*words, *flags, **env)

    assert (refused.code, before) == (1, ("version = 2\n", False))
    assert refused.err == (
        f"nvidia-ctk: {program} is not on this machine: no container would start\n"
        "hint: install it first, or leave --set-as-default out\n"
    )
    assert done.code == 0, done.err
    assert "default_runtime_name" in file.read_text()


@pytest.fixture
def systemctl(tmp_path: Path) -> Path:
    """Make a systemctl that notes its words and fails."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\nexit 1\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("is_younger", [True, False], ids=["began later", "began before"])
def test_restart_is_for_a_daemon_that_has_not_read_its_files(
    is_younger: bool, tmp_path: Path, systemctl: Path
) -> None:
    """Also where they were changed by an earlier run, or by hand."""
    socket, file = tmp_path / "c.sock", tmp_path / "config.toml"
    file.write_text("version = 2\n")
    words = ("runtime", "configure", "--runtime=containerd", "--drop-in-config=")
    env = {"CONTAINERD_ADDRESS": f"{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    env["PATH"] = f"{systemctl.parent}:{os.environ['PATH']}"
    if is_younger:
        assert ctk.run(*words, f"--config={file}", **env).code == 0
    with listener.running("containerd", socket, f"--config={file}"):
        if not is_younger:
            assert ctk.run(*words, **env).code == 0
        told = ctk.run(*words, **env)
        got = ctk.run(*words, "--restart=systemd", **env)
        (status,) = json.loads(
            ctk.run("runtime", "status", "--runtime=containerd", "--format=json", **env).out
        )
        table = ctk.run("runtime", "status", "--runtime=containerd", **env).out

    called = (tmp_path / "called").exists()
    nothing = f"nothing to change: {file}\n"
    assert status["restart_needed"] is not is_younger
    assert ("restart needed" in table) is not is_younger
    if is_younger:
        assert (got.code, called) == (0, False)
        assert f"{nothing}containerd has read its files; it was left alone\n" in got.err
        assert "systemctl" not in told.err
    else:
        assert (got.code, called) == (1, True)
        behind = f"{nothing}containerd has not read its files since they changed\n"
        assert f"{behind}restarting containerd: systemctl restart containerd\n" in got.err
        assert f"{behind}to make containerd read the file: systemctl restart contain" in told.err
        note = "it has not read its files since they changed: systemctl restart containerd"
        assert f"containerd: {note}\n" in table


@pytest.mark.parametrize("verb", ["configure", "unconfigure"])
def test_restart_that_is_not_possible_is_refused_before(verb: str, tmp_path: Path) -> None:
    """It was found out when the files had been written."""
    socket, file = tmp_path / "c.sock", tmp_path / "config.toml"
    file.write_text("version = 2\n")
    words = ("runtime", verb, "--runtime=containerd", "--drop-in-config=")
    env = {"CONTAINERD_ADDRESS": f"{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    with listener.running("containerd", socket, f"--config={file}"):
        refused = ctk.run(*words, "--restart=systemd", **env, PATH=f"{tmp_path}")
        named = ctk.run(*words, "--restart=systemd", f"--config={file}", **env, PATH=f"{tmp_path}")
        before = (file.read_text(), (tmp_path / "state").exists())
        done = ctk.run(*words, **env, PATH=f"{tmp_path}")

    assert (refused.code, before) == (1, ("version = 2\n", False))
    assert refused.err == (
        "nvidia-ctk: systemctl, which would restart containerd, is not on this machine\n"
        "hint: leave --restart out, and restart it yourself\n"
    )
    assert named.err == refused.err
    assert done.code == 0, done.err


def test_cdi_of_an_engine_that_has_none(tmp_path: Path) -> None:
    """The version is that of the program, which is Python here."""
    socket, file = tmp_path / "d.sock", tmp_path / "daemon.json"
    file.write_text("{}")
    words = ("runtime", "configure", "--runtime=docker", "--cdi.enabled")
    env = {"DOCKER_HOST": f"unix://{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    with listener.running("dockerd", socket, f"--config-file={file}"):
        got = ctk.run(*words, **env)

    version = ".".join(map(str, sys.version_info[:3]))
    assert got.code == 0, got.err
    assert f"warning: docker {version} has no CDI; the flag changes nothing\n" in got.err
    assert list(json.loads(file.read_text())) == ["runtimes"]


@needs_root
def test_engine_that_is_not_installed(site: Site) -> None:
    """Below an empty /etc, where nothing else is installed but a podman."""
    podman = site.folder / "bin/podman"
    podman.write_text("#!/bin/sh\necho podman version 5.2.0\n")
    podman.chmod(0o755)
    words = ["runtime", "configure", "--runtime=crio", f"--nvidia-runtime-path={podman}"]
    cover = "for folder in /etc /usr/sbin /usr/local; do mount -t tmpfs none $folder; done; "
    # Whatever this machine has in /usr/bin.
    cover += "for engine in crio dockerd containerd podman; do for folder in /usr/bin /bin /sbin; "
    cover += "do [ ! -x $folder/$engine ] || mount --bind /dev/null $folder/$engine; done; done; "
    call = ["sh", "-c", f'{cover}exec "$@"', "sh", sys.executable, "-c", CODE, *words]
    got = shim.end(site.execute(call, env={"PATH": f"{podman.parent}:/usr/bin:/bin"}))

    assert got.code == 0, got.err
    assert got.err.startswith("warning: crio is not on this machine; --runtime=podman is\n")


def runtime(folder: Path) -> Path:
    """Make a runtime that is there: an engine refuses another one as its default."""
    program = folder / NVIDIA
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


FLAGS = {
    "docker": [],
    "containerd": ["--drop-in-config={folder}/conf.d/x.toml"],
    "crio": ["--drop-in-config={folder}/crio.conf.d/x.toml"],
    "podman": ["--drop-in-config={folder}/containers.conf.d/x.conf"],
}


@pytest.mark.parametrize("is_in_place", [False, True], ids=["as usual", "in place"])
@pytest.mark.parametrize("engine", FLAGS)
def test_default_stays_in_a_second_run(engine: str, is_in_place: bool, tmp_path: Path) -> None:
    """Its own drop-in was written anew without it."""
    file = tmp_path / "file.conf"
    words = [f"--runtime={engine}", f"--config={file}"]
    program = f"--nvidia-runtime-path={runtime(tmp_path)}"
    words += [flag.format(folder=tmp_path) for flag in FLAGS[engine]]
    if is_in_place:
        words = [*words[:2], *(["--drop-in-config="] if engine != "docker" else [])]
    env = {"STATE_DIRECTORY": f"{tmp_path}/state"}

    def text() -> str:
        paths = [path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".conf", ".toml")]
        return "".join(path.read_text() for path in paths)

    assert ctk.run("runtime", "configure", *words, program, "--set-as-default", **env).code == 0
    first = text()
    again = ctk.run("runtime", "configure", *words, program, **env)
    second = text()
    assert (again.code, second) == (0, first), again.err
    assert "nothing to change" in again.err
    assert ctk.run("runtime", "unconfigure", *words, **env).code == 0
    assert "nvidia" not in text()


def test_file_that_podman_is_told_of(tmp_path: Path) -> None:
    """By CONTAINERS_CONF: then podman reads no drop-in."""
    file, last = tmp_path / "own.conf", tmp_path / "last.conf"
    file.write_text("# mine\n")
    last.write_text('[engine]\nruntime = "crun"\n')
    words = ["runtime", "configure", "--runtime=podman", "--set-as-default"]
    words.append(f"--nvidia-runtime-path={runtime(tmp_path)}")
    env = {"CONTAINERS_CONF": f"{file}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    if not ctk.run("runtime", "status", "--runtime=podman").lines()[1:][0].count("no daemon"):
        pytest.skip("needs podman")

    got = ctk.run(*words, **env, CONTAINERS_CONF_OVERRIDE=f"{last}")

    assert got.code == 0, got.err
    assert f"wrote {file}\n" in got.err
    assert f"{last} is read after {file} and has another default" in got.err
    assert file.read_text().startswith("# mine\n")
    assert tomllib.loads(file.read_text())["engine"]["runtime"] == "nvidia"
    assert not (tmp_path / "own.conf.d").exists()
    (status,) = json.loads(
        ctk.run("runtime", "status", "--runtime=podman", "--format=json", **env).out
    )
    assert (status["file"], status["is_default"]) == (str(file), True)
