# SPDX-License-Identifier: Apache-2.0
"""Which engine made a container."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.admission import engine

TASKS = "/run/containerd/io.containerd.runtime.v2.task"
LIBPOD = {"io.container.manager": "libpod"}
USERDATA = "/var/lib/containers/storage/overlay-containers/ab/userdata"


@pytest.mark.parametrize(
    ("folder", "annotations", "name"),
    [
        (f"{TASKS}/moby/ab", None, "docker"),
        ("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/ab", {}, "docker"),
        (f"{TASKS}/k8s.io/ab", {"io.kubernetes.cri.container-type": "container"}, "containerd"),
        (f"{TASKS}/default/ab", LIBPOD, "containerd"),
        ("/run/containerd/io.containerd.runtime.v1.linux/moby/ab", None, "docker"),
        (USERDATA, LIBPOD, "podman"),
        (USERDATA, {"io.podman.annotations.autoremove": "FALSE"}, "podman"),
        ("/run/user/1000/containers/overlay-containers/ab/userdata", LIBPOD, "podman"),
        (USERDATA, {"io.kubernetes.cri-o.ContainerID": "ab"}, "cri-o"),
        ("/tmp/bundle", {"io.kubernetes.cri-o.ContainerID": "ab"}, ""),
        (USERDATA, None, ""),
        (USERDATA, "x", ""),
        (TASKS, {}, ""),
        ("", None, ""),
    ],
)
def test_name(folder: str, annotations: Any, name: str) -> None:
    assert engine.name({"annotations": annotations}, folder) == name
