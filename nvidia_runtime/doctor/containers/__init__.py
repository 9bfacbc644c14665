# SPDX-License-Identifier: Apache-2.0
"""Running containers: whether they have what they were given."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvidia_runtime.containers import asked, drift, sight, value
from nvidia_runtime.containers.records import Records
from nvidia_runtime.doctor.containers import elsewhere, warned
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Fine, Fix, Skipped, Step
from nvidia_runtime.engines import processes
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import facts, kernel_log
from nvidia_runtime.store import files
from nvidia_runtime.store.record import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.containers.drift import Now
    from nvidia_runtime.containers.value import Drift
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

LOST = Code(
    "NCT-0701",
    WARNING,
    "a running container has lost the right to its GPUs",
    """
    The rules of its control group for the driver's nodes are gone: 'Failed to initialize NVML:
    Unknown Error' in a container that worked.  'systemctl daemon-reload', which updates of packages
    do, or an engine's 'update' gives the rules anew as systemd and the engine know them, without
    those that were added behind their back.
    """,
    """
    'nvidia-ctk repair CONTAINER' gives the rules back, and the container goes on.  NCT-0450 says
    what keeps them from getting lost.
    """,
)
NUMBERS = Code(
    "NCT-0702",
    WARNING,
    "a running container has nodes with old numbers",
    """
    The driver was loaded anew since it was started, and its nodes have other numbers now; those of
    nvidia-uvm and of MIG are chosen anew at each load.  The container's nodes lead nowhere, or to
    another driver: cuInit says 999 or 100 while nvidia-smi works.
    """,
    """
    Start the container again: numbers are looked up at each start.
    """,
)
OTHER_DRIVER = Code(
    "NCT-0703",
    WARNING,
    "a running container has the libraries of another driver",
    """
    The driver was updated and loaded anew since the container was started, and it still has the
    libraries of then: 'Failed to initialize NVML: Driver/library version mismatch'.
    """,
    """
    Start the container again: it gets the libraries of the loaded driver.
    """,
)
UVM = Code(
    "NCT-0704",
    NOTE,
    "nvidia-uvm was loaded anew while a container ran",
    """
    As after a suspend, or by 'modprobe -r nvidia-uvm'.  A program that used CUDA before says 'CUDA
    unknown error' until it is started again.
    """,
    """
    If its programs fail, start the container again.
    """,
)
GONE = Code(
    "NCT-0705",
    WARNING,
    "a device of a running container is no longer there",
    """
    The host has no node any more where a node of the container came from: a GPU was taken out or
    has failed, its MIG devices were made anew, or the driver was unloaded.
    """,
    """
    See what the driver says (dmesg, nvidia-smi), and start the container again.
    """,
)
TAKEN = Code(
    "NCT-0706",
    NOTE,
    "a running container lacks something that it was given",
    """
    A node or a file of the driver was removed, replaced or unmounted in it, by its own programs, or
    from outside.
    """,
    """
    'nvidia-ctk explain CONTAINER' says which.  If its programs did not mean it, start the container
    again.
    """,
)
REFUSED = Code(
    "NCT-0707",
    NOTE,
    "a container was not created today",
    """
    It asked for something that our runtime could not give, or may not; the engine was told why.
    """,
    """
    'nvidia-ctk explain CONTAINER' repeats the reason, and what to do.
    """,
)
CODES = (
    *(LOST, NUMBERS, OTHER_DRIVER, UVM, GONE, TAKEN, REFUSED, warned.WARNED),
    *elsewhere.CODES,
)

PATIENCE, DAY = 2.0, 24 * 3600
UVM_NODE, UVM_LOADED = "/dev/nvidia-uvm", "nvidia-uvm: Loaded the UVM driver"
SHORT_ID = 12
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
# By the names of `admission.engine`; the kubelet starts again what was stopped.
RESTARTS = {"docker": "docker restart {name}", "podman": "podman restart {name}"}
PODS = "io.kubernetes."
STOP_IN_POD, NERDCTL = "crictl stop {id}", "nerdctl restart {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that runs: its name, what was given to it, and how to start it again."""

    name: str
    record: dict[str, Any]
    given: asked.Asked
    now: Now
    restart: str

    def finding(self, code: Code, what: str, where: str, command: str = "") -> Finding:
        """Return a finding of it."""
        what = f"{self.name}: {what}"
        return Finding(code=code, what=what, where=where, command=command or self.restart)


def check(subject: Subject) -> Iterator[Said]:
    """Look at the containers that run."""
    yield Step("records of containers")
    if not subject.is_root:
        yield Skipped("containers of root, and the processes of others", "not root")
    deadline = time.monotonic() + PATIENCE
    state = files.state_folder()
    kept = Records(Path(state, "containers") if state else None)
    count, wrong = 0, 0
    warnings: list[tuple[str, Any]] = []
    for name, record in drift.running():
        yield Step(f"container {name[:SHORT_ID]}")
        now = drift.of(name, record, max(0.1, deadline - time.monotonic()))
        if not now.pid:
            continue
        count += 1
        warnings.append((name[:SHORT_ID], record.get("warnings")))
        given = asked.read(record)
        if not _may_be_wrong(now, given):
            continue
        yield Step(f"the name of container {name[:SHORT_ID]}")
        container = _container(kept, name, record, now, given)
        findings = list(_findings(container))
        wrong += bool(findings)
        yield from findings
    if count:
        yield Fine(f"{count} with GPUs {'run' if count > 1 else 'runs'}", is_main=True)
        if not wrong:
            yield Fine("all that run have what they were given")
    yield from warned.check(warnings)
    yield from _refused(kept)
    yield from elsewhere.check(subject, set(kept.ids))


def _refused(kept: Records) -> Iterator[Finding]:
    """Tell of the last create that failed today, unless it worked later."""
    times: dict[Path, float] = {}
    with contextlib.suppress(OSError):
        for path in kept.folder.with_name(FAILED).iterdir():
            times[path] = path.stat().st_mtime
    since = time.time() - DAY
    recent = sorted((path for path in times if times[path] > since), key=times.__getitem__)
    for path in recent[-1:]:
        try:
            failure = kept.head(path.stem).get("failure")
        except NvidiaRuntimeError:
            continue
        if isinstance(failure, dict):
            more = f" ({len(recent)} failed in all)" if len(recent) > 1 else ""
            name = path.stem[:SHORT_ID]
            what = f"{name}: {failure.get('error')}{more}"
            command = f"nvidia-ctk explain {name}"
            yield Finding(code=REFUSED, what=what, where=str(path), command=command)


def _may_be_wrong(now: Now, given: asked.Asked) -> bool:
    return bool(
        now.of(value.MISSING, value.DIFFERENT)
        or _other_version(given)
        or any(node.path == UVM_NODE for node in given.nodes)
    )


def _container(
    kept: Records, name: str, record: dict[str, Any], now: Now, given: asked.Asked
) -> Container:
    entry = kept.entry(name, record)
    # An annotation may call a container anything, and what we print is typed into a shell.
    shown_name = next(filter(PLAIN.fullmatch, entry.names), name[:SHORT_ID])
    labels = record.get("labels")
    form = RESTARTS.get(entry.engine, "")
    if isinstance(labels, dict) and not form:
        is_of_pod = any(key.startswith(PODS) for key in labels)
        form = NERDCTL if "nerdctl/name" in labels else STOP_IN_POD if is_of_pod else ""
    restart = form.format(name=shown_name, id=name[:SHORT_ID])
    return Container(
        name=shown_name,
        record=record,
        given=given,
        now=now,
        restart=restart or f"nvidia-ctk explain {shown_name}",
    )


def _findings(container: Container) -> Iterator[Finding]:
    now = container.now
    if lost := now.lost_rules():
        command = f"nvidia-ctk repair {container.name}"
        first = ", ".join(one.asked for one in lost[:3]) + (" …" if len(lost) > 3 else "")
        yield Finding(
            code=LOST,
            what=f"{container.name}: {len(lost)} of its device rules are gone ({first})",
            where=f"the control group of process {now.pid}",
            command=command,
            fix=Fix(words=("repair", container.name)),
        )
    devices = [one for one in now.of(value.DIFFERENT, value.MISSING) if one.kind == value.DEVICE]
    gone = [one for one in devices if one.why.endswith(f" is {sight.NOTHING} on the host now")]
    old = [one for one in devices if one.why and one not in gone]
    if gone:
        yield container.finding(GONE, f"there is no {_names(gone)} any more", gone[0].name)
    if old:
        yield container.finding(NUMBERS, _first(old), old[0].name)
    if version := _other_version(container.given):
        what = f"it has libraries of driver {version}, and {files.loaded_driver()} is loaded"
        yield container.finding(OTHER_DRIVER, what, files.DRIVER[0])
    mounts = [one for one in now.of(value.MISSING) if one.kind == value.MOUNT]
    if taken := [one for one in devices if not one.why] + mounts:
        command = f"nvidia-ctk explain {container.name}"
        is_other = taken[0].state == value.DIFFERENT
        what = f"is {taken[0].got} in it, not {taken[0].asked}" if is_other else "is gone in it"
        yield container.finding(TAKEN, f"{_names(taken)} {what}", taken[0].name, command)
    if not gone and not old:
        yield from _uvm(container)


def _names(listed: list[Drift]) -> str:
    more = f" and {len(listed) - 1} more" if len(listed) > 1 else ""
    return f"{listed[0].name}{more}"


def _first(listed: list[Drift]) -> str:
    one = listed[0]
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    return f"its {one.name} is {one.got}, but {one.why}{more}"


def _other_version(given: asked.Asked) -> str:
    """Return the version of the libraries that were given, "" if that is loaded, or not known."""
    loaded = files.loaded_driver()
    versions = {facts.library_version(mount.source) for mount in given.mounts} - {""}
    return "" if not loaded or not versions or loaded in versions else max(versions)


def _uvm(container: Container) -> Iterator[Finding]:
    """Tell of nvidia-uvm that the kernel loaded later than the container was started."""
    if not any(node.path == UVM_NODE for node in container.given.nodes):
        return
    times = [line.time for line in kernel_log.read() or () if UVM_LOADED in line.text]
    began = processes.began(f"/proc/{container.now.pid}")
    if times and began and times[-1] > began + 1:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(times[-1]))
        what = f"nvidia-uvm was loaded on {since}, after its start"
        yield container.finding(UVM, what, kernel_log.PATH)
