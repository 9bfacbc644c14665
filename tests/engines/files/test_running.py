# SPDX-License-Identifier: Apache-2.0
"""Which engine runs, as which process, on which file: by real sockets, and by trees of /proc."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from nvidia_runtime.engines import containerd, crio, docker, podman, processes, running
from nvidia_runtime.engines.engine import Engine
from nvidia_runtime.engines.supported import ENGINES

from . import listener

INODE = 4711
UNIX = "Num       RefCount Protocol Flags    Type St Inode Path\n"
K3S = "/var/lib/rancher/k3s"
RKE2 = "/var/lib/rancher/rke2"


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables that name another daemon."""
    for name in ("DOCKER_HOST", "CONTAINERD_ADDRESS", "CONTAINERS_CONF", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine's root with a process that listens on a socket."""

    root: Path
    pid: int = 99

    def runs(self, *words: str, at: str, program: str, is_elsewhere: bool = False) -> None:
        """Run a daemon, with the file of its program below our root."""
        path = self.root / program.lstrip("/")
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{path.name} v1.7.11-k3s2 abc"\n')
        path.chmod(0o755)
        (self.root / at.lstrip("/")).parent.mkdir(parents=True)
        (self.root / at.lstrip("/")).touch()
        proc = self.root / "proc"
        process = proc / str(self.pid)
        (process / "fd").mkdir(parents=True)
        (process / "fd/7").symlink_to(f"socket:[{INODE}]")
        (process / "exe").symlink_to(path)
        (process / "cwd").symlink_to("/")
        (process / "cmdline").write_bytes("\0".join([*words, ""]).encode())
        row = f"0000000000000000: 00000002 00000000 00010000 0001 01 {INODE} {self.root}{at}\n"
        (proc / "net").mkdir()
        (proc / "net/unix").write_text(UNIX + row)
        view = self.root / "view"
        view.touch()
        other = self.root / "other"
        other.touch()
        for number, target in (("self", view), (str(self.pid), other if is_elsewhere else view)):
            (proc / number / "ns").mkdir(parents=True)
            (proc / number / "ns/mnt").symlink_to(target)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Make an empty machine."""
    return Host(root=tmp_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A daemon as it runs on a machine, and what it is recognised as."""

    engine: str
    at: str
    program: str
    words: tuple[str, ...]
    profile: str
    config: str
    template: str = ""
    drop_in: str = ""
    advice: str = ""


CASES = {
    "docker": Case(
        engine="docker",
        at="/run/docker.sock",
        program="/usr/bin/dockerd",
        words=("/usr/bin/dockerd", "-H", "fd://"),
        profile="",
        config="/etc/docker/daemon.json",
    ),
    "docker with a file of its own": Case(
        engine="docker",
        at="/run/docker.sock",
        program="/usr/bin/dockerd",
        words=("dockerd", "--config-file=/srv/daemon.json"),
        profile="",
        config="/srv/daemon.json",
    ),
    "docker of the snap": Case(
        engine="docker",
        at="/var/run/docker.sock",
        program="/snap/docker/2932/bin/dockerd",
        words=("dockerd", "--config-file", "/var/snap/docker/2932/config/daemon.json"),
        profile="snap-docker",
        config="/var/snap/docker/2932/config/daemon.json",
    ),
    "containerd": Case(
        engine="containerd",
        at="/run/containerd/containerd.sock",
        program="/usr/bin/containerd",
        words=("/usr/bin/containerd",),
        profile="",
        config="/etc/containerd/config.toml",
    ),
    "k3s, many programs in one": Case(
        engine="containerd",
        at="/run/k3s/containerd/containerd.sock",
        program=f"{K3S}/data/0a1b/bin/k3s",
        words=("containerd", "-c", f"{K3S}/agent/etc/containerd/config.toml"),
        profile="k3s",
        config=f"{K3S}/agent/etc/containerd/config.toml",
        template=f"{K3S}/agent/etc/containerd/config.toml.tmpl",
        advice="k3s finds nvidia-container-runtime itself when it starts; "
        "there is nothing to configure",
    ),
    "k3s in another folder": Case(
        engine="containerd",
        at="/run/k3s/containerd/containerd.sock",
        program="/data/k3s/data/0a1b/bin/containerd",
        words=("containerd", "-c", "/data/k3s/agent/etc/containerd/config.toml"),
        profile="k3s",
        config="/data/k3s/agent/etc/containerd/config.toml",
        template="/data/k3s/agent/etc/containerd/config.toml.tmpl",
        advice="k3s finds nvidia-container-runtime itself when it starts; "
        "there is nothing to configure",
    ),
    "rke2": Case(
        engine="containerd",
        at="/run/k3s/containerd/containerd.sock",
        program=f"{RKE2}/data/v1.30.1-rke2r1-0a/bin/containerd",
        words=("containerd", "-c", f"{RKE2}/agent/etc/containerd/config.toml"),
        profile="rke2",
        config=f"{RKE2}/agent/etc/containerd/config.toml",
        template=f"{RKE2}/agent/etc/containerd/config.toml.tmpl",
        advice="rke2 finds nvidia-container-runtime itself when it starts; "
        "there is nothing to configure",
    ),
    "k0s": Case(
        engine="containerd",
        at="/run/k0s/containerd.sock",
        program="/var/lib/k0s/bin/containerd",
        words=("/var/lib/k0s/bin/containerd", "--config=/etc/k0s/containerd.toml"),
        profile="k0s",
        config="/etc/k0s/containerd.toml",
        drop_in="/etc/k0s/containerd.d/nvidia.toml",
    ),
    "microk8s": Case(
        engine="containerd",
        at="/var/snap/microk8s/common/run/containerd.sock",
        program="/snap/microk8s/7000/bin/containerd",
        words=("containerd", "--config", "/var/snap/microk8s/7000/args/containerd.toml"),
        profile="microk8s",
        config="/var/snap/microk8s/7000/args/containerd.toml",
        template="/var/snap/microk8s/7000/args/containerd-template.toml",
    ),
    "cri-o": Case(
        engine="crio",
        at="/var/run/crio/crio.sock",
        program="/usr/bin/crio",
        words=("/usr/bin/crio", "-c", "/etc/crio/own.conf"),
        profile="",
        config="/etc/crio/own.conf",
    ),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="a daemon of ours would be a rootless one")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_daemon_is_recognised(host: Host, case: Case) -> None:
    host.runs(*case.words, at=case.at, program=case.program)

    engine = ENGINES[case.engine]
    (daemon,) = running.all_of(engine, str(host.root))
    profile = next(other for other in engine.profiles if other.name == case.profile)
    assert (profile.advice, profile.drop_in) == (case.advice, case.drop_in)
    assert daemon == running.Running(
        engine=engine,
        profile=profile,
        pid=99,
        executable=f"{host.root}{case.program}",
        version=(1, 7, 11),
        config=case.config,
        socket=case.at,
        template=case.template,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes another user's process")
def test_daemon_of_a_user_is_rootless_and_its_program_is_not_run(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/u/.config")
    host.runs("dockerd", at="/run/user/1000/docker.sock", program="/usr/bin/dockerd")
    os.chown(host.root / "proc/99", 1000, 1000)

    daemon = running.find(docker.ENGINE, str(host.root))

    assert daemon is not None
    assert (daemon.profile.name, daemon.config, daemon.executable, daemon.version) == (
        "rootless-docker",
        "/home/u/.config/docker/daemon.json",
        "",
        (),
    )
    # Whose folders the variables of ours name is not theirs.
    assert daemon.elsewhere == (
        "docker (pid 99) is that of the user with id 1000; run nvidia-ctk as that user"
    )


def test_daemon_of_a_container_is_named_and_its_program_is_not_run(host: Host) -> None:
    """The file of that name in the container is another one, such as that of a node of kind."""
    at = "/run/containerd/containerd.sock"
    host.runs("containerd", at=at, program="/usr/bin/containerd", is_elsewhere=True)
    (host.root / "proc/99/exe").unlink()
    (host.root / "proc/99/exe").symlink_to("/usr/local/bin/containerd-of-kind")
    (host.root / "proc/99/root").mkdir()
    for root in (host.root, Path(f"{host.root}/proc/99/root{host.root}")):
        (root / "etc/containerd").mkdir(parents=True)
        (root / "etc/containerd/config.toml").touch()
    (host.root / "proc/99/cmdline").write_bytes(b"containerd\0")

    daemon = running.find(containerd.ENGINE, str(host.root))

    assert daemon is not None
    assert (daemon.executable, daemon.version) == ("", ())
    assert daemon.elsewhere.startswith(
        "containerd (pid 99) runs in a mount namespace of its own, such as a container's, where "
    )
    assert daemon.elsewhere.endswith("run nvidia-ctk there: nsenter --target 99 --mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_daemon_in_a_mount_namespace_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its /etc is another folder there; the file beside the socket is the same one."""
    monkeypatch.setenv("CONTAINERD_ADDRESS", f"{tmp_path}/c.sock")
    for name in ("etc", "other", "same"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    view = f'mount --bind {tmp_path}/other {tmp_path}/etc && exec -a containerd "$@"'
    enter = ("unshare", "--mount", "--propagation", "private", "bash", "-c", view, "bash")
    if subprocess.run([*enter[:4], "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    daemons = []
    for name in ("etc", "same"):
        config = f"{tmp_path}/{name}/config.toml"
        with listener.running("", tmp_path / "c.sock", "--config", config, enter=enter):
            daemons.append(running.find(containerd.ENGINE))

    first, second = daemons
    assert first is not None
    assert first.elsewhere.startswith(f"containerd (pid {first.pid}) runs in a mount namespace")
    assert second is not None
    assert second.elsewhere == ""


@pytest.mark.parametrize(
    ("engine", "words", "default"),
    [
        (docker.ENGINE, ("dockerd", "-H", "fd://"), ""),
        (docker.ENGINE, ("dockerd", "--add-runtime=nvidia=/usr/bin/x"), ""),
        (docker.ENGINE, ("dockerd", "--default-runtime", "x"), "x"),
        (docker.ENGINE, ("dockerd", "--default-runtime=x"), "x"),
        (crio.ENGINE, ("crio", "--default-runtime=crun"), "crun"),
        (crio.ENGINE, ("crio", "--runtimes=a:b:c"), ""),
    ],
)
def test_default_runtime_that_a_flag_names(
    host: Host, engine: Engine, words: tuple[str, ...], default: str
) -> None:
    socket = engine.profiles[0].sockets[0]
    host.runs(*words, at=socket, program=f"/usr/bin/{engine.program}")

    daemon = running.find(engine, str(host.root))

    assert daemon is not None
    assert daemon.default == default


def test_two_that_run_are_both_found(host: Host) -> None:
    own, other = "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"
    host.runs("containerd", at=own, program="/usr/bin/containerd")
    (host.root / "run/k3s/containerd").mkdir(parents=True)
    (host.root / other.lstrip("/")).touch()
    process = host.root / "proc/7"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("socket:[99]")
    (process / "exe").symlink_to("/nowhere/k3s")
    (process / "cwd").symlink_to("/")
    (process / "cmdline").write_bytes(f"containerd\0-c\0{K3S}/agent/etc/x.toml\0".encode())
    row = f"0000000000000000: 00000002 00000000 00010000 0001 01 99 {host.root}{other}\n"
    with (host.root / "proc/net/unix").open("a") as table:
        table.write(row)

    daemons = running.all_of(containerd.ENGINE, str(host.root))

    assert [(daemon.pid, daemon.profile.name) for daemon in daemons] == [(99, ""), (7, "k3s")]


def test_kernel_tells_which_process_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.sock"
    monkeypatch.setenv("CONTAINERD_ADDRESS", str(path))
    with listener.running("containerd", path, "--config", "x/c.toml") as daemon:
        engine = running.find(containerd.ENGINE)

    assert engine is not None
    assert (engine.pid, engine.socket) == (daemon.pid, str(path))
    assert engine.config == f"{Path.cwd()}/x/c.toml"
    assert engine.executable == os.path.realpath(engine.executable)


def test_systemd_listened_and_handed_the_socket_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here our process is the peer of the socket, instead of systemd; the daemon holds it open."""
    path = tmp_path / "d.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with listener.running("dockerd", path, "-H", "fd://", fd=server.fileno()) as daemon:
            assert processes.peer(str(path)) == os.getpid()
            engine = running.find(docker.ENGINE)

    assert engine is not None
    assert (engine.pid, engine.socket) == (daemon.pid, str(path))


def test_another_program_at_the_socket_is_not_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    monkeypatch.setenv("PATH", "/nowhere")
    with listener.running("podman", tmp_path / "d.sock"):
        daemon = running.find(docker.ENGINE)

    assert daemon is None or daemon.pid == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_machine_has_no_engine(tmp_path: Path, engine: str) -> None:
    assert running.find(ENGINES[engine], str(tmp_path)) is None


@pytest.mark.parametrize("name", ENGINES)
def test_engine_that_is_installed_only(tmp_path: Path, name: str) -> None:
    engine = ENGINES[name]
    program = tmp_path / "usr/sbin" / engine.program
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    daemon = running.find(engine, str(tmp_path))

    assert daemon is not None
    assert (daemon.pid, daemon.executable) == (0, f"/usr/sbin/{engine.program}")
    if os.geteuid() == 0:
        assert daemon.config == engine.profiles[0].config


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 5d6db84", (20, 10, 24)),
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1", (1, 6, 20)),
        ("containerd github.com/containerd/containerd/v2 v2.0.0-rc.1 207ad711", (2, 0, 0)),
        ("crio version 1.28.4\nVersion: 1.28.4", (1, 28, 4)),
        ("podman version 5.2", (5, 2)),
        ("no number", ()),
    ],
)
def test_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, version: tuple[int, ...]
) -> None:
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{output}\nE\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    daemon = running.find(podman.ENGINE)

    assert daemon is not None
    assert daemon.version == version


def test_podman_is_told_of_its_file_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CONTAINERS_CONF", "/srv/containers.conf")

    daemon = running.find(podman.ENGINE)

    assert daemon is not None
    assert daemon.config == "/srv/containers.conf"
