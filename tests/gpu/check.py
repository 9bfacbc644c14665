# SPDX-License-Identifier: Apache-2.0
"""``tests/gpu/run``: everything that a machine with a GPU can be asked in a minute or two.

Questions first, since they need GPUs that are not in use; then a spec, containers, times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpu import containers, outfit, places, report, timing
from gpu.outfit import MissingError, Outfit
from gpu.report import FAILED, OK, SKIPPED, Step

HERE = Path(__file__).parent
DEFAULT_PACK = outfit.TREE / "build/gpu"
PATIENCE = 300
SIMULATED = "simulated: no driver behind the nodes"
LOOK = "ls -l /dev; test -c /dev/nvidiactl && test -c /dev/nvidia0 && cat /proc/self/mountinfo"


def main() -> int:
    """Run all steps; 1 if one of them failed."""
    words = _words()
    if os.geteuid() != 0:
        sys.exit("tests/gpu/run: needs root: it makes containers")
    if not os.path.exists("/proc/driver/nvidia/version"):
        sys.exit("tests/gpu/run: no NVIDIA driver is loaded here; --help says what to do without")
    work = Path(tempfile.mkdtemp(prefix="nvcr-gpu-"))
    work.chmod(0o755)
    try:
        fitted = outfit.prepare(words.pack, work)
        containers.adopt()
        text, has_failed = _examine(fitted, words.rounds, is_simulated=words.simulated)
    except MissingError as error:
        sys.exit(f"tests/gpu/run: {error}")
    finally:
        containers.remove_groups()
        shutil.rmtree(work, ignore_errors=True)
    file = words.report or _place(words.simulated)
    file.write_text(text)
    print(text)
    print(f"report: {file}", file=sys.stderr)
    return int(has_failed)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/gpu/run", description=__doc__)
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK, help="what tests/gpu/pack made")
    parser.add_argument("--report", type=Path, help="the page to write; else in tests/gpu/reports")
    parser.add_argument("--rounds", type=int, default=10, help="how often to take each time")
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="leave out what needs a driver: 'nvidia-ctk simulate h100x8 -- tests/gpu/run …'",
    )
    return parser.parse_args()


def _place(is_simulated: bool) -> Path:
    """Return the page's place: real ones are kept in the tree."""
    name = f"{time.strftime('%Y-%m-%d')}-{platform.node() or 'machine'}.md"
    return Path(tempfile.gettempdir(), name) if is_simulated else HERE / "reports" / name


def _examine(fitted: Outfit, rounds: int, *, is_simulated: bool) -> tuple[str, bool]:
    """Do everything; return the page, and whether a step failed."""
    steps: list[Step] = []
    asked = _ask(fitted)
    spec_file = fitted.work / "specs/nvidia.json"
    steps.append(_try("generate", lambda: _generate(fitted, spec_file)))
    spec = json.loads(spec_file.read_text()) if spec_file.exists() else {"devices": []}
    steps.append(_try("every node is in the spec", lambda: _compare_nodes(spec, asked)))
    steps.append(_try("refresh agrees", lambda: _refresh(fitted, spec_file)))
    for seen, compare in (
        ("nvidia-smi names the same GPUs", lambda: _compare_smi(spec)),
        ("nvidia-smi topo -m sees the same ways", lambda: _compare_topology(fitted)),
    ):
        steps.append(
            Step(name=seen, outcome=SKIPPED, text=SIMULATED)
            if is_simulated
            else _try(seen, compare)
        )
    for mode in containers.MODES:
        steps += _try_containers(fitted, mode, _smi(spec), is_simulated)
    times: dict[str, list[float]] = {}
    steps.append(_try("times", lambda: timing.take(fitted, rounds, times)))
    facts = _facts(fitted, spec, is_simulated)
    return report.page(facts, steps, times, asked), any(step.outcome == FAILED for step in steps)


def _ask(fitted: Outfit) -> dict[str, Any]:
    """Ask the questions in a process of their own."""
    words = [sys.executable, "-B", "-m", "gpu.questions"]
    environment = fitted.environment() | {"PYTHONPATH": os.fspath(HERE.parent)}
    try:
        got = subprocess.run(
            words, capture_output=True, text=True, check=True, env=environment, timeout=PATIENCE
        )
        answers: dict[str, Any] = json.loads(got.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        return {"nvml": {"failed": f"the questions ended with {error}"}}
    return answers


def _try(name: str, do: Callable[[], str]) -> Step:
    """Do a step; whatever goes wrong is its outcome, and the next one follows."""
    try:
        return Step(name=name, outcome=OK, text=do())
    except (AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        said = getattr(error, "stderr", "") or ""
        return Step(name=name, outcome=FAILED, text=f"{type(error).__name__}: {error}\n{said}")


def _call(fitted: Outfit, *words: str, settings: Path | None = None) -> str:
    """Run a program; return its stdout."""
    got = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=fitted.environment(settings),
        check=False,
    )
    assert got.returncode == 0, f"{words[0]} ended with {got.returncode}\n{got.stderr}{got.stdout}"
    return got.stdout


def _generate(fitted: Outfit, file: Path) -> str:
    """Generate twice: what the first costs more is what was asleep."""
    took = []
    for _ in range(2):
        begun = time.monotonic()
        _call(fitted, *_generating(fitted, "generate", file))
        took.append((time.monotonic() - begun) * 1e3)
    names = [device["name"] for device in json.loads(file.read_text())["devices"]]
    return f"{took[0]:.0f} ms, again {took[1]:.0f} ms; devices {', '.join(names)}"


def _refresh(fitted: Outfit, file: Path) -> str:
    said = _call(fitted, *_generating(fitted, "refresh", file))
    assert said == f"{file} unchanged\n", said
    return "unchanged"


def _generating(fitted: Outfit, verb: str, file: Path) -> tuple[str, ...]:
    words = [f"--nvidia-cdi-hook-path={fitted.bin}/nvidia-cdi-hook", f"--output={file}"]
    return (str(fitted.bin / "nvidia-ctk"), "cdi", verb, *words)


def _compare_nodes(spec: dict[str, Any], asked: dict[str, Any]) -> str:
    """Whether every GPU's node is in the spec, but for GPUs in MIG mode without an instance."""
    text = json.dumps(spec) + json.dumps(sorted(_empty_nodes(asked)))
    nodes = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    assert nodes, "there is no /dev/nvidia0"
    missing = [node for node in nodes if f'"{node}"' not in text]
    assert not missing, f"not in the spec: {', '.join(missing)}"
    return ", ".join(nodes)


def _empty_nodes(asked: dict[str, Any]) -> set[str]:
    rounds = asked.get("nvml", {}).get("rounds") or [{"gpus": []}]
    return {
        f"/dev/nvidia{gpu['minor']}"
        for gpu in rounds[0]["gpus"]
        if gpu["mig"].get("mode") == "on" and not gpu["mig"]["order"]
    }


def _compare_smi(spec: dict[str, Any]) -> str:
    """Whether nvidia-smi and the spec know the same UUIDs: of GPUs, or of their MIG devices."""
    said = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    told = {word.rstrip(")") for line in said.splitlines() for word in line.split("UUID: ")[1:]}
    uuids = {device["name"] for device in spec["devices"] if device["name"][:4] in ("GPU-", "MIG-")}
    assert uuids <= told, f"only in the spec: {', '.join(sorted(uuids - told))}\n{said}"
    without = {uuid for uuid in told - uuids if uuid.startswith("MIG-")}
    assert not without, f"not in the spec: {', '.join(sorted(without))}\n{said}"
    return said


def _compare_topology(fitted: Outfit) -> str:
    document = json.loads(_call(fitted, str(fitted.bin / "nvidia-ctk"), "topology", "--json"))
    said = subprocess.run(
        ["nvidia-smi", "topo", "-m"], capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    return places.compare(document, said)


def _smi(spec: dict[str, Any]) -> str:
    """Return the place of nvidia-smi in a container, where the driver has it on the host."""
    mounts = spec.get("containerEdits", {}).get("mounts", ())
    programs = [
        mount["containerPath"] for mount in mounts if mount["containerPath"].endswith("/nvidia-smi")
    ]
    return programs[0] if programs else "/usr/bin/nvidia-smi"


def _try_containers(fitted: Outfit, mode: str, smi: str, is_simulated: bool) -> list[Step]:
    """Look into a container with all GPUs, and let programs of NVIDIA's and of ours use them."""

    def inside(*command: str) -> str:
        ran = containers.run(
            fitted,
            fitted.bin / "nvidia-container-runtime",
            *command,
            gpus="all",
            settings=containers.settings(fitted, mode),
            root=containers.root(fitted, mode),
        )
        assert ran.code == 0, f"ended with {ran.code}\n{ran.text}"
        return ran.text

    def look() -> str:
        said = inside("/bin/sh", "-c", LOOK)
        assert "libcuda.so" in said, f"no libcuda.so is mounted\n{said}"
        nodes = [line.split()[-1] for line in said.splitlines() if " nvidia" in line[:120]]
        return f"nodes {', '.join(nodes)}; {said.count('.so.')} libraries are mounted"

    programs = {
        f"{mode}: nvidia-smi -L in the container": (smi, "-L"),
        f"{mode}: a CUDA program in the container": ("/probe",),
    }
    steps = [_try(f"{mode}: a container with all GPUs", look)]
    for name, command in programs.items():
        if is_simulated:
            steps.append(Step(name=name, outcome=SKIPPED, text=SIMULATED))
        else:
            steps.append(_try(name, partial(inside, *command)))
    return steps


def _facts(fitted: Outfit, spec: dict[str, Any], is_simulated: bool) -> dict[str, str]:
    """Describe the machine."""
    models = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        line = next((text for text in file.read_text().splitlines() if "Model" in text), "")
        models.append(line.partition(":")[2].strip() or "unknown")
    version = Path("/sys/module/nvidia/version")
    runc = subprocess.run(
        [fitted.runc, "--version"], capture_output=True, text=True, check=False
    ).stdout
    gpus = ", ".join(f"{models.count(model)} x {model}" for model in dict.fromkeys(models))
    return {
        "machine": f"{gpus or 'no GPU'}{' (simulated)' if is_simulated else ''}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "driver": version.read_text().strip() if version.exists() else "not loaded",
        "kernel": platform.release(),
        "processors": str(os.cpu_count()),
        "python": platform.python_version(),
        "low-level runtime": runc.partition("\n")[0] or str(fitted.runc),
        "devices in the spec": str(len(spec["devices"])),
    }


if __name__ == "__main__":
    sys.exit(main())
