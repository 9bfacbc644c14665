# SPDX-License-Identifier: Apache-2.0
"""What only docker has: a HEALTHCHECK, and our runtime in daemon.json without a wrapper."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import waiting

from . import processes
from .docker import Docker
from .rootfs import IMAGE


@pytest.fixture
def docker(live_docker: Docker) -> Iterator[Docker]:
    """Return a docker without containers, whatever the test before did."""
    yield live_docker
    live_docker.clean()


def test_healthcheck_becomes_healthy(docker: Docker) -> None:
    check = ("--health-cmd", "test -c /dev/nvidia0", "--health-interval", "200ms")
    container = docker.start(gpus="0", options=check)
    before = container.health()

    waiting.eventually(lambda: container.health() == "healthy", "docker calls it healthy")
    assert before in {"starting", "healthy"}


def test_healthcheck_becomes_unhealthy(docker: Docker) -> None:
    """The exit code of the check is the container's, not one of ours."""
    check = ("--health-cmd", "test -c /dev/nvidia1", "--health-interval", "200ms")
    container = docker.start(gpus="0", options=(*check, "--health-retries", "1"))

    waiting.eventually(lambda: container.health() == "unhealthy", "docker calls it unhealthy")


def test_settings_come_from_the_daemons_environment(docker: Docker) -> None:
    """XDG_CONFIG_HOME of containerd reaches the runtime, so no script has to set it."""
    words = (*docker.run_words("1", "nvidia-bare"), "--rm", IMAGE)
    done = processes.run([*words, "sh", "-c", "echo /dev/nvidia*"])

    assert (done.stdout, done.stderr, done.returncode) == ("/dev/nvidia1 /dev/nvidiactl\n", "", 0)
