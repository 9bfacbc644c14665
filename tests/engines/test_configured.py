# SPDX-License-Identifier: Apache-2.0
"""docker and podman, started on the files that `nvidia-ctk runtime configure` writes.

Each story is the same: ours is added and runs a container, becomes the default and runs one that
does not name it, and goes again, after which the files are those that the engine had before.
"""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import waiting
from cli import ctk

from . import configured, containerd, docker, installed, podman, processes, rootfs
from .installed import require
from .machine import Machine

IN_PLACE = "--drop-in-config="


def test_docker(
    machine: Machine, image: Path, containerd_socket: Path, group: str, daemon_env: dict[str, str]
) -> None:
    require("dockerd")
    require("docker")
    folder = machine.scratch / "cd"
    folder.mkdir()
    file = folder / "daemon.json"
    settings = docker.settings(folder, containerd=containerd_socket, group=group)
    file.write_text(json.dumps(settings, indent=3))
    before = configured.tree(folder)
    runtime = machine.runtime("configured-docker", require("runc"))
    flags = (f"--config={file}", f"--nvidia-runtime-path={runtime.path}")
    here = {"DOCKER_HOST": f"unix://{folder}/d.sock"}

    configured.tell(folder, "configure", "docker", *flags)

    with docker.daemon_on(file, env=daemon_env) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        run = (*client, "run", "--rm", "--network=none", "--env=NVIDIA_VISIBLE_DEVICES=0")
        assert configured.lines((*run, "--runtime=nvidia", rootfs.IMAGE)) == configured.SEEN
        assert configured.lines((*run, rootfs.IMAGE)) == ""
        assert configured.status("docker", **here)["restart_needed"] is False

        configured.tell(folder, "configure", "docker", *flags, "--set-as-default", **here)
        assert configured.status("docker", **here)["restart_needed"] is True
        said = configured.tell(folder, "configure", "docker", *flags, "--restart=signal", **here)

        assert "docker has not read its files since they changed" in said
        assert "was told to read runtimes and the default runtime" in said
        waiting.eventually(lambda: default_of(client) == "nvidia", "nvidia is the default")
        assert configured.lines((*run, rootfs.IMAGE)) == configured.SEEN
        status = configured.status("docker", **here)
        assert (status["running"], status["file"], status["runtimes"], status["is_default"]) == (
            True,
            os.fspath(file),
            ["nvidia"],
            True,
        )
        assert status["restart_needed"] is False

        configured.tell(folder, "unconfigure", "docker", f"--config={file}")

        assert configured.tree(folder) == before
        assert configured.status("docker", **here)["restart_needed"] is True
    with docker.daemon_on(file, env=daemon_env) as client:
        run = (*client, "run", "--rm", "--network=none", "--env=NVIDIA_VISIBLE_DEVICES=0")
        assert configured.lines((*run, rootfs.IMAGE)) == ""
        refused = processes.run([*run, "--runtime=nvidia", rootfs.IMAGE, "true"])
        assert "nvidia" in refused.stderr
        assert refused.returncode != 0


def default_of(client: tuple[str, ...]) -> str:
    """Return the runtime of containers that name none."""
    return processes.succeed([*client, "info", "--format", "{{.DefaultRuntime}}"]).strip()


def test_docker_that_would_not_start_again_is_left_alone(
    machine: Machine, containerd_socket: Path, group: str, daemon_env: dict[str, str]
) -> None:
    """dockerd refuses a default runtime that is given by flag and by file."""
    require("dockerd")
    require("docker")
    folder = machine.scratch / "cf"
    folder.mkdir()
    file = folder / "daemon.json"
    settings = docker.settings(folder, containerd=containerd_socket, group=group)
    file.write_text(json.dumps(settings))
    before = configured.tree(folder)
    words = ("runtime", "configure", "--runtime=docker", "--set-as-default")
    flag = "--default-runtime=runc"
    here = {"DOCKER_HOST": f"unix://{folder}/d.sock", "STATE_DIRECTORY": f"{folder}/journal"}

    with docker.daemon_on(file, env=daemon_env, flags=[flag]):
        got = ctk.run(*words, **here)

    assert got.code == 1
    assert "docker is started with --default-runtime=runc, and does not start again when" in got.err
    assert configured.tree(folder) == before
    file.write_text(json.dumps({**settings, "default-runtime": "runc"}))
    refused = processes.run(["dockerd", "--config-file", os.fspath(file), flag])
    assert "specified both as a flag and in the configuration file" in refused.stderr


CRI = "io.containerd.grpc.v1.cri"
# A node that has followed the instructions for kubernetes: ours is the default and the only one.
ONLY_OURS = f"""\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."{CRI}"]
restrict_oom_score_adj = true
[plugins."{CRI}".containerd]
default_runtime_name = "nvidia"
snapshotter = "native"
[plugins."{CRI}".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."{CRI}".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = true
"""


@pytest.mark.parametrize("program", ["nvidia-container-runtime", "another"])
@pytest.mark.parametrize("drop_in", ["", "conf.d/99-nvidia.toml"], ids=["in place", "drop-in"])
def test_containerd_that_had_only_ours(
    machine: Machine, daemon_env: dict[str, str], drop_in: str, program: str
) -> None:
    """containerd 1 starts without CRI where the runtime that is the default is missing.

    Ours stays the default; it does not become it in the place of another of its name.
    """
    require("containerd")
    if installed.version_of("containerd") >= (2,):
        pytest.skip("containerd 2 has a runc of its own beside a table of runtimes")
    require("ctr")
    folder = machine.scratch / f"co{len(drop_in)}{program[0]}"
    folder.mkdir()
    file = folder / "config.toml"
    before = ONLY_OURS.replace("nvidia-container-runtime", program)
    file.write_text(before)
    where = (f"--config={file}", f"--drop-in-config={folder / drop_in if drop_in else ''}")

    said = configured.tell(folder, "configure", "containerd", *where)

    is_ours = program != "another"
    assert ("nvidia is no longer the default runtime" in said) is not is_ours
    with containerd.daemon_on(file, env=daemon_env) as socket:
        listing = processes.succeed(["ctr", "--address", os.fspath(socket), "plugins", "ls"])
        (cri,) = [line.split() for line in listing.splitlines() if " cri " in line]
        assert cri[-1] == "ok"
    dump = tomllib.loads(processes.succeed(["containerd", "-c", os.fspath(file), "config", "dump"]))
    table = dump["plugins"][CRI]["containerd"]
    default = "nvidia" if is_ours else "runc"
    assert table["default_runtime_name"] == default
    assert table["runtimes"][default]["options"]["SystemdCgroup"] is True
    configured.tell(folder, "unconfigure", "containerd", *where)
    if "nothing to change" in said:  # then there is no record, and all of ours goes
        assert "nvidia" not in file.read_text()
    else:
        assert configured.tree(folder) == {"config.toml": before.encode()}


@pytest.mark.parametrize("version", [1, 2])
def test_containerd_with_an_import_that_hides_ours(machine: Machine, version: int) -> None:
    """It takes the whole table of CRI from the last file that has one, which the warning names."""
    require("containerd")
    if installed.version_of("containerd") >= (2,):
        pytest.skip("containerd 2 merges the tables of its files")
    folder = machine.scratch / f"ch{version}"
    folder.mkdir()
    file, other = folder / "config.toml", folder / "other.toml"
    head, cri = ("", "cri") if version == 1 else ("version = 2\n", f'"{CRI}"')
    file.write_text(
        f"{head}imports = ['{other}']\n[plugins.{cri}.containerd.runtimes.runc]\n"
        "runtime_type = 'io.containerd.runc.v2'\n"
    )
    other.write_text(f"{head}[plugins.{cri}.cni]\nbin_dir = '/usr/lib/cni'\n")
    before = configured.tree(folder)
    dump = ("containerd", "-c", os.fspath(file), "config", "dump")

    said = configured.tell(folder, "configure", "containerd", f"--config={file}", IN_PLACE)

    assert f"{other} is read after {file} and hides the runtime there" in said
    assert "no runtime runc" not in said
    assert "nvidia" not in processes.succeed(dump).replace(os.fspath(folder), "")

    configured.tell(folder, "configure", "containerd", f"--config={other}", IN_PLACE)

    assert "runtimes.nvidia]" in processes.succeed(dump)
    assert "runtimes.runc]" in processes.succeed(dump)
    for path in (file, other):
        configured.tell(folder, "unconfigure", "containerd", f"--config={path}", IN_PLACE)
    assert configured.tree(folder) == before


@pytest.mark.parametrize("drop_in", [True, False], ids=["drop-in", "in place"])
def test_podman(machine: Machine, busybox: str, group: str, *, drop_in: bool) -> None:
    require("podman")
    require("conmon")
    folder = machine.scratch / f"cp{drop_in:d}"
    folder.mkdir()
    file = folder / "containers.conf"
    file.write_text(f"# of this host\n{podman.CONFIG}" + 'runtime = "runc" # not crun\n')
    before = configured.tree(folder)
    runtime = machine.runtime(f"configured-podman-{drop_in:d}", require("runc"))
    into = folder / "containers.conf.d/99-nvidia.conf"
    where = (f"--config={file}", f"--drop-in-config={into if drop_in else ''}")
    flags = (*where, f"--nvidia-runtime-path={runtime.path}")
    rootfs.build(folder / "rootfs", busybox)
    look = Looker(folder=folder, root=folder / "rootfs", group=group)

    configured.tell(folder, "configure", "podman", *flags)

    assert look.by("nvidia") == configured.SEEN
    assert look.by("") == ""

    configured.tell(folder, "configure", "podman", *flags, "--set-as-default")

    assert look.by("") == configured.SEEN

    configured.tell(folder, "unconfigure", "podman", *where)

    assert configured.tree(folder) == before
    assert look.by("") == ""


def test_podman_that_is_told_of_its_file(machine: Machine) -> None:
    """By a variable, with which it reads no drop-in."""
    require("podman")
    folder = machine.scratch / "cv"
    folder.mkdir()
    file = folder / "own.conf"
    file.write_text(f"{podman.CONFIG}" + 'runtime = "runc" # not crun\n')
    runtime = machine.runtime("configured-podman-variable", require("runc"))
    flags = (f"--nvidia-runtime-path={runtime.path}", "--set-as-default")
    told = {"CONTAINERS_CONF": os.fspath(file)}

    configured.tell(folder, "configure", "podman", *flags, **told)

    view = ["podman", "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}"]
    got = processes.succeed(
        [*view[:1], f"--root={folder}/r", *view[1:]], env={**os.environ, **told}
    )
    assert got.strip() == f"nvidia {runtime.path}"
    assert not Path(f"{file}.d").exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Containers of podman where /etc/containers is a folder of ours."""

    folder: Path
    root: Path
    group: str

    def by(self, runtime: str) -> str:
        """Run a container that asks for a GPU; "" is the default runtime."""
        folder = shlex.quote(os.fspath(self.folder))
        view = f'mount --bind {folder} /etc/containers && exec "$@"'
        words = (
            "unshare", "--mount", "--propagation", "private", "sh", "-c", view, "sh",
            "podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run",
            "--tmpdir", f"{self.folder}/tmp", "--storage-driver", "vfs",
            *(("--runtime", runtime) if runtime else ()),
            "run", "--rm", "--network=none", f"--cgroup-parent=/{self.group}",
            "--env=NVIDIA_VISIBLE_DEVICES=0", "--rootfs", os.fspath(self.root),
        )  # fmt: skip
        return configured.lines(
            words, env={"PATH": os.environ["PATH"], "HOME": os.fspath(self.folder), **podman.QUIET}
        )
