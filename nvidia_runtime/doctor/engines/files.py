# SPDX-License-Identifier: Apache-2.0
"""Engines' files: whether an engine would start on them, and whether it has read them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines.presence import restarting
from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Step
from nvidia_runtime.engines import difference, journal, judge, processes, reading, units, write
from nvidia_runtime.engines.difference import ABSENT
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said

SECONDS = 1.5  # which an engine has to judge its files

ADD_RUNTIME = "--add-runtime"

REFUSED = Code(
    "NCT-0411",
    ERROR,
    "an engine objects to its files",
    """
    The engine's own check refuses its configuration, although the format is right: a name is
    misspelt or of another version ("the following directives don't match any configuration
    option"), a value is impossible.  A daemon that runs does not start again.
    """,
    """
    Mend what the engine names.  The backups in /var/lib/nvidia-container-runtime/backups are the
    files as they were before nvidia-ctk changed them.
    """,
)
CONFLICT = Code(
    "NCT-0412",
    ERROR,
    "docker is told something both by a flag and in its file",
    """
    dockerd does not start: "unable to configure the Docker daemon with file
    /etc/docker/daemon.json: the following directives are specified both as a flag and in the
    configuration file".  The flags are in its service, such as 'ExecStart=/usr/bin/dockerd -H
    fd://', or --default-runtime=nvidia of an old guide in
    /etc/systemd/system/docker.service.d/override.conf.
    """,
    """
    Take it out of one of the two: 'systemctl edit --full docker', or daemon.json.  For "hosts", an
    override with an empty 'ExecStart=' and one without -H is usual.
    """,
)
NO_DEFAULT = Code(
    "NCT-0413",
    ERROR,
    "the default runtime does not exist",
    """
    The engine's files name a default runtime that none of them describes, as is left behind when
    the runtime is taken out by hand, or when a file's whole table hides the others.

    docker does not start: "specified default runtime 'nvidia' does not exist".  containerd starts
    without CRI, so that the node is NotReady: "no corresponding runtime configured in
    `containerd.runtimes` for `containerd` `default_runtime_name = "runc"`" (containerd 1 has no
    runc of its own beside a table of runtimes).  cri-o does not start; podman says "default OCI
    runtime "nvidia" not found".
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE' adds the runtime again, and for containerd 1
    names runc, too; or take the line with the default out of the file.
    """,
)
BEHIND = Code(
    "NCT-0414",
    ERROR,
    "an engine has not read its files since they changed",
    """
    The runtime is configured, but the daemon was started before, and it reads its files when it
    starts: docker says "unknown or invalid runtime name: nvidia", containerd "no runtime for
    "nvidia" is configured".  It is a warning where the daemon knows our runtime, or where the last
    change is not ours and nothing tells what the daemon knows.
    """,
    """
    Restart the engine.  Containers of containerd, cri-o and podman go on; those of docker end
    unless live-restore is set.  'nvidia-ctk runtime configure --restart=systemd' does both at once.
    """,
)
CODES = (REFUSED, CONFLICT, NO_DEFAULT, BEHIND)


def check(facts: Facts, *, is_root: bool) -> Iterator[Said]:
    """Look at an engine's files."""
    if not facts.is_seen:
        return
    yield Step(f"what {facts.engine} says of {facts.daemon.config}")
    wrong: list[Said] = [*_refused(facts, is_root=is_root), *_conflicts(facts), *_default(facts)]
    yield from wrong
    if not wrong:  # else a restart would end it
        yield from _behind(facts)


def _refused(facts: Facts, *, is_root: bool) -> Iterator[Said]:
    """Ask the engine; podman would read its storage for that."""
    daemon, name = facts.daemon, facts.engine
    is_asked = is_root and daemon.engine.has_daemon and daemon.executable
    # One of a snap, or of k3s, is another program; and files may need what flags say.
    if not is_asked or daemon.profile.marks or _of_flags(facts):
        return
    objection = judge.objection(
        daemon.engine, daemon.config, executable=daemon.executable, seconds=SECONDS
    )
    if objection:
        yield Finding(code=REFUSED, what=objection, where=daemon.config, engine=name)


def _conflicts(facts: Facts) -> Iterator[Said]:
    """Compare docker's flags with its file: runtimes alone may be in both."""
    if facts.engine != "docker" or not facts.document:
        return
    daemon = facts.daemon
    for word in _words(facts):
        flag = word.partition("=")[0]
        key = {"-H": "hosts", "--host": "hosts"}.get(flag, flag.removeprefix("--"))
        if flag.startswith("-") and key in facts.document:
            what = f"{flag} of dockerd and '{key}' in {daemon.config} say the same"
            yield Finding(
                code=CONFLICT,
                what=what,
                where=f"{daemon.config}: {key}",
                command=f"systemctl edit --full {daemon.profile.units[0]}",
                engine="docker",
                severity=WARNING if daemon.pid else "",
            )
            return


def _words(facts: Facts) -> list[str]:
    """Return what a daemon is started with, behind its name."""
    daemon = facts.daemon
    process = processes.read(daemon.pid) if daemon.pid else None
    unit = next(iter(daemon.profile.units), "")
    return [*process.words[1:]] if process else units.words(unit)[1:] if unit else []


def _of_flags(facts: Facts) -> set[str]:
    """Return the names of the runtimes that docker has by flags."""
    words = _words(facts)
    values = [
        word.partition("=")[2] or following
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word.partition("=")[0] == ADD_RUNTIME
    ]
    return {value.partition("=")[0] for value in values}


def _default(facts: Facts) -> Iterator[Said]:
    """Look whether the default runtime of the files is described."""
    table = difference.at(facts.document, facts.places.runtimes)
    names = {*(table if isinstance(table, dict) else ()), *_of_flags(facts)}
    default = facts.daemon.default or facts.summary.default
    built_in = facts.daemon.engine.built_in
    if facts.engine == "containerd" and () < facts.daemon.version < (2,) and names:
        default, built_in = default or built_in[0], ()  # a table replaces the built-in one
    if not default or default in names or _is_built_in(default, built_in):
        return
    if facts.places.default_table and default == "default":
        return  # of a table of its own
    listed = ", ".join(sorted(names)) or "none"
    yield Finding(
        code=NO_DEFAULT,
        what=f"the default of {facts.engine} is {default}; its runtimes are {listed}",
        where=f"{_last_word(facts)}: {'.'.join(facts.places.default)}",
        command=f"nvidia-ctk runtime configure --runtime={facts.engine}",
        engine=facts.engine,
    )


def _is_built_in(name: str, built_in: tuple[str, ...]) -> bool:
    """Whether a name is one of those that need no word; what ends in . or / is a beginning."""
    return any(name == one or (one[-1] in "./" and name.startswith(one)) for one in built_in)


def _last_word(facts: Facts) -> str:
    """Return the last file with a word on runtimes, which is the one to look at."""
    places = facts.places
    for path, document in reversed(facts.layers):
        values = (difference.at(document, place) for place in (places.default, places.runtimes))
        if any(value is not ABSENT for value in values):
            return path
    return facts.daemon.config


def _behind(facts: Facts) -> Iterator[Said]:
    """Look whether the daemon has read its files."""
    daemon = facts.daemon
    if not reading.can_be_told(daemon) or not facts.layers:
        return
    if not reading.has_not_read(daemon, facts.layers, facts.knowledge):
        return
    if not facts.knowledge and not facts.written:
        return  # whatever has changed, it is nothing of ours
    is_known = bool(facts.programs) if facts.knowledge else not _was_ours(facts)
    yield Finding(
        code=BEHIND,
        what=f"{facts.engine} (pid {daemon.pid}) has not read its files since they changed",
        where=daemon.config,
        command=restarting(daemon),
        engine=facts.engine,
        severity=WARNING if is_known else "",
    )


def _was_ours(facts: Facts) -> bool:
    """Whether the last change of a file was ours, by the journal."""
    try:
        entries = journal.entries()
        return any(
            entry.after is not None and entry.after == write.read(path) and not entry.is_undone
            for path, _ in facts.layers
            if (entry := entries.get(os.path.realpath(path)))
        )
    except NvidiaRuntimeError:
        return False
