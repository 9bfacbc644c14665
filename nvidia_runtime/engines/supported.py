# SPDX-License-Identifier: Apache-2.0
"""The engines that we can configure: the one list of them."""

from __future__ import annotations

from nvidia_runtime.engines import containerd, crio, docker, podman

ENGINES = {
    engine.name: engine for engine in (docker.ENGINE, containerd.ENGINE, crio.ENGINE, podman.ENGINE)
}
NAMES = f"{', '.join(list(ENGINES)[:-1])} or {list(ENGINES)[-1]}"
