# SPDX-License-Identifier: Apache-2.0
"""``nvidia-container-cli``: which one is called, its words, how we become it.

One that the settings name or that is installed, as that of libnvidia-container, is executed.
Where there is none, or it is our own, its work is done in this process: ours is the same program,
and another interpreter would only cost time.
"""

import posix

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import COMPAT_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nvidia_runtime.store.snapshot import Settings, Snapshot

NAME = "nvidia-container-cli"
COMPAT_MODES = {
    "ldconfig": "ldconfig",
    "mount": "mount",
    "disabled": "disabled",
    "hook": "disabled",
}
CONTAINERS_COMPAT = "features.allow-cuda-compat-libs-from-container"
NO_IMEX_CREATION = "features.disable-imex-channel-creation"
TIMEOUT = "nvidia-container-runtime-hook.timeout"


class Grant:
    """What a container gets: the ids as written, capabilities, requirements, its process and root.

    A list is joined as ``--device``, ``--mig-config``, ``--mig-monitor`` and ``--imex-channel``
    want it; "" leaves the flag out.
    """

    __slots__ = (
        "capabilities",
        "devices",
        "imex",
        "mig_config",
        "mig_monitor",
        "pid",
        "requirements",
        "root",
    )

    def __init__(self, devices: str, pid: int, root: str) -> None:
        self.devices = devices
        self.pid = pid
        self.root = root
        self.mig_config = ""
        self.mig_monitor = ""
        self.imex = ""
        self.capabilities: tuple[str, ...] = ()
        self.requirements: tuple[str, ...] = ()


def words(grant: Grant, settings: "Settings", *, debug: bool) -> list[str]:
    """Return the words of the call: ``configure`` with all its flags, without the program."""
    debug_file = "/dev/stderr" if debug else settings[f"{NAME}.debug"]
    call = [
        _flag("root", settings[f"{NAME}.root"]),
        _switch("load-kmods", settings[f"{NAME}.load-kmods"]),
        _switch("no-create-imex-channels", settings[NO_IMEX_CREATION]),
        _switch("no-pivot", settings[f"{NAME}.no-pivot"]),
        _flag("debug", debug_file),
        _flag("ldcache", settings[f"{NAME}.ldcache"]),
        _flag("user", settings[f"{NAME}.user"]),
        "configure",
        _flag("cuda-compat-mode", _compat_mode(settings)),
        _flag("ldconfig", _ldconfig(settings[f"{NAME}.ldconfig"])),
        _switch("no-cgroups", settings[f"{NAME}.no-cgroups"]),
        _flag("device", grant.devices),
        _flag("mig-config", grant.mig_config),
        _flag("mig-monitor", grant.mig_monitor),
        _flag("imex-channel", grant.imex),
        *[f"--{name}" for name in sorted(grant.capabilities)],
        *[f"--require={expression}" for expression in grant.requirements],
        f"--pid={grant.pid}",
        grant.root,
    ]
    return [word for word in call if word]


def _flag(name: str, value: str) -> str:
    return f"--{name}={value}" if value else ""


def _switch(name: str, on: bool) -> str:
    return f"--{name}" if on else ""


def _compat_mode(settings: "Settings") -> str:
    """Return the mode in the program's words; an unknown one may be left to its own choice."""
    unknown = "" if settings[CONTAINERS_COMPAT] else "disabled"
    return COMPAT_MODES.get(settings[COMPAT_MODE], unknown)


def _ldconfig(setting: str) -> str:
    """Return this host's ldconfig: Debian's and Ubuntu's is a script beside the real one."""
    if setting[:1] != "@":
        return setting  # the container's own, where the settings allow it
    plain = setting.removesuffix(".real")
    try:
        posix.stat(f"{plain[1:]}.real")
    except (OSError, ValueError):
        return plain
    return f"{plain}.real"


def run(words: list[str], snapshot: "Snapshot", ignored: str) -> "NoReturn":
    """Become the program; where the settings limit its time, in a child.

    ``ignored`` is as in `lowlevel.undo_start`.
    """
    settings = snapshot.settings
    path: str = settings[f"{NAME}.path"]
    search = "" if path else search_path(settings[f"{NAME}.root"], files.environment(b"PATH"))
    program = path or find(search, start.launcher())
    environment = [read_entry(entry, snapshot.config) for entry in settings[f"{NAME}.environment"]]
    is_ours = not program or lowlevel.is_launcher(program, start.launcher())
    if search and not is_ours:
        environment.insert(0, ("PATH", search))
    seconds: int = settings[TIMEOUT]
    if seconds:
        from nvidia_runtime.hooks import supervisor  # 5 ms more, for ctypes

        supervisor.fork(program or NAME, seconds, TIMEOUT)
    if is_ours:
        _do(words, environment, snapshot.config)
    _become(program, words, environment, ignored)


def _do(words: list[str], environment: list[tuple[str, str]], config: str) -> "NoReturn":
    """Do what our own program would do, with these settings."""
    for name, value in (("NVIDIA_CTK_CONFIG_FILE_PATH", config), *environment):
        posix.environ[_encode(name)] = _encode(value)
        posix.putenv(_encode(name), _encode(value))
    start.preload(*start.CONTAINER_CLI)
    from nvidia_runtime.container_cli import main  # where no other program is there

    posix._exit(main.run(words))  # noqa: SLF001 (nothing is left to flush)


def search_path(root: str, path: str) -> str:
    """Return a PATH with the default folders, all of it below the driver root first."""
    folders = [folder for folder in path.split(":") if folder]
    folders += [folder for folder in lowlevel.DEFAULT_PATH if folder not in folders]
    if root:
        below = [f"{root.rstrip('/')}/{folder.lstrip('/')}" for folder in folders]
        folders = below + folders
    return ":".join(folders)


def find(search: str, launcher: str) -> str:
    """Return the first program of another's in a PATH, "" if there is none but ours."""
    for folder in search.split(":"):
        program = f"{folder}/{NAME}"
        is_program = folder[:1] == "/" and lowlevel.is_executable(program)
        if is_program and not lowlevel.is_launcher(program, launcher):
            return program
    return ""


def read_entry(text: str, config: str) -> tuple[str, str]:
    """Read a variable for the program, as config.toml has it."""
    name, equals, value = text.partition("=")
    if not name or not equals or "\0" in text:
        what = f"must be a list of NAME=VALUE, not with {text!r} in it"
        hint = "correct the file, or take the entry out"
        raise NvidiaRuntimeError(what, where=f"{config}: {NAME}.environment", hint=hint)
    return name, value


def _become(
    program: str, words: list[str], environment: list[tuple[str, str]], ignored: str
) -> "NoReturn":
    lowlevel.undo_start(ignored)
    for name, value in environment:
        posix.putenv(_encode(name), _encode(value))
    try:
        # Without an environment argument: order, duplicates and invalid entries stay as they are.
        posix.execv(_encode(program), [_encode(word) for word in (program, *words)])
    except (OSError, ValueError) as error:
        hint = f"correct {NAME}.path, or leave it empty: ours does the work then"
        raise NvidiaRuntimeError(f"cannot be executed: {os_reason(error)}", program, hint) from None


def _encode(text: str) -> bytes:
    """Encode as the documents are encoded, whatever the locale."""
    return text.encode("utf-8", "surrogateescape")
