# SPDX-License-Identifier: Apache-2.0
"""Measure the shim against a bare interpreter and a bare runtime, as whole processes.

Runs are interleaved, since these machines drift: only ratios of one run mean anything.  ``python
tests/benchmarks/bench.py`` prints the table and fails beyond a budget; ``--short`` goes by CPU time,
takes fewer rounds and fails beyond budget x 1.25.  Needs nothing but the package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import cost, results
from benchmarks.cost import INTERPRETER, Case
from benchmarks.results import NAME, Row

RUNTIME = "bare runtime"
COMPILE, PEAK = "create that compiles 1000 specs, half of them YAML", "peak memory of a create"
# An x86-64 program that only exits: the cheapest low-level runtime there can be.
EMPTY_ELF = bytes.fromhex(
    "7f454c4602010100000000000000000002003e0001000000780040000000000040000000000000000000000000000000"
    "000000004000380001004000000000000100000005000000000000000000000000004000000000000000400000000000"
    "7f000000000000007f0000000000000000100000000000006a3c5831ff0f05"
)


class Site:
    """A scratch machine: device nodes are plain character devices of every Linux, so no root."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.folder = folder
        self.launcher = launcher
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        self.runtime = folder / "runc"
        self.runtime.write_bytes(empty_program())
        self.runtime.chmod(0o755)
        self.spec = json.dumps(container(), indent=1)
        self.idle = folder / "idle"
        self.idle.mkdir()
        asks_for_nothing = json.dumps(container(""), indent=1)
        (self.idle / "config.json").write_text(asks_for_nothing)
        self.state = folder / "state.json"
        state = {"ociVersion": "1.1.0", "id": "c1", "status": "creating", "pid": 1}
        self.state.write_text(json.dumps({**state, "bundle": str(self.bundle)}))

    def environment(self) -> dict[str, str]:
        """Return what an engine leaves of an environment."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def config(
        self, name: str, specs: int = 0, mode: str = "cdi", spec: dict[str, Any] | None = None
    ) -> dict[str, str]:
        """Write a config.toml with its own spec dir; return the environment that selects it."""
        specs_dir = self.folder / f"cdi-{name}"
        specs_dir.mkdir()
        (specs_dir / "nvidia.json").write_text(json.dumps(spec or gpus(8)))
        for number in range(specs):
            path = specs_dir / f"vendor{number}.json"
            path.write_text(json.dumps(other_spec(number)))
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'nvidia-container-cli.path = "{self.runtime}"\n'
            f'[{NAME}]\nmode = "{mode}"\nruntimes = ["{self.runtime}"]\n'
            f'[{NAME}.modes.cdi]\nspec-dirs = ["{specs_dir}"]\n'
        )
        long_ago = time.time_ns() - 10**10
        os.utime(path, ns=(long_ago, long_ago))
        return {**self.environment(), "NVIDIA_CTK_CONFIG_FILE_PATH": str(path)}

    def touch(self) -> None:
        """Change a spec of the cold configuration, so that everything is compiled again."""
        (self.folder / "cdi-recompiled" / "vendor1.json").write_text(json.dumps(other_spec(1)))
        self.restore()

    def restore(self) -> None:
        """Put config.json back as an engine writes it."""
        (self.bundle / "config.json").write_text(self.spec)


def empty_program() -> bytes:
    """Return a program that exits at once."""
    if os.uname().machine == "x86_64":
        return EMPTY_ELF
    return Path(shutil.which("true") or "/bin/true").read_bytes()


def gpus(count: int, mounts: int = 45) -> dict[str, Any]:
    """Make a CDI spec as large as a real one of ``count`` GPUs, without hooks."""
    names = [f"nvidia{number}" for number in range(count)]
    names += [f"dri/card{number}" for number in range(count)]
    names += [f"dri/renderD{128 + number}" for number in range(count)]

    def node(name: str) -> dict[str, object]:
        return {"path": f"/dev/{name}", "hostPath": "/dev/null", "permissions": "rw"}

    def edits(wanted: list[str]) -> dict[str, object]:
        return {"deviceNodes": [node(name) for name in wanted]}

    devices = [
        {"name": str(number), "containerEdits": edits(names[number::count])}
        for number in range(count)
    ]
    devices.append({"name": "all", "containerEdits": edits(names)})
    common = edits(["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"])
    common["env"] = ["NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_CTK_LIBCUDA_DIR=/usr/lib64"]
    common["mounts"] = [
        {
            "hostPath": f"/usr/lib/x86_64-linux-gnu/libnvidia-part{number}.so.570.133.20",
            "containerPath": f"/usr/lib/x86_64-linux-gnu/libnvidia-part{number}.so.570.133.20",
            "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
        }
        for number in range(mounts)
    ]
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": devices,
        "containerEdits": common,
    }


def other_spec(number: int) -> dict[str, object]:
    """Make the small spec of another vendor."""
    device = {"name": "0", "containerEdits": {"env": [f"VENDOR{number}=1"]}}
    return {"cdiVersion": "0.5.0", "kind": f"vendor{number}.com/device", "devices": [device]}


def container(devices: str = "all") -> dict[str, object]:
    """Make a config.json as large as docker's, 20 KB, that asks for GPUs, or for none."""
    names = [f"syscall_number_{number}" for number in range(340)]
    capabilities = [f"CAP_NUMBER_{number}" for number in range(14)]
    return {
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
            + [f"NVIDIA_VISIBLE_DEVICES={devices}" if devices else "OTHER_VARIABLE=all"]
            + [f"VARIABLE_{number}=a value of this container" for number in range(20)],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {
                "destination": f"/mount/{number}",
                "type": "bind",
                "source": f"/source/{number}",
                "options": ["rbind", "ro"],
            }
            for number in range(12)
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
            },
        },
    }


def cases(site: Site, python: str) -> list[tuple[Case, dict[str, str]]]:
    """List what is timed, with the environment of each."""
    launcher = str(site.launcher)
    warm, many = site.config("warm"), site.config("with-500", 500)
    thousand, legacy = site.config("with-1000", 1000), site.config("legacy", 0, "legacy")
    state = ("--root", "/run/runc", "--log-format", "json", "state", "c1")
    create = ("create", "--bundle", str(site.bundle), "--pid-file", "/dev/null", "c1")
    plain = site.environment()
    rows: list[tuple[Case, dict[str, str]]] = [
        (Case(name=INTERPRETER, words=(python, "-I", "-S", "-c", "pass")), plain),
        (Case(name=RUNTIME, words=(str(site.runtime), *state)), plain),
    ]
    shells = (("dash", ("dash",)), ("busybox", ("busybox", "sh")), ("bash", ("sh",)))
    idle = ("create", "--bundle", str(site.idle), "--pid-file", "/dev/null", "c2")
    mixed = site.config("mixed")  # of its own: the launcher looks for words where some ask not
    for name, words in shells:
        if program := shutil.which(name):
            for title, call in (("pass-through", state), ("create that asks for nothing", idle)):
                case = Case(
                    name=f"{title}, {name}",
                    words=(*words, launcher, *call),
                    program=program,
                    over=RUNTIME,
                )
                rows.append((case, warm if call is state else mixed))
    for name, environment in (
        ("create, 8 GPUs", warm),
        ("create, 8 GPUs, where others ask for nothing", mixed),
        ("create, 8 GPUs, 500 more specs", many),
        ("create, 8 GPUs, 1000 more specs", thousand),
        ("create, legacy mode", legacy),
    ):
        case = Case(name=name, words=(launcher, *create), over=RUNTIME, before=site.restore)
        rows.append((case, environment))
    for mode, environment in (("legacy", legacy), ("auto", site.config("auto", 0, "auto"))):
        case = Case(
            name=f"prestart hook, {mode} mode",
            words=(f"{launcher}-hook", "prestart"),
            stdin=str(site.state),
            before=site.restore,
        )
        rows.append((case, environment))
    return rows


def cold(site: Site) -> tuple[Case, dict[str, str]]:
    """Return a create that compiles 1,000 specs of one device each, half of them YAML (JSON is
    YAML, but the parser of JSON takes no comment).
    """
    # Of another length than the others: by that the launcher knows them apart.
    environment = site.config("recompiled", 1000)
    for number in range(0, 1000, 2):
        path = site.folder / "cdi-recompiled" / f"vendor{number}.json"
        path.write_text("# YAML\n" + path.read_text())
        path.rename(path.with_suffix(".yaml"))
    words = (str(site.launcher), "create", "--bundle", str(site.bundle), "c1")
    return Case(name=COMPILE, words=words, before=site.touch), environment


def peak_memory(case: Case, environment: dict[str, str], python: str) -> float:
    """Return the largest resident size of a create, in MB, as its parent is told (a small parent:
    a child begins with its parent's pages, which count).
    """
    if case.before:
        case.before()
    script = (
        "import posix, sys\n"
        "pid = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ)\n"
        "print(posix.wait4(pid, 0)[2].ru_maxrss)\n"
    )
    words = [python, "-I", "-S", "-c", script, *case.words]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def enter_tmpfs() -> None:
    """Run again with a tmpfs of our own on /run: where engines keep bundles, and we our state.

    Root only; others have $XDG_RUNTIME_DIR.  It also keeps the host's state out of the figures.
    """
    if os.geteuid() or os.environ.get("NVCR_BENCH_RUN"):
        return
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c"]
    words += ['mount -t tmpfs tmpfs /run && exec "$@"', "sh", sys.executable, *sys.argv]
    os.execvpe(words[0], words, {**os.environ, "NVCR_BENCH_RUN": "1"})


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    enter_tmpfs()
    form = results.form(__doc__, rounds=100, short_rounds=30)
    place = "/run" if os.environ.get("NVCR_BENCH_RUN") else None
    with tempfile.TemporaryDirectory(prefix="nvcr-bench-", dir=place) as folder:
        site = Site(Path(folder), form.launcher)
        wanted = cases(site, form.python)
        times = cost.measure(form.rounds, wanted, form.kind)
        slow = cold(site)
        compiling = [getattr(cost.run(*slow), form.kind) for _ in range(5)]
        create = next(pair for pair in wanted if pair[0].name == "create, 8 GPUs")
        memory = peak_memory(*create, form.python)
    rows = [
        Row(
            name=case.name,
            judged_by=form.judge,
            figure=cost.starts(times, case.name, form.kind, case.over),
            unit=results.unit(case.over),
            ms=cost.TYPICAL[form.kind](times[case.name]),
        )
        for case, _ in wanted
    ]
    seconds = cost.TYPICAL[form.kind](compiling) / 1000
    rows += [
        Row(name=COMPILE, judged_by=form.judge, figure=seconds, unit="s"),
        Row(name=PEAK, judged_by=results.MEMORY, figure=memory, unit="MB"),
    ]
    results.finish("programs", rows, form)


if __name__ == "__main__":
    main()
