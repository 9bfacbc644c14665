# SPDX-License-Identifier: Apache-2.0
"""The engine that runs, not the one in PATH: from its socket to its process, its version and file.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from nvidia_runtime.engines import processes, profiles
from nvidia_runtime.engines.profiles import Profile

SECONDS = 10
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# By which flags each daemon is told of its configuration, and of its socket.
CONFIG_FLAGS = {
    "docker": ("--config-file",),
    "containerd": ("--config", "-config", "-c"),
    "crio": ("--config", "-config", "-c"),
}
# Which flags say what the file may say, too: dockerd does not start when both do.  --add-runtime
# is none of them, since runtimes are put together from both.
SETTING_FLAGS = {"docker": ("--default-runtime",)}
# By which variable each engine's own clients are told of its socket.
SOCKET_VARIABLES = {"docker": "DOCKER_HOST", "containerd": "CONTAINERD_ADDRESS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An engine of this machine: pid 0 means that no daemon of it runs.

    ``executable`` is "" and ``version`` () where the program is not one to be run here.  ``config``
    is the file in use, whether it exists or not, ``template`` what the engine makes that file from,
    ``drop_in`` a file that it reads besides without an import; "" is none.  ``advice`` is why there
    is nothing to configure, ``note`` what else to know, ``elsewhere`` why its files are not those
    that are seen from here, ``flags`` which flags of the daemon say what its file says, too.
    """

    engine: str
    pid: int
    executable: str
    version: tuple[int, ...]
    config: str
    socket: str
    profile: str
    advice: str = ""
    note: str = ""
    template: str = ""
    drop_in: str = ""
    elsewhere: str = ""
    flags: tuple[str, ...] = ()


def find(engine: str, root: str = "/") -> Running | None:
    """Find an engine: the first that runs, the distribution's before others, or else what is there.

    ``root`` is where this machine's files are.  None: neither running nor installed.
    """
    found = all_of(engine, root)
    return found[0] if found else None


def all_of(engine: str, root: str = "/") -> list[Running]:
    """List all that run of an engine, since a machine may have two; else what is installed."""
    return daemons(engine, root) or _installed(engine, root)


def daemons(engine: str, root: str = "/") -> list[Running]:
    """List all that run of an engine."""
    found: dict[int, Running] = {}
    for socket in _sockets(engine):
        path = _below(root, socket)
        for process in processes.behind(path, _is_daemon(engine), _below(root, "/proc")):
            found.setdefault(process.pid, _running(engine, process, socket, root))
    return list(found.values())


def _is_daemon(engine: str) -> tuple[str, ...]:
    return profiles.of(engine)[0].programs


def _sockets(engine: str) -> list[str]:
    """List the sockets to look at; one that the user has named is the only one."""
    named = os.environ.get(SOCKET_VARIABLES.get(engine, ""), "").removeprefix("unix://")
    if named.startswith("/"):
        return [named]
    known = [profiles.expanded(path) for each in profiles.of(engine) for path in each.sockets]
    return list(dict.fromkeys(known))


def _running(engine: str, process: processes.Process, socket: str, root: str) -> Running:
    words = [process.executable, *process.words]
    profile = profiles.recognise(engine, words, is_rootless=process.owner != 0)
    version = _version(process.program, process.words[0]) if process.is_ours else ()
    config = _argument(process.words[1:], CONFIG_FLAGS[engine])
    if config:
        config = os.path.normpath(os.path.join(process.folder, config))
    else:
        config = profiles.expanded(profile.config)
    return Running(
        engine=engine,
        pid=process.pid,
        executable=process.executable if process.is_ours else "",
        version=version,
        config=config,
        socket=socket,
        profile=profile.name,
        advice=profile.advice,
        note=profile.note,
        template=_template(profile, config, version),
        drop_in=profile.drop_in,
        elsewhere=_others(engine, process, profile) or _elsewhere(engine, process, config, root),
        flags=tuple(
            flag
            for flag in SETTING_FLAGS.get(engine, ())
            if any(word.partition("=")[0] == flag for word in process.words)
        ),
    )


def _template(profile: Profile, config: str, version: tuple[int, ...]) -> str:
    """Return the template of a configuration, beside it where both are in one folder."""
    if not profile.template:
        return ""
    name = os.path.basename(profile.template).format(version="-v3" if version >= (2,) else "")
    return os.path.join(os.path.dirname(config), name)


def _others(engine: str, process: processes.Process, profile: Profile) -> str:
    """Say that a daemon is another user's, whose folders we do not know."""
    if not profile.is_rootless or process.owner == os.geteuid():
        return ""
    return (
        f"{engine} (pid {process.pid}) is that of the user with id {process.owner};"
        " run nvidia-ctk as that user"
    )


def _elsewhere(engine: str, process: processes.Process, config: str, root: str) -> str:
    """Say that a daemon sees another file system than we do, unless its configuration is here."""
    config = _below(root, config)
    if processes.sees(process, config):
        return ""
    return (
        f"{engine} (pid {process.pid}) runs in a mount namespace of its own, such as a container's,"
        f" where {config} is another file; run nvidia-ctk there: "
        f"nsenter --target {process.pid} --mount"
    )


def _installed(engine: str, root: str) -> list[Running]:
    """Return what would run, from the first profile whose program or file is there."""
    known = profiles.of(engine)
    is_rootless = os.geteuid() != 0
    for profile in known:
        if profile.is_rootless and not is_rootless:
            continue
        executable = _program(profile, root)
        if executable and not (is_rootless and any(each.is_rootless for each in known)):
            return [_idle(profile, executable, root)]
        if executable and is_rootless:
            own = next(each for each in known if each.is_rootless)
            return [_idle(own, executable, root)]
        if profile.name and not profile.is_rootless and _exists(root, profile.config):
            return [_idle(profile, "", root)]
    return []


def _idle(profile: Profile, executable: str, root: str) -> Running:
    config = profiles.expanded(profile.config)
    if profile.engine == "podman":
        config = os.environ.get("CONTAINERS_CONF") or config
    version = _version(executable, executable) if executable and root == "/" else ()
    return Running(
        engine=profile.engine,
        pid=0,
        executable=executable,
        version=version,
        config=config,
        socket="",
        profile=profile.name,
        advice=profile.advice,
        note=profile.note,
        template=_template(profile, config, version),
        drop_in=profile.drop_in,
    )


def _program(profile: Profile, root: str) -> str:
    """Find an engine's program in PATH, or where programs of root's are."""
    for name in profile.programs:
        search = f"{os.environ.get('PATH', '')}:{FOLDERS}" if root == "/" else FOLDERS
        for folder in search.split(":"):
            path = os.path.join(folder, name)
            if folder.startswith("/") and shutil.which(_below(root, path)):
                return path
    return ""


def _exists(root: str, path: str) -> bool:
    return os.path.exists(_below(root, profiles.expanded(path)))


def _below(root: str, path: str) -> str:
    return path if root == "/" else root.rstrip("/") + path


def _argument(words: tuple[str, ...], flags: tuple[str, ...]) -> str:
    """Return the value of a flag, "" where it is not given; the last one counts."""
    found = ""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name in flags:
            found = value if equals else following
    return found


def _version(program: str, name: str) -> tuple[int, ...]:
    """Ask a program for its version; k3s is many programs in one file, told apart by the name."""
    try:
        asked = subprocess.run(
            [name, "--version"],
            executable=program,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"\d+(?:\.\d+)+", asked.stdout.decode(errors="replace"))
    return tuple(int(number) for number in match[0].split(".")) if match else ()
