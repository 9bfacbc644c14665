# SPDX-License-Identifier: Apache-2.0
"""What is known of an engine before it is judged: its files, its daemon's answer, CDI specs."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nvidia_runtime.cdi import registry
from nvidia_runtime.doctor.finding import ERROR, Code, Finding, Skipped
from nvidia_runtime.engines import (
    containerd,
    containerd_files,
    docker_info,
    native_cdi,
    podman,
    processes,
    program,
    runtimes,
)
from nvidia_runtime.engines.engine import Knowledge, Summary
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.engines.difference import Document
    from nvidia_runtime.engines.engine import Layer, Places
    from nvidia_runtime.engines.running import Running

KIND = "nvidia.com/gpu="
SECONDS = 1.5  # which a daemon has to answer

NO_ANSWER = Code(
    "NCT-0404",
    ERROR,
    "docker does not answer",
    """
    dockerd listens on its socket, but does not answer GET /info in time: it hangs, or the machine
    is very busy.  'docker ps' and 'docker run' wait in the same way.
    """,
    """
    'journalctl -u docker' says what it does; restart it.  A daemon that waits for a container's
    process in the driver, which cannot be killed, hangs again: then dmesg has lines with NVRM and
    Xid.
    """,
)
BROKEN = Code(
    "NCT-0410",
    ERROR,
    "a file of an engine cannot be read",
    """
    The engine's configuration is not what its format wants: a comma is missing in daemon.json, a
    table is there twice in config.toml, a value has a wrong type, or the file is no text.  A daemon
    that runs still has what it read before, but does not start again: "unable to configure the
    Docker daemon with file /etc/docker/daemon.json", "containerd: failed to load TOML".
    """,
    """
    Mend the place that is named, in an editor.  nvidia-ctk keeps the last versions of the files
    that it changed in /var/lib/nvidia-container-runtime/backups.
    """,
)
CODES = (NO_ANSWER, BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An engine: ``layers`` are its files, ``document`` what it makes of them.

    ``knowledge`` is what docker says that it knows, ``info`` all that it says.  ``view`` is the
    root of what the daemon sees, "" for our own.
    """

    daemon: Running
    layers: list[Layer] = field(default_factory=list)
    document: Document = field(default_factory=dict)
    places: Places
    knowledge: Knowledge | None = None
    info: dict[str, Any] = field(default_factory=dict)
    view: str = ""

    @property
    def engine(self) -> str:
        """The engine's name, by which it has a verdict."""
        return self.daemon.engine.name

    @property
    def called(self) -> str:
        """What people would call it: with the way in which it is installed, and its version."""
        version = ".".join(map(str, self.daemon.version))
        return f"{self.daemon.profile.name or self.engine} {version}".strip()

    @property
    def is_seen(self) -> bool:
        """Whether its files are those that we see."""
        return not self.daemon.elsewhere

    @property
    def summary(self) -> Summary:
        """What its files say of our runtimes."""
        return runtimes.summary(self.document, self.places)

    @property
    def default(self) -> str:
        """The default runtime, "" for the engine's own."""
        if self.knowledge:
            return self.knowledge.default
        return self.daemon.default or self.summary.default

    @property
    def written(self) -> dict[str, str]:
        """Our runtimes in its files, each with its program."""
        return runtimes.programs(self.document, self.places)

    @property
    def programs(self) -> dict[str, str]:
        """Our runtimes that it knows, each with its program; without an answer, those of files."""
        if self.knowledge is None:
            return self.written
        known_programs = self.knowledge.programs.items()
        return {name: path for name, path in known_programs if runtimes.is_ours(path)}

    @property
    def cdi(self) -> bool | None:
        """Whether it injects CDI devices itself."""
        if self.knowledge and self.knowledge.cdi is not None:
            return self.knowledge.cdi
        return native_cdi.is_on(self.daemon.engine, self.daemon.version, self.summary.cdi)

    @property
    def spec_dirs(self) -> tuple[str, ...]:
        """The folders in which it looks for CDI specs."""
        answered = self.info.get("CDISpecDirs")
        if isinstance(answered, list) and answered:
            return tuple(map(str, answered))
        return native_cdi.spec_dirs(self.document, self.places)

    @property
    def read_dirs(self) -> tuple[str, ...]:
        """Those that it reads: engines do not follow a folder of specs that is a link."""
        return tuple(folder for folder in self.spec_dirs if not os.path.islink(self.view + folder))

    @property
    def has_spec(self) -> bool:
        """Whether it reads a CDI spec that names GPUs."""
        return has_gpus(tuple(self.view + folder for folder in self.read_dirs))

    @property
    def search(self) -> str:
        """The PATH in which it looks for programs: of what has no daemon, that of our user."""
        if not self.daemon.engine.has_daemon:
            return os.environ.get("PATH", processes.FOLDERS)
        return processes.search_path(self.daemon.pid)


@functools.cache
def has_gpus(folders: tuple[str, ...]) -> bool:
    """Whether a CDI spec in some folders names GPUs."""
    return any(name.startswith(KIND) for name in registry.read(list(folders)).devices)


def gather(daemon: Running) -> tuple[Facts, list[Said]]:
    """Return what is known of an engine, and what is wrong with that."""
    engine = daemon.engine
    said: list[Said] = []
    layers: list[Layer] = []
    document: Document = {}
    if not daemon.elsewhere:
        try:
            layers = [*_system_files(daemon), *engine.layers(daemon.config, View())]
            layers = _without_missed(daemon, layers)
            document = engine.combined(layers, daemon.version)
        except NvidiaRuntimeError as error:
            said.append(_unreadable(daemon, error))
            layers = []
    info, problem = _answer(daemon)
    said += problem
    if not daemon.version:  # its program is not ours to run, as for a user in the group docker
        daemon = replace(daemon, version=program.version_in(str(info.get("ServerVersion", ""))))
    process = processes.read(daemon.pid) if daemon.pid else None
    facts = Facts(
        daemon=daemon,
        layers=layers,
        document=document,
        places=engine.places_in(document, daemon.config),
        knowledge=docker_info.knowledge(info) if info else None,
        info=info,
        view=process.view if process else "",
    )
    return facts, said


def _system_files(daemon: Running) -> list[Layer]:
    """Return the files of the system, which a user's podman reads before the user's own."""
    if daemon.engine is not podman.ENGINE or not daemon.profile.is_rootless:
        return []
    if os.environ.get(podman.ONLY):
        return []
    return podman.layers(podman.PROFILES[0].config, View())


def _without_missed(daemon: Running, layers: list[Layer]) -> list[Layer]:
    """Take out the files that containerd 1 does not find although they are imported."""
    if daemon.engine is not containerd.ENGINE or not () < daemon.version < (2,):
        return layers
    process = processes.read(daemon.pid) if daemon.pid else None
    lost = containerd_files.missed(layers, process.folder if process else "/")
    return [layer for layer in layers if layer[0] not in lost]


def _unreadable(daemon: Running, error: NvidiaRuntimeError) -> Said:
    engine = daemon.engine
    where = error.where or daemon.config
    if isinstance(error.__context__, PermissionError):
        return Skipped(f"{engine.name}'s files", f"{where} can be read by root only")
    what = f"{where} {error.what}" if error.what.startswith("is ") else error.what
    return Finding(code=BROKEN, what=f"{engine.name}: {what}", where=where, engine=engine.name)


def _answer(daemon: Running) -> tuple[dict[str, Any], list[Said]]:
    """Return what docker says of itself; other engines are not asked."""
    if daemon.engine.name != "docker" or not daemon.socket:
        return {}, []
    try:
        document = docker_info.asked(daemon.socket, "/info", SECONDS)
    except TimeoutError:
        what = f"dockerd (pid {daemon.pid}) has not answered on {daemon.socket} in {SECONDS:g} s"
        return {}, [Finding(code=NO_ANSWER, what=what, where=daemon.socket, engine="docker")]
    except PermissionError:
        why = f"{daemon.socket} is for root and the group docker: sudo, or usermod -aG docker"
        return {}, [Skipped("what docker itself says", why)]
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        return {}, [Skipped("what docker itself says", f"an odd answer on {daemon.socket}")]
    return document, []
