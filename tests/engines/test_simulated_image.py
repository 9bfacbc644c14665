# SPDX-License-Identifier: Apache-2.0
"""The jobs of packaging/simulated-machines.md run: in an image with docker and a machine, by docker.

A job's image comes from a registry there, and is loaded here; what is built in it has no network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
import yaml
from cli import ctk

from . import docker, nested, processes, rootfs
from .installed import require

PAGE = (shim.TREE / "packaging/simulated-machines.md").read_text()
JOBS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MOST_LINES = 15
MACHINE = "nvidia-simulated:a100x8"
OWNER = "owner"
DOCKERFILE = "FROM scratch\nCOPY root/ /\n"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def steps() -> list[str]:
    """Return the lines that the job for GitHub Actions runs."""
    (job,) = yaml.safe_load(JOBS[0])["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def script() -> Any:
    """Return the job for GitLab CI."""
    (job,) = yaml.safe_load(JOBS[1]).values()
    return job


def test_jobs_are_short_and_have_their_parts() -> None:
    assert [len(job.splitlines()) <= MOST_LINES for job in JOBS] == [True, True]
    assert len(steps()) == 5
    assert len(script()["script"]) == 4
    assert [service["alias"] for service in script()["services"]] == ["docker"]
    assert script()["variables"] == {
        "DOCKER_HOST": "tcp://docker:2375",
        "DOCKER_TLS_CERTDIR": "",
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the image, of a bundle of this tree and of this host's docker."""
    simulated.need_root()
    for program in nested.PROGRAMS:
        require(program)
    folder = tmp_path_factory.mktemp("image")
    architecture = ARCHITECTURES[os.uname().machine]
    build = [os.fspath(shim.TREE / "packaging/bundle/build"), architecture, f"{folder}/bundle"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    base = nested.archive(folder, require("busybox"))
    words = [f"--base={base}", f"--toolkit={folder}/bundle/{architecture}", "a100x8"]
    for name in ("one.tar", "two.tar"):
        got = ctk.run("simulate", f"--image={folder}/{name}", *words)
        assert got.code == 0, got.err
    assert (folder / "one.tar").read_bytes() == (folder / "two.tar").read_bytes()
    return folder / "one.tar"


@pytest.fixture(scope="module")
def outer(scratch: Path, group: str, archive: Path) -> Iterator[tuple[str, ...]]:
    """Keep the docker of a runner, which has the image; yield its client's words."""
    folder = scratch / "runner"
    folder.mkdir()
    settings = docker.settings(folder, containerd=Path(), group=group)
    del settings["containerd"]
    privileged = nested.runtime(folder / "privileged")
    settings |= {"runtimes": {"privileged": {"path": os.fspath(privileged)}}}
    settings |= {"default-runtime": "privileged"}
    (folder / "daemon.json").write_text(json.dumps(settings))
    with docker.daemon_on(folder / "daemon.json", env=dict(os.environ)) as client:
        processes.succeed([*client, "load", "--input", os.fspath(archive)])
        processes.succeed([*client, "tag", MACHINE, f"ghcr.io/{OWNER}/{MACHINE}"])
        try:
            yield client
        finally:
            processes.run([*client, "rm", "--force", "--volumes", "machine"])


@pytest.fixture
def checkout(tmp_path: Path, outer: Sequence[str]) -> Iterator[Path]:
    """Return a repository of an application whose image has a shell and a C library; docker is the runner's."""
    rootfs.build(tmp_path / "repository/root", require("busybox"))
    (tmp_path / "repository/root/bin/ls").symlink_to("busybox")
    nested.add_libraries(tmp_path / "repository/root", sys.executable)  # for nvidia-smi
    (tmp_path / "repository/Dockerfile").write_text(DOCKERFILE)
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("docker")} {" ".join(outer[1:])} "$@"\n')
    program.chmod(0o755)
    yield tmp_path / "repository"
    processes.run([*outer, "rm", "--force", "--volumes", "machine"])


def run(line: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a job."""
    env = {**os.environ, "PATH": f"{checkout.parent}/bin:{os.environ['PATH']}"}
    env |= {"GITHUB_REPOSITORY_OWNER": OWNER, "DOCKER_BUILDKIT": "0"}
    words = ["timeout", "120", "sh", "-euc", line]
    return subprocess.run(words, env=env, cwd=checkout, capture_output=True, text=True, check=False)


@contextmanager
def started(checkout: Path) -> Iterator[None]:
    """Start the machine as the job does, and wait for it."""
    for line in steps()[:2]:
        got = run(line, checkout)
        logs = run("docker logs machine", checkout)
        assert got.returncode == 0, got.stderr + logs.stderr
    yield


@pytest.mark.long
def test_job_of_github_actions(checkout: Path) -> None:
    with started(checkout):
        for line in steps()[2:]:
            got = run(line, checkout)
            assert got.returncode == 0, f"{line}: {got.stderr}"
            if line.endswith("nvidia-smi"):
                assert got.stdout.count("A100-SXM4") == 8


@pytest.mark.long
def test_job_of_gitlab_ci(checkout: Path) -> None:
    """Its docker is the service's, as is that in the container."""
    with started(checkout):
        run("docker cp . machine:/checkout", checkout)
        for line in script()["script"]:
            words = (
                f"docker exec --workdir /checkout --env DOCKER_BUILDKIT=0 machine sh -euc '{line}'"
            )
            got = run(words, checkout)
            assert got.returncode == 0, f"{line}: {got.stderr}"


@pytest.mark.long
def test_container_is_the_machine(checkout: Path) -> None:
    """All that runs in it, and what it starts, see the same; a restart changes nothing."""
    with started(checkout):
        for _ in range(2):
            said = run("docker exec machine nvidia-ctk cdi list", checkout)
            assert "nvidia.com/gpu=7" in said.stdout.split(), said.stderr
            doctor = json.loads(
                run("docker exec machine nvidia-ctk doctor --json", checkout).stdout
            )
            assert doctor["fine"]["driver"][0] == "version 580.95.05"
            assert "8 NVIDIA A100-SXM4-40GB" in doctor["fine"]["devices"]
            assert not [one for one in doctor["findings"] if one["severity"] == "error"]
            run("docker restart machine", checkout)
            run(steps()[1], checkout)
        run(steps()[2], checkout)
        for asked, nodes in (
            ("--gpus device=1", "/dev/nvidia3\n"),
            ("--env NVIDIA_VISIBLE_DEVICES=0,2", "/dev/nvidia0\n/dev/nvidia2\n"),
        ):
            line = f"docker exec machine docker run --rm {asked} app sh -c 'ls /dev/nvidia[0-9]'"
            assert run(line, checkout).stdout == nodes
