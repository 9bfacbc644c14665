# SPDX-License-Identifier: Apache-2.0
"""The engines that we can configure: the one list of them."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Engine

    ENGINES: dict[str, Engine]

# Each is a module here, with its ENGINE.
NAMES = ("docker", "containerd", "crio", "podman")


def __getattr__(name: str) -> object:
    """Return ENGINES, loaded only where more than the names is wanted: TOML costs 30 ms."""
    if name != "ENGINES":
        raise AttributeError(name)
    modules = (import_module(f"nvidia_runtime.engines.{engine}") for engine in NAMES)
    engines = {module.ENGINE.name: module.ENGINE for module in modules}
    globals()["ENGINES"] = engines
    return engines
