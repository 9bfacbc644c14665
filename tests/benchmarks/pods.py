# SPDX-License-Identifier: Apache-2.0
"""Measure what a kubelet waits: a pod with a container, one pod at a time and sixteen at once.

containerd of our own on a simulated machine, by the Container Runtime Interface, with runc and with
our runtime; needs root.  A start is the calls RunPodSandbox, CreateContainer and StartContainer.
Medians of interleaved rounds by the clock: daemons do the work, so there is no short form.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import containers, cost, image, results
from benchmarks.cost import Times
from benchmarks.results import NAME, Form, Row
from engines import cgroups, cri, rootfs
from engines import pods as containerd_of_pods

MACHINE = "a100x8"
PROGRAMS = ("containerd", "ctr")
CONFIG = Path("/etc", NAME, "config.toml")
AT_ONCE = 16
# A round of so many pods is made for every second of one.
FEWER = 2
WARMING = 3
ALONE, NO_GPU, GPU = "with runc alone", "with ours, no GPU asked for", "with ours, a GPU"
# By which handler a pod is made, and what its container asks for.
WAYS: dict[str, tuple[str, str | None]] = {
    ALONE: ("runc", None),
    NO_GPU: ("nvidia", None),
    GPU: ("nvidia", "0"),
}
ONE = "a pod, alone"
EACH, ALL = f"a pod, one of {AT_ONCE} at once", f"{AT_ONCE} pods at once, until all run"
LOOK = "for path in /dev/nvidia[0-9]*; do echo $path; done"


@contextmanager
def served(folder: Path, launcher: Path) -> Iterator[cri.Cri]:
    """Keep containerd running, with a handler of ours beside runc's."""
    group = f"nvcr-bench-{os.getpid()}"
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(f"[{NAME}]\nruntimes = {json.dumps([results.program('runc')])}\n")
    image.make(folder / "image")
    (folder / "image/bin/sleep").symlink_to("sh")
    files = folder / "image.tar", folder / "pause.tar"
    rootfs.archive(folder / "image", files[0])
    pause = ("/bin/sleep", "1000")
    rootfs.archive(folder / "image", files[1], name=containerd_of_pods.PAUSE, command=pause)
    file = folder / "config.toml"
    text = containerd_of_pods.text(folder, 2)
    file.write_text(text.replace('snapshotter = "native"', 'snapshotter = "overlayfs"'))
    containerd_of_pods.add(file, Path(os.path.abspath(launcher)), [], is_on=False)
    service = containerd_of_pods.Pods(group=group, env={**os.environ}, images=files)
    try:
        with service.daemon(file) as answering:
            yield answering
    finally:
        cgroups.remove(group)


def started(service: cri.Cri, way: str) -> tuple[float, cri.Pod, cri.PodContainer]:
    """Start a pod; return the milliseconds that it took, the pod, and its container."""
    handler, gpus = WAYS[way]
    began = time.perf_counter_ns()
    pod = service.start_pod(handler)
    container = pod.start(gpus=gpus)
    return (time.perf_counter_ns() - began) / 1e6, pod, container


def check(service: cri.Cri, way: str) -> None:
    """End where a container has not the GPU that it asks for, or others."""
    _, pod, container = started(service, way)
    seen = container.exec("sh", "-c", LOOK).stdout.split()
    pod.remove()
    # The first GPU of this machine has the minor 2.
    if seen != (["/dev/nvidia2"] if way == GPU else ["/dev/nvidia[0-9]*"]):
        raise SystemExit(f"{way}: the container has {seen}")


def measure(service: cri.Cri, rounds: int, threads: ThreadPoolExecutor) -> Times:
    """Return what each way took in each round; all ways take turns."""
    times: Times = {name(what, way): [] for what in (ONE, EACH, ALL) for way in WAYS}
    for way in [*WAYS] * WARMING:
        check(service, way)
    for number in range(rounds):
        for way in WAYS:
            took, pod, _ = started(service, way)
            pod.remove()
            times[name(ONE, way)].append(took)
        for way in WAYS if number % FEWER == 0 else ():
            began = time.perf_counter_ns()
            pods = [*threads.map(started, [service] * AT_ONCE, [way] * AT_ONCE)]
            times[name(ALL, way)].append((time.perf_counter_ns() - began) / 1e6)
            times[name(EACH, way)].append(statistics.median(took for took, _, _ in pods))
            list(threads.map(lambda entry: entry[1].remove(), pods))
    return times


def name(what: str, way: str) -> str:
    """Return the name of a row."""
    return f"{what}, {way}"


def inside(form: Form) -> None:
    """Measure on the machine that we are on; print what was measured as JSON."""
    with tempfile.TemporaryDirectory(prefix="nvcr", dir="/tmp") as folder, ExitStack() as stack:
        containers.call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        stack.callback(containers.call, "umount", "--recursive", "--lazy", folder)
        service = stack.enter_context(served(Path(folder), form.launcher))
        threads = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        times = measure(service, form.rounds, threads)
    print(json.dumps(times))


def missing() -> str:
    """Say why nothing can be measured here; empty where it can."""
    if why := containers.missing():
        return why
    for program in PROGRAMS:
        if not results.program(program):
            return f"no {program}, so no figures of pods"
    return "" if importlib.util.find_spec("grpc") else "no grpcio, so no figures of pods"


def rows(times: Times, form: Form) -> list[Row]:
    """Return the rows: each way by its ratio to runc alone in the same round."""
    return [
        Row(
            name=name(what, way),
            judged_by=form.judge,
            figure=None if way == ALONE else cost.ratio(times, name(what, way), name(what, ALONE)),
            unit=f"times that {ALONE}",
            ms=statistics.median(times[name(what, way)]),
        )
        for what in (ONE, EACH, ALL)
        for way in WAYS
    ]


def main() -> None:
    """Print the table."""
    form = results.form(__doc__, rounds=24, short_rounds=1)
    if why := missing() or (form.is_short and "pods are measured in the long form only"):
        print(why)
        return
    if form.inside:
        inside(form)
        return
    words = [sys.executable, *form.words(str(Path(__file__).resolve()), MACHINE)]
    done = simulated.run(MACHINE, words, cwd=results.TREE, timeout=1200)
    if done.returncode:
        raise SystemExit(f"{MACHINE}: {done.stderr}")
    results.finish("pods", rows(json.loads(done.stdout.splitlines()[-1]), form), form)


if __name__ == "__main__":
    main()
