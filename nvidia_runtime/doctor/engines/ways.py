# SPDX-License-Identifier: Apache-2.0
"""The ways in which an engine would give a container its GPUs: our runtime, or CDI of its own."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines import native, programs
from nvidia_runtime.doctor.engines.kubernetes import TEMPLATE
from nvidia_runtime.doctor.engines.presence import restarting
from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Fine
from nvidia_runtime.engines import containerd_files, runtimes
from nvidia_runtime.engines.engine import Places, expanded
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.engines.engine import Layer

NO_WAY = Code(
    "NCT-0420",
    ERROR,
    "an engine has no way to give containers their GPUs",
    """
    The engine does not know our runtime, and does not inject CDI devices itself, or finds no CDI
    spec that names GPUs (nvidia.com/gpu) in its folders.  docker says "unknown or invalid runtime
    name: nvidia" or "could not select device driver "" with capabilities: [[gpu]]", containerd "no
    runtime for "nvidia" is configured", podman "unresolvable CDI devices nvidia.com/gpu=all".
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE' adds the runtime to the engine's files, and a
    restart makes the engine read them.  For CDI without our runtime, which podman and cri-o always
    have: 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml'.
    """,
)
HIDDEN = Code(
    "NCT-0421",
    ERROR,
    "a file hides the runtime that another one has",
    """
    The runtime is in one of the engine's files, but one that is read later says something else, and
    counts.  containerd 1 takes the whole table of the CRI plugin from the last file that has one:
    an import with a single line of it, such as one for CNI, hides all runtimes of the file itself.
    """,
    """
    Put the runtime where the engine reads it last: 'nvidia-ctk runtime configure' with --config and
    an empty --drop-in-config= edits the file that is named, and 'containerd config dump' shows what
    counts.
    """,
)
IGNORED = Code(
    "NCT-0422",
    ERROR,
    "a file has the runtime where this version of the engine does not look",
    """
    containerd's files have versions, and each has tables with names of its own: plugins.cri (1, and
    files without a version), plugins."io.containerd.grpc.v1.cri" (2),
    plugins."io.containerd.cri.v1.runtime" (3, since containerd 2).  What is in a table of another
    version is ignored without a word, as are version 1's by containerd 2: "no runtime for "nvidia"
    is configured".
    """,
    """
    'nvidia-ctk runtime configure --runtime=containerd' writes a file of the version that the daemon
    reads; take the useless table out.
    """,
)
NOT_READ = Code(
    "NCT-0423",
    ERROR,
    "the runtime is in a file that the engine does not read",
    """
    A file beside those of the engine has the runtime, but the engine is not told of it: containerd
    reads a file of conf.d or config.d only where 'imports' of its config.toml covers it; dockerd
    that runs with --config-file, for a user (rootless) or of a snap has another daemon.json;
    podman reads only the file that CONTAINERS_CONF names.
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE' asks the daemon that runs which file counts, and
    changes that, its imports too.
    """,
)
CODES = (NO_WAY, HIDDEN, IGNORED, NOT_READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Our runtimes that an engine can run, and whether it injects CDI devices itself."""

    runtimes: tuple[str, ...]
    is_native: bool

    @property
    def are_there(self) -> bool:
        """Whether there is one."""
        return bool(self.runtimes) or self.is_native


def of(facts: Facts) -> Ways:
    """Return the ways of an engine."""
    gone = programs.missing(facts) if facts.is_seen else {}
    usable = tuple(name for name in facts.programs if name not in gone)
    return Ways(runtimes=usable, is_native=bool(facts.cdi) and facts.has_spec)


def check(facts: Facts, spec_dirs: list[str]) -> Iterator[Said]:
    """Look for a way; ``spec_dirs`` are the folders in which we keep CDI specs."""
    ways = of(facts)
    if ways.are_there:
        yield Fine(f"{facts.called} ({_said(ways, facts)})", is_main=True)
    if facts.is_seen and not facts.programs and not facts.written:
        severity = WARNING if ways.is_native else ""
        findings = list(_misplaced(facts, severity))
        yield from findings
        if not ways.are_there and not findings:
            yield _none(facts)
    elif not facts.is_seen and not ways.are_there:
        yield _none(facts)
    yield from native.check(facts, spec_dirs, has_runtime=bool(ways.runtimes))


def _said(ways: Ways, facts: Facts) -> str:
    usual = "default runtime"
    names = [f"{usual if name == facts.default else 'runtime'} {name}" for name in ways.runtimes]
    return ", ".join([*names, *(["CDI"] if ways.is_native else [])])


def _none(facts: Facts) -> Finding:
    daemon, name = facts.daemon, facts.engine
    if daemon.profile.advice and os.path.exists(daemon.template):
        what = f"{daemon.config} is made of {daemon.template}, and has no runtime of ours"
        return Finding(
            code=TEMPLATE,
            what=what,
            where=daemon.template,
            command=restarting(daemon),
            engine=name,
        )
    if daemon.profile.advice:
        what = f"{facts.called} has not found our runtime when it was started"
        return Finding(
            code=NO_WAY, what=what, where=daemon.config, command=restarting(daemon), engine=name
        )
    cdi = "no CDI spec of GPUs is in its folders" if facts.cdi else "it injects no CDI devices"
    return Finding(
        code=NO_WAY,
        what=f"{facts.called} knows no runtime of ours, and {cdi}",
        where=daemon.config or daemon.elsewhere,
        command=f"nvidia-ctk runtime configure --runtime={name}" if facts.is_seen else "",
        engine=name,
        fix=programs.configuring(facts) if facts.is_seen else None,
    )


def _misplaced(facts: Facts, severity: str) -> Iterator[Finding]:
    """Say in which file the runtime is, but does not count."""
    configure = f"nvidia-ctk runtime configure --runtime={facts.engine}"
    for number, layer in enumerate(facts.layers):
        if not _has_ours(facts, layer):
            continue
        where, code = layer[0], IGNORED
        what = f"{where} has our runtime in a table that {facts.called} does not read"
        command = configure
        if hiding := _hiding(facts, number):
            code, what = HIDDEN, f"{hiding} is read after {where} and hides the runtime there"
            command = f"{configure} --config={hiding} --drop-in-config="
        yield Finding(
            code=code,
            what=what,
            where=where,
            command=command,
            engine=facts.engine,
            severity=severity,
        )
        return
    for path in _others(facts):
        yield Finding(
            code=NOT_READ,
            what=f"{path} has our runtime, but {facts.called} reads {facts.daemon.config}",
            where=path,
            command=configure,
            engine=facts.engine,
            severity=severity,
            fix=programs.configuring(facts),
        )
        return


def _has_ours(facts: Facts, layer: Layer) -> bool:
    """Whether a file has our runtime, wherever a version of the engine would look for it."""
    return any(runtimes.programs(layer[1], places) for places in _all_places(facts))


def _all_places(facts: Facts) -> list[Places]:
    if facts.engine != "containerd":
        return [facts.places]
    return [containerd_files.places(version) for version in (1, 2, 3)]


def _hiding(facts: Facts, number: int) -> str:
    """Return the file that takes a runtime away again, "" where it has never counted."""
    engine, daemon = facts.daemon.engine, facts.daemon
    for end in range(number + 1, len(facts.layers) + 1):
        document = engine.combined(facts.layers[:end], daemon.version)
        if runtimes.programs(document, engine.places_in(document, daemon.config)):
            continue
        return "" if end == number + 1 else facts.layers[end - 1][0]
    return ""


def _others(facts: Facts) -> Iterator[str]:
    """List files that the engine does not read, and that have our runtime."""
    engine, daemon = facts.daemon.engine, facts.daemon
    read = {os.path.realpath(path) for path, _ in facts.layers}
    folder = os.path.dirname(daemon.config)
    candidates = [expanded(profile.config) for profile in engine.profiles if not profile.templates]
    if engine.drop_in:
        own = os.path.dirname(engine.drop_in.format(config=candidates[0]))
        folders = dict.fromkeys((own, f"{folder}/conf.d", f"{folder}/config.d"))
        candidates += [path for one in folders for path in sorted(glob.glob(f"{one}/*"))]
    for path in candidates:
        if os.path.realpath(path) in read or not os.path.isfile(path):
            continue
        try:
            document = engine.format.parse(View().read(path), path)
        except NvidiaRuntimeError:
            continue
        if _has_ours(facts, (path, document)):
            yield path
