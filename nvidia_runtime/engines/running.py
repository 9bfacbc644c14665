# SPDX-License-Identifier: Apache-2.0
"""The engine that runs, not the one in PATH: from socket to process, to its version and file."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from nvidia_runtime.engines import processes, program
from nvidia_runtime.engines.engine import Engine, Profile, Version, expanded


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An engine of this machine: pid 0 means that no daemon of it runs.

    ``executable`` is "" and ``version`` () where the program is not one to be run here.  ``config``
    is the file in use, whether it exists or not, ``template`` what the engine makes that file from,
    "" for nothing.  ``elsewhere`` is why its files are not those that are seen from here,
    ``default`` the default runtime that the daemon was told by a flag.  ``owner`` is its user's id,
    ``began`` when it was started, 0 where that is not known.
    """

    engine: Engine
    profile: Profile
    pid: int
    executable: str
    version: Version
    config: str
    socket: str
    template: str = ""
    elsewhere: str = ""
    default: str = ""
    owner: int = 0
    began: float = 0.0


def find(engine: Engine, root: str = "/") -> Running | None:
    """Find an engine: the first that runs, the distribution's before others, or else what is there.

    ``root`` is where this machine's files are.  None: it neither runs nor is installed.
    """
    return next(iter(all_of(engine, root)), None)


def all_of(engine: Engine, root: str = "/") -> list[Running]:
    """List all that run of an engine, since a machine may have two; else what is installed."""
    return daemons(engine, root) or _installed(engine, root)


def daemons(engine: Engine, root: str = "/") -> list[Running]:
    """List all that run of an engine, our own user's first."""
    by_pid: dict[int, Running] = {}
    for socket in sockets(engine):
        path = _below(root, socket)
        for process in processes.behind(path, engine.program, _below(root, "/proc")):
            by_pid.setdefault(process.pid, _running(engine, process, socket, root))
    return sorted(by_pid.values(), key=lambda daemon: daemon.owner != os.geteuid())


def sockets(engine: Engine) -> list[str]:
    """List the sockets to look at; one that the user has named is the only one."""
    named = os.environ.get(engine.socket_variable, "").removeprefix("unix://")
    if named.startswith("/"):
        return [named]
    paths = (expanded(path) for profile in engine.profiles for path in profile.sockets)
    return list(dict.fromkeys(paths))


def _running(engine: Engine, process: processes.Process, socket: str, root: str) -> Running:
    words = [process.executable, *process.words]
    profile = engine.recognise(words, is_rootless=process.owner != 0)
    version = program.version(process.program, process.words[0]) if process.is_ours else ()
    config = _argument(process.words[1:], engine.config_flags)
    if config:
        config = os.path.normpath(os.path.join(process.folder, config))
    else:
        config = expanded(profile.config)
    return Running(
        engine=engine,
        profile=profile,
        pid=process.pid,
        executable=process.executable if process.is_ours else "",
        version=version,
        config=config,
        socket=socket,
        template=_template(profile, config, version),
        elsewhere=_of_another_user(engine, process, profile)
        or _elsewhere(engine, process, config, root),
        default=_argument(process.words[1:], engine.default_flags),
        owner=process.owner,
        began=process.began,
    )


def _template(profile: Profile, config: str, version: Version) -> str:
    """Return the template of a configuration, beside it where both are in one folder."""
    template = next((path for since, path in reversed(profile.templates) if since <= version), "")
    return template and os.path.join(os.path.dirname(config), os.path.basename(template))


def _of_another_user(engine: Engine, process: processes.Process, profile: Profile) -> str:
    """Say that a daemon is another user's, whose folders we do not know."""
    if not profile.is_rootless or process.owner == os.geteuid():
        return ""
    return (
        f"{engine.name} (pid {process.pid}) is that of the user with id {process.owner};"
        " run nvidia-ctk as that user"
    )


def _elsewhere(engine: Engine, process: processes.Process, config: str, root: str) -> str:
    """Say that a daemon sees another file system than we do, unless its configuration is here."""
    config = _below(root, config)
    if processes.sees(process, config):
        return ""
    return (
        f"{engine.name} (pid {process.pid}) runs in a mount namespace of its own, such as a"
        f" container's, where {config} is another file; run nvidia-ctk there: "
        f"nsenter --target {process.pid} --mount"
    )


def _installed(engine: Engine, root: str) -> list[Running]:
    """Return what would run, from the first profile whose program or file is there."""
    if executable := _program(engine, root):
        profile = engine.recognise([], is_rootless=os.geteuid() != 0)
        return [_idle(engine, profile, executable, root)]
    for profile in engine.profiles[1:]:
        if not profile.is_rootless and os.path.exists(_below(root, profile.config)):
            return [_idle(engine, profile, "", root)]
    return []


def _idle(engine: Engine, profile: Profile, executable: str, root: str) -> Running:
    config = os.environ.get(engine.config_variable) or expanded(profile.config)
    version = program.version(executable, executable) if executable and root == "/" else ()
    return Running(
        engine=engine,
        profile=profile,
        pid=0,
        executable=executable,
        version=version,
        config=config,
        socket="",
        template=_template(profile, config, version),
    )


def _program(engine: Engine, root: str) -> str:
    """Find an engine's program in PATH, or where programs of root's are."""
    search = (
        f"{os.environ.get('PATH', '')}:{processes.FOLDERS}" if root == "/" else processes.FOLDERS
    )
    for folder in search.split(":"):
        path = os.path.join(folder, engine.program)
        if folder.startswith("/") and shutil.which(_below(root, path)):
            return path
    return ""


def _below(root: str, path: str) -> str:
    return path if root == "/" else root.rstrip("/") + path


def _argument(words: tuple[str, ...], flags: tuple[str, ...]) -> str:
    """Return the value of a flag, "" where it is not given; the last one counts."""
    argument = ""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name in flags:
            argument = value if equals else following
    return argument
