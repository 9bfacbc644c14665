# SPDX-License-Identifier: Apache-2.0
"""The trial by docker, podman and containerd: real daemons on a simulated machine, with faults."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import waiting
from cli import ctk
from distributions.site import Site, hold
from engines import containerd, docker, podman, processes
from engines.conftest import group, machine, scratch  # noqa: F401 (fixtures)
from engines.installed import require, version_of
from engines.machine import Machine

from nvidia_runtime.doctor.finding import ERROR, WARNING
from nvidia_runtime.doctor.trial import codes
from nvidia_runtime.engines.docker import ENGINE as DOCKER

from .patient import Answer
from .test_trial import HEEDING, check_nothing_left, said

pytestmark = pytest.mark.long
PLAIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CDI = "/etc/cdi/nvidia.yaml"
NOBODY = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A machine on which an engine runs, and the environment in which its user is."""

    site: Site
    engine: str
    env: Mapping[str, str]
    pid: int = 0
    user: tuple[str, ...] = ()

    def attempt(self) -> Answer:
        """Try the engine, and see that nothing is left."""
        place = Path(self.env["HOME"]) / f"tmp-{self.engine}"
        place.mkdir(exist_ok=True)
        words = self.words("doctor", "--try", self.engine, "--json", TMPDIR=str(place))
        got = processes.run([*self.site.enter, *words])
        assert "Traceback" not in got.stderr, got.stderr
        assert got.stdout, got.stderr
        check_nothing_left(place)
        return Answer(got.returncode, json.loads(got.stdout))

    def words(self, *words: str, **env: str) -> list[str]:
        """Return the words that run nvidia-ctk as the engine's user."""
        variables = [f"{name}={value}" for name, value in {**self.env, **env}.items()]
        return [*self.user, "env", "-i", *variables, sys.executable, "-c", ctk.PROGRAM, *words]

    def nvidia_ctk(self, *words: str) -> None:
        """Run nvidia-ctk on the machine."""
        self.site.succeed(*self.words(*words))


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:  # noqa: F811
    """Keep a machine with a GPU."""
    require("runc")
    with hold("t4x1", machine.scratch / "simulated", machine.shim) as held:
        yield held


def environment(site: Site, **env: object) -> dict[str, str]:
    path = f"{site.shim.parent}:{PLAIN}"
    own = {"PATH": path, "PYTHONPATH": str(site.shim.parents[2]), "HOME": str(site.scratch)}
    return own | {name: str(value) for name, value in env.items()}


@contextmanager
def spec(patient: Patient, *edit: str) -> Iterator[None]:
    """Keep a CDI spec on the machine, edited by sed."""
    hook = patient.site.shim.with_name("nvidia-cdi-hook")
    words = ("cdi", "generate", f"--output={CDI}", f"--nvidia-cdi-hook-path={hook}")
    patient.nvidia_ctk(*words)
    try:
        if edit:
            patient.site.succeed("sed", "-i", *edit, CDI)
        yield
    finally:
        patient.site.succeed("rm", CDI)


# docker


@pytest.fixture(scope="module")
def docker_folder(site: Site, group: str) -> Path:  # noqa: F811
    """Make a daemon.json, without our runtime."""
    require("dockerd")
    require("docker")
    folder = site.scratch / "d"
    folder.mkdir()
    settings = docker.settings(folder, containerd=Path(), group=group)
    del settings["containerd"]
    (folder / "daemon.json").write_text(json.dumps(settings))
    return folder


@contextmanager
def dockerd(site: Site, file: Path, path: str) -> Iterator[Patient]:
    env = environment(site, DOCKER_HOST=f"unix://{file.parent}/d.sock")
    with docker.daemon_on(file, env={**os.environ, "PATH": path}, enter=site.enter):
        pid = int((file.parent / "pid").read_text())
        yield Patient(site=site, engine="docker", env=env, pid=pid)


def check_docker_is_empty(patient: Patient) -> None:
    host = ("docker", "--host", patient.env["DOCKER_HOST"])
    assert processes.succeed([*host, "ps", "--all", "--quiet"]) == ""
    assert processes.succeed([*host, "images", "--quiet"]) == ""


def test_docker(site: Site, docker_folder: Path) -> None:
    """One daemon, in the order of a life: no runtime, then ours, then it hangs, then it ends."""
    file = docker_folder / "daemon.json"
    with dockerd(site, file, PLAIN) as patient:
        answer = patient.attempt()
        assert said(answer) == [codes.NO_WAY.id]
        assert answer.finding(codes.NO_WAY.id)["engine"] == "docker"
        check_docker_is_empty(patient)
        program = f"--nvidia-runtime-path={site.shim}"
        patient.nvidia_ctk("runtime", "configure", "--runtime=docker", f"--config={file}", program)

    with dockerd(site, file, f"{site.shim.parent}:{PLAIN}") as patient:
        answer = patient.attempt()
        assert said(answer) == []
        assert answer.document["fine"]["trial"] == [
            f"docker run --runtime=nvidia {asked}:"
            " 1 GPU, 5 nodes, libcuda 580.95.05 loads, cuInit 0"
            for asked in ("-e NVIDIA_VISIBLE_DEVICES=all", "--gpus all")
        ]
        assert answer.document["engines"]["docker"] == ""
        check_docker_is_empty(patient)

        if version_of("docker") >= DOCKER.cdi_by_default:
            with spec(patient):
                answer = patient.attempt()
            assert said(answer) == []
            assert answer.document["fine"]["trial"][2].startswith(
                "docker run --device nvidia.com/gpu=all: 1 GPU, 5 nodes, libcuda"
            )

        os.kill(patient.pid, signal.SIGSTOP)
        try:
            answer = patient.attempt()
        finally:
            os.kill(patient.pid, signal.SIGCONT)
        assert said(answer) == [codes.SILENT.id]

    answer = patient.attempt()
    assert said(answer) == [codes.SILENT.id]
    assert answer.finding(codes.SILENT.id)["what"] == "docker: it does not run"


def test_docker_with_a_runtime_that_is_not_there(site: Site, docker_folder: Path) -> None:
    file = docker_folder / "daemon.json"
    document = json.loads(file.read_text())
    document["runtimes"] = {"nvidia": {"path": "/usr/local/bin/nvidia-container-runtime-broken"}}
    file.write_text(json.dumps(document))
    with dockerd(site, file, PLAIN) as patient:
        answer = patient.attempt()

        assert said(answer) == [codes.REFUSED.id]
        assert "nvidia-container-runtime-broken" in answer.finding("NCT-0805")["what"]
        assert answer.finding("NCT-0805")["severity"] == ERROR
        check_docker_is_empty(patient)


# Our runtime, after a program that changes what the container runs: it waits.
WAITING = """#!/bin/sh
case " $* " in *" create "*) {python} - "$@" <<'END' || exit 1
import json, os, sys
bundle = sys.argv[sys.argv.index("--bundle") + 1]
root = json.load(open(bundle + "/config.json"))["root"]["path"]
with open(os.path.join(bundle, root, "nvidia-doctor/look.py"), "w") as file:
    file.write("import _signal; _signal.pause()")
END
esac
exec {shim} "$@"
"""
REFUSING = """#!/bin/sh
case " $* " in *" create "*) echo it does not like that >&2; exit 1 ;; esac
exec {shim} "$@"
"""


def program(site: Site, text: str) -> Path:
    """Write a program that goes for our runtime."""
    folder = site.scratch / f"program-{abs(hash(text))}"
    folder.mkdir(exist_ok=True)
    path = folder / "nvidia-container-runtime"
    path.write_text(text.format(python=sys.executable, shim=site.shim))
    path.chmod(0o755)
    return path


def interrupt(patient: Patient, is_there: Callable[[int], object]) -> None:
    """Try the engine, press Ctrl-C when the container is there, and see that nothing is left."""
    place = patient.site.scratch / f"tmp-{patient.engine}"
    place.mkdir(exist_ok=True)
    words = patient.words("doctor", "--try", patient.engine, TMPDIR=str(place))
    with subprocess.Popen(
        [*HEEDING, *patient.site.enter, *words], stderr=subprocess.PIPE
    ) as process:
        waiting.eventually(lambda: is_there(process.pid), "the container runs", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=waiting.PATIENCE)
    assert process.returncode not in (0, 1)
    check_nothing_left(place)


def test_docker_after_ctrl_c(site: Site, docker_folder: Path) -> None:
    file = docker_folder / "daemon.json"
    document = json.loads(file.read_text())
    document["runtimes"] = {"nvidia": {"path": str(program(site, WAITING))}}
    file.write_text(json.dumps(document))
    with dockerd(site, file, PLAIN) as patient:
        asked = ("docker", "--host", patient.env["DOCKER_HOST"], "ps", "--quiet")

        interrupt(patient, lambda _: processes.succeed(asked))

        check_docker_is_empty(patient)


# podman


@pytest.fixture(scope="module")
def on_podman(site: Site) -> Patient:
    """Return podman a folder of its own."""
    require("podman")
    require("conmon")
    folder = site.scratch / "p"
    folder.mkdir()
    text = podman.CONFIG + f'runtime = "runc"\ntmp_dir = "{folder}/tmp"\n'
    (folder / "containers.conf").write_text(text)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    names = {
        "CONTAINERS_CONF": folder / "containers.conf",
        "CONTAINERS_STORAGE_CONF": folder / "storage.conf",
    }
    return Patient(site=site, engine="podman", env=environment(site, **names))


@contextmanager
def runtime(patient: Patient, program: str | Path) -> Iterator[None]:
    """Keep a runtime in podman's file."""
    config = Path(patient.env["CONTAINERS_CONF"])
    before = config.read_text()
    config.write_text(f'{before}[engine.runtimes]\nnvidia = ["{program}"]\n')
    try:
        yield
    finally:
        config.write_text(before)


@pytest.fixture
def on_rootless_podman(on_podman: Patient) -> Iterator[Patient]:
    """Return podman of a user who has no other user's id."""
    site = on_podman.site
    user = (require("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if site.run(*user, sys.executable, "-c", "import plumbum").returncode:
        pytest.skip(f"another user cannot run {sys.executable}")
    folder = site.scratch / "u"
    place = folder / "tmp-podman"
    place.mkdir(parents=True)
    for name in ("containers.conf", "storage.conf"):
        text = Path(on_podman.env["CONTAINERS_CONF"]).with_name(name).read_text()
        (folder / name).write_text(text.replace(f"{site.scratch}/p/", f"{folder}/"))
    for path in (folder, place):
        shutil.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)
    names = {
        "CONTAINERS_CONF": folder / "containers.conf",
        "CONTAINERS_STORAGE_CONF": folder / "storage.conf",
        "XDG_RUNTIME_DIR": folder,
        "HOME": folder,
    }
    yield replace(on_podman, env=environment(site, **names), user=user)
    for file in folder.rglob("pause.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def check_podman_is_empty(patient: Patient) -> None:
    words = [f"{name}={value}" for name, value in patient.env.items()]
    asked = ("podman", "ps", "--all", "--quiet", "--external")
    assert patient.site.succeed("env", *words, *asked) == ""


def test_podman_without_a_way(on_podman: Patient) -> None:
    answer = on_podman.attempt()

    assert said(answer) == [codes.NO_WAY.id]
    assert answer.finding(codes.NO_WAY.id)["next"].startswith("nvidia-ctk cdi generate")


def test_podman_by_cdi(on_podman: Patient) -> None:
    with spec(on_podman):
        answer = on_podman.attempt()

    assert said(answer) == []
    assert answer.document["fine"]["trial"] == [
        "podman run --device nvidia.com/gpu=all: 1 GPU, 5 nodes, libcuda 580.95.05 loads, cuInit 0"
    ]
    check_podman_is_empty(on_podman)


def test_rootless_podman_by_cdi(on_podman: Patient, on_rootless_podman: Patient) -> None:
    with spec(on_podman):
        answer = on_rootless_podman.attempt()

    assert said(answer) == []
    assert answer.document["fine"]["trial"][0].startswith("podman run --device")


def test_podman_with_old_numbers(on_podman: Patient) -> None:
    """As after a restart, with a spec that has the major number of the time before."""
    numbers = r"/path: .dev.nvidia-uvm$/{n;s/511/77/}"
    with spec(on_podman, numbers):
        answer = on_podman.attempt()

    assert said(answer) == [codes.NODE_NUMBERS.id]
    what = answer.finding(codes.NODE_NUMBERS.id)["what"]
    assert what == "/dev/nvidia-uvm: it is 77:0 in the container, and 511:0 on the host"


def test_podman_with_libraries_of_another_version(on_podman: Patient) -> None:
    """As after an update without a restart; our own runtime refuses such a spec."""
    file = "/sys/module/nvidia/version"
    with spec(on_podman):
        on_podman.site.succeed("sh", "-c", f"echo 575.57.08 >{file}")
        try:
            answer = on_podman.attempt()
        finally:
            on_podman.site.succeed("sh", "-c", f"echo 580.95.05 >{file}")

    assert said(answer) == [codes.LIBRARY_VERSION.id]
    what = answer.finding(codes.LIBRARY_VERSION.id)["what"]
    assert what == "libcuda is of version 580.95.05, the module of 575.57.08"
    assert answer.finding(codes.LIBRARY_VERSION.id)["severity"] == WARNING


def test_podman_by_our_runtime(on_podman: Patient) -> None:
    with runtime(on_podman, on_podman.site.shim):
        answer = on_podman.attempt()

    assert said(answer) == []
    (line,) = answer.document["fine"]["trial"]
    assert line.startswith("podman --runtime=nvidia run -e NVIDIA_VISIBLE_DEVICES=all: 1 GPU")


def test_what_fails_in_one_way_only_is_a_warning(on_podman: Patient) -> None:
    with spec(on_podman), runtime(on_podman, "/opt/nvidia-container-runtime"):
        answer = on_podman.attempt()

    assert said(answer) == [codes.REFUSED.id]
    assert 'runtime "nvidia" not found' in answer.finding(codes.REFUSED.id)["what"]
    assert answer.finding(codes.REFUSED.id)["severity"] == WARNING
    assert answer.document["engines"]["podman"] == ""
    assert len(answer.document["fine"]["trial"]) == 1


def test_podman_after_ctrl_c(on_podman: Patient) -> None:
    words = [f"{name}={value}" for name, value in on_podman.env.items()]
    asked = ("env", *words, "podman", "ps", "--quiet")
    with runtime(on_podman, program(on_podman.site, WAITING)):
        interrupt(on_podman, lambda _: on_podman.site.succeed(*asked))

    check_podman_is_empty(on_podman)


# containerd


@pytest.fixture(scope="module")
def on_containerd(site: Site) -> Iterator[Patient]:
    """Run containerd."""
    require("containerd")
    require("ctr")
    folder = site.scratch / "c"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(containerd.CONFIG)
    with containerd.daemon_on(file, env=os.environ, enter=site.enter) as socket:
        names = {"CONTAINERD_ADDRESS": socket, "CONTAINERD_SNAPSHOTTER": containerd.SNAPSHOTTER}
        yield Patient(site=site, engine="containerd", env=environment(site, **names))


def check_containerd_is_empty(patient: Patient) -> None:
    ctr = ("ctr", "--address", patient.env["CONTAINERD_ADDRESS"], "namespaces", "ls", "--quiet")
    assert "nvidia-doctor" not in processes.succeed(ctr)


def test_containerd(on_containerd: Patient) -> None:
    answer = on_containerd.attempt()

    assert said(answer) == []
    (line,) = answer.document["fine"]["trial"]
    assert line.startswith("ctr run --runc-binary ")
    assert line.endswith(": 1 GPU, 5 nodes, libcuda 580.95.05 loads, cuInit 0")
    check_containerd_is_empty(on_containerd)


def test_containerd_without_room_for_an_image(on_containerd: Patient) -> None:
    env = {**on_containerd.env, "CONTAINERD_SNAPSHOTTER": "none-such"}
    answer = replace(on_containerd, env=env).attempt()

    assert said(answer) == [codes.IMAGE.id]
    assert answer.finding(codes.IMAGE.id)["severity"] == WARNING
    assert "none-such" in answer.finding(codes.IMAGE.id)["what"]
    check_containerd_is_empty(on_containerd)


def with_program(patient: Patient, text: str) -> Patient:
    """Return the engine's user with another program for our runtime."""
    path = f"{program(patient.site, text).parent}:{patient.env['PATH']}"
    return replace(patient, env={**patient.env, "PATH": path})


def test_containerd_with_a_runtime_that_refuses(on_containerd: Patient) -> None:
    answer = with_program(on_containerd, REFUSING).attempt()

    assert said(answer) == [codes.REFUSED.id]
    assert "did not terminate successfully" in answer.finding(codes.REFUSED.id)["what"]
    check_containerd_is_empty(on_containerd)


def test_containerd_after_ctrl_c(on_containerd: Patient) -> None:
    ctr = ("ctr", "--address", on_containerd.env["CONTAINERD_ADDRESS"], "--namespace")

    def is_there(pid: int) -> bool:
        asked = processes.run([*ctr, f"nvidia-doctor-{pid}", "tasks", "ls"])
        return "RUNNING" in asked.stdout

    interrupt(with_program(on_containerd, WAITING), is_there)

    check_containerd_is_empty(on_containerd)
