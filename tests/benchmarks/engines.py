# SPDX-License-Identifier: Apache-2.0
"""Measure what a user waits: ``docker run`` and ``podman run`` of ``true``, eight GPUs or none.

Real engines of our own on a simulated machine, with runc and with our runtime; needs root.  Medians
of interleaved runs by the clock: the work is done by daemons, so there is no short form.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import containers, cost, image, results
from benchmarks.cost import INTERPRETER, Case, Times
from benchmarks.results import NAME, Form, Row
from engines import cgroups, containerd, docker, podman, processes, rootfs

MACHINE = "a100x8"
PROGRAMS = ("dockerd", "docker", "containerd", "podman", "conmon")
CONFIG = Path("/etc", NAME, "config.toml")
ALONE, NO_GPU, GPUS = "with runc alone", "with ours, no GPU asked for", "with ours, 8 GPUs"
# How a container is run: with which runtime, and what it asks for.
WAYS = {
    ALONE: ("runc", ()),
    NO_GPU: ("ours", ()),
    GPUS: ("ours", ("--env", "NVIDIA_VISIBLE_DEVICES=all")),
}
# Behind the words of an engine and of its runtime.
RUN = ("--rm", "--network", "none")

Cases = list[tuple[Case, dict[str, str]]]


class Site:
    """The inside of the machine: an image in a file, our runtime with its settings, a group."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.folder = folder
        self.launcher = os.path.abspath(launcher)
        self.runc = results.program("runc")
        self.group = f"nvcr-bench-{os.getpid()}"
        self.image = folder / "image.tar"
        image.make(folder / "image")
        (folder / "image/bin/true").symlink_to("sh")
        rootfs.archive(folder / "image", self.image)
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(f'[{NAME}]\nruntimes = ["{self.runc}"]\n')

    @contextmanager
    def docker(self) -> Iterator[Cases]:
        """Keep docker's daemon running; yield what there is to measure."""
        folder = self.folder / "d"
        folder.mkdir()
        with containerd.daemon(self.folder / "c", env=os.environ) as socket:
            settings = docker.settings(folder, containerd=socket, group=self.group)
            settings["storage-driver"] = "overlay2"
            settings["runtimes"] = {"ours": {"path": self.launcher}}
            (folder / "daemon.json").write_text(json.dumps(settings))
            with docker.daemon_on(folder / "daemon.json", env=os.environ) as client:
                processes.succeed([*client, "load", "--input", os.fspath(self.image)])
                named = {"runc": (*client, "run"), "ours": (*client, "run", "--runtime", "ours")}
                yield cases("docker", named, RUN, {"PATH": results.PATH})

    def podman(self) -> Cases:
        """Return what there is to measure of podman, which has no daemon."""
        folder = self.folder / "p"
        folder.mkdir()
        (folder / "containers.conf").write_text(podman.CONFIG)
        environment = {
            "PATH": results.PATH,
            "HOME": os.fspath(folder),
            "CONTAINERS_CONF": os.fspath(folder / "containers.conf"),
            **podman.QUIET,
        }
        words = ["podman", "--storage-driver", "overlay"]
        for option, name in (("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")):
            words += [option, os.fspath(folder / name)]
        processes.succeed([*words, "load", "--input", os.fspath(self.image)], env=environment)
        runtimes = {"runc": self.runc, "ours": self.launcher}
        named = {name: (*words, "--runtime", path, "run") for name, path in runtimes.items()}
        options = (*RUN, "--cgroup-parent", f"/{self.group}")
        return cases("podman", named, options, environment)


def cases(
    engine: str,
    named: dict[str, tuple[str, ...]],
    options: tuple[str, ...],
    environment: dict[str, str],
) -> Cases:
    """Return the cases of an engine; ``named`` are the words of `run` by the runtime's name."""
    program = results.program(engine)
    result = []
    for title, (runtime, asked) in WAYS.items():
        case = Case(
            name=f"{engine} run, {title}",
            words=(*named[runtime], *options, *asked, rootfs.IMAGE, "true"),
            program=program,
            over=f"{engine} run, {ALONE}" if title != ALONE else "",
        )
        result.append((case, environment))
    return result


def inside(form: Form) -> None:
    """Measure on the machine that we are on; print the cases and what they take as JSON."""
    with tempfile.TemporaryDirectory(prefix="nvcr", dir="/tmp") as folder, ExitStack() as stack:
        containers.call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        stack.callback(containers.call, "umount", "--recursive", "--lazy", folder)
        site = Site(Path(folder), form.launcher)
        stack.callback(cgroups.remove, site.group)
        python = Case(name=INTERPRETER, words=(form.python, "-I", "-S", "-c", "pass"))
        wanted = [(python, {"PATH": results.PATH})]
        wanted += [*stack.enter_context(site.docker()), *site.podman()]
        for case, environment in wanted[1:]:
            check(case, environment)
        times = cost.measure(form.rounds, wanted, form.kind)
    print(json.dumps([[case.name, case.over] for case, _ in wanted] + [times]))


def check(case: Case, environment: dict[str, str]) -> None:
    """End where a container has not the GPUs that it asks for, or others."""
    look = "test -c /dev/nvidia7" if case.name.endswith(GPUS) else "! test -e /dev/nvidia7"
    words = (*case.words[:-1], "sh", "-c", look)
    cost.run(Case(name=case.name, words=words, program=case.program), environment)


def row(name: str, over: str, times: Times, form: Form) -> Row:
    """Return a case's row: over the same with runc alone, in interpreter starts."""
    figure = cost.starts_more(times, name, over) if over else None
    ms, unit = cost.TYPICAL[form.kind](times[name]), f"starts over that {ALONE}"
    return Row(name=name, judged_by=form.judge, figure=figure, unit=unit, ms=ms)


def missing() -> str:
    """Say why nothing can be measured here; empty where it can."""
    if why := containers.missing():
        return why
    for program in PROGRAMS:
        if not results.program(program):
            return f"no {program}, so no figures of engines"
    return ""


def main() -> None:
    """Print the table."""
    form = results.form(__doc__, rounds=20, short_rounds=1)
    if why := missing() or (form.is_short and "engines are measured in the long form only"):
        print(why)
        return
    if form.inside:
        inside(form)
        return
    words = [sys.executable, *form.words(str(Path(__file__).resolve()), MACHINE)]
    done = simulated.run(MACHINE, words, cwd=results.TREE, timeout=1200)
    if done.returncode:
        raise SystemExit(f"{MACHINE}: {done.stderr}")
    *names, times = json.loads(done.stdout.splitlines()[-1])
    results.finish("engines", [row(name, over, times, form) for name, over in names], form)


if __name__ == "__main__":
    main()
