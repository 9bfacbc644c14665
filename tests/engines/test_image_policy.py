# SPDX-License-Identifier: Apache-2.0
"""Images that are not trusted, in engines whose files tell what an image says itself."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvidia_runtime.admission import image as image_env

from . import installed, processes, rootfs
from .containerd import Containerd
from .docker import Docker
from .machine import Machine
from .podman import Podman
from .rootfs import IMAGE

LOOK = ("sh", "-c", "echo /dev/nvidia*")
NOTHING = "/dev/nvidia*\n"
FIRST = "/dev/nvidia0 /dev/nvidiactl\n"
SECOND = "/dev/nvidia1 /dev/nvidiactl\n"
ASKING_IMAGE = "localhost/nvcr-asking:latest"
ANNOTATION = "cdi.k8s.io/of-the-image=nvidia.com/gpu=0"


@contextmanager
def settings(machine: Machine, runtime: str, *lines: str) -> Iterator[Path]:
    """Add settings to a runtime's config.toml for a while; yield its log."""
    file = machine.scratch / "runtimes" / runtime / "config.toml"
    log = machine.scratch / f"{runtime}-images.log"
    before = file.read_text()
    added = (*lines, f"debug = {json.dumps(os.fspath(log))}")
    file.write_text(before.replace('mode = "cdi"\n', "\n".join(('mode = "cdi"', *added, ""))))
    try:
        yield log
    finally:
        file.write_text(before)
        log.unlink(missing_ok=True)


DENY = ('image-requests = "deny"',)
LISTED = ('image-requests = "listed"', 'image-devices = ["0"]')
REFUSED = (
    r"ignoring NVIDIA_VISIBLE_DEVICES of the image (0); "
    r"nvidia-container-runtime.image-requests is \"deny\""
)
CASES = [
    pytest.param((), None, FIRST, id="trusted"),
    pytest.param(DENY, None, NOTHING, id="denied"),
    pytest.param(DENY, "1", SECOND, id="denied, but the user asks"),
    pytest.param(DENY, "0", NOTHING, id="denied, and the user asks in the image's words"),
    pytest.param(LISTED, None, FIRST, id="listed"),
]


@pytest.fixture(scope="module")
def docker(live_docker: Docker) -> Docker:
    """Return docker an image that asks for the first GPU."""
    words = live_docker.docker
    container = processes.succeed([*words, "create", IMAGE, "true"]).strip()
    change = "ENV NVIDIA_VISIBLE_DEVICES=0"
    processes.succeed([*words, "commit", "--change", change, container, ASKING_IMAGE])
    processes.succeed([*words, "rm", container])
    return live_docker


@pytest.mark.parametrize(("lines", "gpus", "seen"), CASES)
def test_docker(
    lines: Sequence[str], gpus: str | None, seen: str, docker: Docker, machine: Machine
) -> None:
    with settings(machine, "docker", *lines) as log:
        words = (*docker.run_words(gpus, "nvidia"), "--rm", ASKING_IMAGE, *LOOK)
        done = processes.run(words)

        assert (done.stdout, done.returncode) == (seen, 0), done.stderr
        assert (REFUSED in log.read_text()) == (seen == NOTHING)


def test_gpus_of_docker_are_the_users(docker: Docker, machine: Machine) -> None:
    """With --gpus the daemon itself sets the variable, whatever the image says."""
    containers = [
        processes.succeed([*docker.docker, "create", *options, ASKING_IMAGE, "true"]).strip()
        for options in ((), ("--gpus", "all"))
    ]
    spec = {"root": {"path": os.fspath(machine.scratch / "d/data/vfs/dir/any")}}
    images = [image_env.read(spec, container) for container in containers]
    docker.clean()

    says = [image and "NVIDIA_VISIBLE_DEVICES=0" in image.environment for image in images]
    assert says == [True, False]


@pytest.fixture(scope="module")
def podman(live_podman: Podman, machine: Machine, busybox: str) -> Podman:
    """Return podman an image that asks for the first GPU, by its environment and an annotation."""
    folder = machine.scratch / "image-that-asks"
    folder.mkdir()
    with tarfile.open(folder / "layer.tar", mode="w") as tar:
        tar.add(machine.scratch / "rootfs", arcname=".")
    (folder / "Containerfile").write_text(
        "FROM scratch\nADD layer.tar /\nENV NVIDIA_VISIBLE_DEVICES=0\n"
    )
    words = live_podman.podman(live_podman.runtime)
    for name, options in ((ASKING_IMAGE, ()), (f"{ASKING_IMAGE}-2", ("--annotation", ANNOTATION))):
        build = (*words, "build", "--no-cache", "--tag", name, *options, os.fspath(folder))
        done = processes.run(build, env=live_podman.env)
        if done.returncode != 0:
            pytest.skip(f"podman cannot build an image here: {done.stderr}")
    return live_podman


@pytest.mark.parametrize(("lines", "gpus", "seen"), CASES)
def test_podman(
    lines: Sequence[str], gpus: str | None, seen: str, podman: Podman, machine: Machine
) -> None:
    with settings(machine, "podman", *lines) as log:
        words = (*podman.podman(podman.runtime), "run", *podman.run_words(gpus), "--rm")
        done = processes.run([*words, ASKING_IMAGE, *LOOK], env=podman.env)

        assert (done.stdout, done.returncode) == (seen, 0), done.stderr
        assert (REFUSED in log.read_text()) == (seen == NOTHING)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(" NVIDIA_VISIBLE_DEVICES=0", id="a blank in front"),
        pytest.param("\tNVIDIA_VISIBLE_DEVICES=0", id="a tab in front"),
        pytest.param("NVIDIA_VISIBLE_DEVICES=all,\ud800", id="half of a character"),
        pytest.param("NVIDIA_VISIBLE_DEVICES", id="podman's own"),
        pytest.param("NVIDIA_VIS*", id="all of podman's own"),
    ],
)
def test_name_as_podman_reads_it(
    entry: str, podman: Podman, machine: Machine, tmp_path: Path
) -> None:
    """What podman makes of an image's entry is the image's, too: it gets nothing by it."""
    if installed.version_of("podman") >= (5,):
        pytest.skip("podman 5 refuses such an image, or takes the name as it is")
    name = "localhost/nvcr-odd-names:latest"
    rootfs.archive(machine.scratch / "rootfs", tmp_path / "image", name=name, env=(entry,))
    words = podman.podman(podman.runtime)
    env = {**podman.env, "NVIDIA_VISIBLE_DEVICES": "0"}
    processes.succeed([*words, "load", "--input", os.fspath(tmp_path / "image")], env=env)
    seen = []
    for lines in ((), DENY):
        with settings(machine, "podman", *lines):
            run = [*words, "run", *podman.run_words(None), "--rm", name, *LOOK]
            done = processes.run(run, env=env)
        seen.append(done.stdout or done.stderr)

    assert seen[0].startswith("/dev/nvidia0 ")
    assert seen[1] == NOTHING


@pytest.mark.parametrize(("lines", "seen"), [((), FIRST), (DENY, NOTHING), (LISTED, FIRST)])
def test_annotation_of_a_podman_image(
    lines: Sequence[str], seen: str, podman: Podman, machine: Machine
) -> None:
    is_copied = installed.version_of("podman") < (5,)
    with settings(machine, "podman", *lines) as log:
        words = (*podman.podman(podman.runtime), "run", *podman.run_words("void"), "--rm")
        done = processes.run([*words, f"{ASKING_IMAGE}-2", *LOOK], env=podman.env)

        assert (done.stdout, done.returncode) == (seen if is_copied else NOTHING, 0), done.stderr
        is_refused = is_copied and seen == NOTHING
        assert ("ignoring the annotation cdi.k8s.io" in log.read_text()) == is_refused


def test_containerd_does_not_tell(live_containerd: Containerd, machine: Machine) -> None:
    """So what may be the image's is refused, whoever said it."""
    with settings(machine, "containerd", *DENY) as log:
        done = live_containerd.run(*LOOK, gpus="0")

        assert (done.stdout, done.returncode) == (NOTHING, 0), done.stderr
        assert "which may be the image's: the engine does not tell" in log.read_text()
