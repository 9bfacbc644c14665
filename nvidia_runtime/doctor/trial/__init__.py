# SPDX-License-Identifier: Apache-2.0
"""What a small container finds when it is started with the GPUs that it would get.

No image is pulled, and nothing is left: the image, the containers and the folder are the trial's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, WARNING, Engine, Finding, Fine, Skipped, Step
from nvidia_runtime.doctor.trial import bundle, codes, cuda, reading, ways
from nvidia_runtime.doctor.trial import run as trial_run
from nvidia_runtime.engines import running, supported
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.doctor.trial.run import Bench
    from nvidia_runtime.doctor.trial.ways import Plan, Way
    from nvidia_runtime.engines.running import Running

CODES = (*codes.CODES, *cuda.CODES)
BUNDLE = bundle.ENGINE
PLANS = {
    "docker": ways.docker,
    "podman": ways.podman,
    "containerd": ways.containerd,
}
NAMES = (BUNDLE, *PLANS)
# What a spec has is written anew; what is generated at each create is told with its warnings.
WRITTEN = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
# What an interpreter says that lacks something, or its loader.
OWN = ("Fatal Python error", "ModuleNotFoundError", "error while loading shared libraries")
GENERATED = "nvidia-ctk cdi generate >/dev/null"


def check(subject: Subject, name: str = "") -> Generator[Said, None, None]:
    """Try an engine, or all that are here.  Raises `NvidiaRuntimeError` for an unknown one."""
    check_name(name)
    yield Step("what a container needs")
    left: list[str] = []
    try:
        with trial_run.bench() as bench:
            left = bench.left
            for one in (name,) if name else NAMES:
                yield from _try(one, subject, bench, is_named=bool(name))
    except NvidiaRuntimeError as error:
        yield Skipped("the trial", _why(error))
    for command in left:
        what = "it was not removed in time, or could not be"
        yield Finding(code=codes.LEFT, what=what, where=command, command=command)


def check_name(name: str) -> None:
    """Refuse an engine that could not be tried; "" is all."""
    if name and name not in NAMES:
        hint = f"try one of {', '.join(NAMES)}"
        raise NvidiaRuntimeError(f"there is no engine {name!r} that could be tried", hint=hint)


def _try(name: str, subject: Subject, bench: Bench, *, is_named: bool) -> Iterator[Said]:
    """Try one engine; one that is not here is an error only if it is named."""
    yield Step(name)
    engine = None if name == BUNDLE else running.find(supported.ENGINES[name])
    if name != BUNDLE and engine is None:
        if is_named:
            yield Skipped(name, "it is not installed")
        return
    if why := _hindrance(engine, is_named=is_named):
        yield Skipped(name, why)
        return
    silence = "it does not run" if _is_stopped(engine) else ""
    try:
        if engine is None:
            plan = bundle.plan(subject, bench)
        elif not silence:
            plan = PLANS[name](subject, engine, bench)
    except NvidiaRuntimeError as error:
        if engine is None or error.where != engine.socket:
            yield Skipped(name, _why(error))
            return
        silence = error.what
    if not silence and not plan.ways and not is_named and not plan.load:
        # podman is often there for something else; a daemon that runs is there for containers.
        yield Skipped(name, f"it has no way to give GPUs; '{plan.configure}' gives it one")
        return
    yield Engine(name)
    if not silence:
        yield from _carry_out(plan, subject, bench)
    elif engine:
        yield Finding(
            code=codes.SILENT,
            what=f"{name}: {silence}",
            where=engine.socket or engine.config,
            command=_status(engine),
            engine=name,
        )


def _why(error: NvidiaRuntimeError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _status(engine: Running) -> str:
    """Return the command that tells how the engine's service is."""
    words = engine.profile.restart
    if words[0] != "systemctl":
        return " ".join([words[0], "services", *engine.profile.units[:1]])
    return " ".join([*words[:-1], "status", *engine.profile.units[:1]])


def _is_stopped(engine: Running | None) -> bool:
    return engine is not None and engine.engine.has_daemon and not engine.pid


def _hindrance(engine: Running | None, *, is_named: bool) -> str:
    """Say why an engine is not tried, "" for nothing."""
    if engine is None:
        return ""
    if engine.elsewhere:
        return engine.elsewhere
    if _is_stopped(engine):
        return "" if is_named else "it does not run"
    if engine.socket and not os.access(engine.socket, os.R_OK | os.W_OK):
        return f"this user may not use {engine.socket}"
    return ""


def _carry_out(plan: Plan, subject: Subject, bench: Bench) -> Iterator[Said]:
    """Try all ways of an engine; the image goes when that is done."""
    if not plan.ways:
        what = f"{plan.engine} has neither our runtime nor a CDI device {ways.DEVICE}"
        yield Finding(
            code=codes.NO_WAY,
            what=what,
            where=plan.engine,
            command=plan.configure,
            engine=plan.engine,
        )
        return
    try:
        if plan.load:
            yield Step(f"{plan.engine} takes an image")
            ended = plan.load()
            if ended.code or ended.is_late:
                what = "it does not answer in time" if ended.is_late else ended.message
                yield Finding(
                    code=codes.SILENT if ended.is_late else codes.IMAGE,
                    what=f"{plan.engine}: {what}",
                    where=f"{plan.engine}: image",
                    engine=plan.engine,
                )
                return
        yield from _ways(plan, subject, bench)
    finally:
        if plan.unload:
            plan.unload()


def _ways(plan: Plan, subject: Subject, bench: Bench) -> Iterator[Said]:
    """Try each way; what fails in one is a warning where another one works."""
    listed: list[Finding] = []
    is_good = False
    for way in plan.ways:
        if bench.seconds(1) < 1:
            yield Skipped(way.label, f"{trial_run.PATIENCE:g} s are over")
            continue
        yield Step(way.label)
        wrong: list[Finding] = []
        for said in _way(way, plan, subject):
            if isinstance(said, Finding):
                wrong.append(said)
            else:
                yield said
        listed += wrong
        is_good = is_good or not any(one.weight == ERROR for one in wrong)
    for finding in listed:
        severity = WARNING if is_good and finding.weight == ERROR else finding.severity
        yield dataclasses.replace(finding, engine=plan.engine, severity=severity)


def _way(way: Way, plan: Plan, subject: Subject) -> Iterator[Said]:
    ended = way.run()
    seen = reading.sight(ended.out)
    if not seen.step:
        yield _refused(ended, way, plan)
        return
    by_spec = ways.DEVICE in way.label or subject.mode == "cdi"
    command = WRITTEN if by_spec else GENERATED
    wrong = [*reading.findings(seen, ended, way.label, subject.driver_root, command)]
    yield from wrong
    if not wrong:
        yield Fine(f"{way.label}: {reading.summary(seen)}", is_main=True)


def _refused(ended: trial_run.Ended, way: Way, plan: Plan) -> Finding:
    """Say why there was no container, or that there is none without a GPU either."""
    where = f"{way.label}: create"
    if ended.is_late:
        what = "it does not end in time, and the program in it has said nothing"
        return Finding(code=codes.HANGS, what=what, where=where)
    control = plan.control.run()
    if any(mark in control.err for mark in OWN):
        # The container is there, and the trial itself does not work in it.
        step = "the trial's own program"
        what = f"it does not start: {control.message}"
        return Finding(
            code=codes.CRASHES, what=what, where=f"{way.label}: {step}", severity=WARNING
        )
    if not reading.sight(control.out).step:
        what = "it does not end in time" if control.is_late else control.message
        return Finding(code=codes.PLAIN, what=what, where=f"{plan.control.label}: create")
    command = "nvidia-ctk cdi validate" if ways.DEVICE in way.label else ""
    return Finding(code=codes.REFUSED, what=ended.message, where=where, command=command)
