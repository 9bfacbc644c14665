# SPDX-License-Identifier: Apache-2.0
"""Times of whole containers that do nothing, beside the bare low-level runtime."""

from __future__ import annotations

from pathlib import Path

from gpu import containers
from gpu.outfit import Outfit

STATE = Path("/run/nvidia-container-runtime")


def take(fitted: Outfit, rounds: int, times: dict[str, list[float]]) -> str:
    """Take each time in turns, so that what disturbs one disturbs all."""
    cases: dict[str, tuple[Path, str, str, bool]] = {
        "runc alone": (fitted.runc, "", "cdi", False),
        "ours, without a GPU": (fitted.bin / "nvidia-container-runtime", "", "cdi", False),
    }
    for mode in containers.MODES:
        ours = fitted.bin / "nvidia-container-runtime"
        cases[f"{mode}, all GPUs, warm"] = (ours, "all", mode, False)
        cases[f"{mode}, all GPUs, nothing remembered"] = (ours, "all", mode, True)
    for _ in range(max(rounds, 1)):
        for name, (runtime, gpus, mode, is_cold) in cases.items():
            settings = containers.settings(fitted, mode)
            root = containers.root(fitted, f"times-{mode}" if gpus else "times-none")
            if is_cold:
                _forget()
            else:  # once more, since the case before may have made it forget
                containers.run(
                    fitted, runtime, "/bin/true", gpus=gpus, settings=settings, root=root
                )
            ran = containers.run(
                fitted, runtime, "/bin/true", gpus=gpus, settings=settings, root=root
            )
            assert ran.code == 0, f"{name}: ended with {ran.code}\n{ran.text}"
            times.setdefault(name, []).append(ran.all_ms)
    return f"{rounds} rounds"


def _forget() -> None:
    """Remove what the runtime remembers of settings, specs and the machine."""
    for file in STATE.glob("*-*"):
        if file.is_file() and file.name.startswith(("snapshot-", "machine-")):
            file.unlink(missing_ok=True)
