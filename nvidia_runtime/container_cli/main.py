# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-cli: gives a container that exists its GPUs, and says what this machine has.

For those who call the program of libnvidia-container: our prestart hook, enroot, Charliecloud,
Apptainer, LXD.  Options, output, exit codes and the words of errors are that program's.
"""

import posix
import sys

from nvidia_runtime.container_cli import options, problems
from nvidia_runtime.container_cli.options import NAME, Words
from nvidia_runtime.errors import NvidiaRuntimeError, internal
from nvidia_runtime.oci import lowlevel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.configuration import Configuration
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.log import Log

COMPAT_MODES = ("ldconfig", "mount", "disabled")
MOST_REQUIREMENTS = 32
TOO_MANY = "too many arguments"


def main() -> None:
    """Do what ``sys.argv`` says; never return."""
    ignored, words = sys.argv[3], sys.argv[5:]
    lowlevel.undo_start(ignored)  # one who reads no further ends us, as any program
    posix._exit(run(words))  # noqa: SLF001 (nothing is left to flush)


def run(words: list[str]) -> int:
    """Do what the words say; return the exit code."""
    is_debugging = False
    try:
        program, command = options.parse(words)
        for part in filter(None, (command, program)):
            if text := _standard(part):
                return _write(text)
        if command is None:
            raise options.wrong(options.PROGRAM, "no command is given")
        is_debugging = program.has("debug")
        return _do(program, command)
    except NvidiaRuntimeError as error:
        return _report(error)
    except Exception as error:  # a bug: still one line for the engine
        if is_debugging:
            raise
        return _report(internal(error, "--debug=/dev/stderr"))


def _do(program: Words, command: Words) -> int:
    from nvidia_runtime.log import Log

    log = Log()
    log.open(program.last("debug"))
    log.write("info", f"{command.table.program()} {command.values}")
    user = _user(program)
    if command.table is options.CONFIGURE:
        from nvidia_runtime.container_cli import container

        done: list[str] = []
        _tell(container.configure(configuration(program, command, user), done), log)
        for line in done:
            log.write("info", line)
        return 0
    if command.arguments:
        raise options.wrong(command.table, TOO_MANY)
    machine = _look(program, log)
    if command.table is options.INFO:
        from nvidia_runtime.container_cli import information

        with problems.during(problems.DETECTION):
            text = information.text(machine, as_csv=command.has("csv"))
            _tell(information.problems_of(machine), log)
    else:
        from nvidia_runtime.container_cli import listing

        with problems.during(problems.DETECTION):
            text = "".join(f"{path}\n" for path in listing.lines(command, machine))
    _tell(machine.warnings(), log)
    return _write(text)


def configuration(program: Words, command: Words, user: str) -> "Configuration":
    """Return what ``configure`` is asked for.  Raises `NvidiaRuntimeError` for nonsense."""
    from nvidia_runtime.container_cli.configuration import Configuration

    requirements = command.values.get("require", [])
    mode = command.last("cuda-compat-mode")
    if len(requirements) > MOST_REQUIREMENTS:
        raise problems.of(problems.INPUT, "too many requirements")
    if mode and mode not in COMPAT_MODES:
        hint = f"modes are {', '.join(COMPAT_MODES)}"
        raise problems.of(problems.INPUT, f"invalid cuda-compat-mode {mode!r}", hint)
    return Configuration(
        rootfs=_rootfs(command),
        pid=_pid(command),
        devices=command.ids("device"),
        mig_config=command.ids("mig-config"),
        mig_monitor=command.ids("mig-monitor"),
        imex_channels=command.ids("imex-channel"),
        capabilities=frozenset(name for name in options.CAPABILITIES if command.has(name)),
        requirements=tuple(requirements),
        driver_root=program.last("root"),
        ldcache=program.last("ldcache"),
        ldconfig=command.last("ldconfig"),
        user=user,
        cuda_compat_mode=mode,
        with_cgroups=not command.has("no-cgroups"),
        with_persistenced=not command.has("no-persistenced"),
        with_fabricmanager=not command.has("no-fabricmanager"),
        with_gsp_firmware=not command.has("no-gsp-firmware"),
        with_container_libraries=not command.has("no-cntlibs"),
        with_device_binds=not command.has("no-devbind"),
        can_load_modules=program.has("load-kmods"),
        can_create_channels=not program.has("no-create-imex-channels"),
    )


def _rootfs(command: Words) -> str:
    if not command.arguments:
        raise options.wrong(command.table, "no root of a container is given")
    path, *more = command.arguments
    if more:
        raise options.wrong(command.table, TOO_MANY)
    if path[:1] != "/" or not path.strip("/"):
        hint = "name the root of a container by its whole path"
        raise problems.of(problems.INPUT, "invalid rootfs directory", hint)
    return path


def _pid(command: Words) -> int:
    text = command.last("pid")
    if not command.has("pid"):
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        hint = "--pid takes the number of a process in the container"
        raise problems.of(problems.INPUT, "parse pid failed: invalid argument", hint)
    return int(text)


def _user(program: Words) -> str:
    """Return --user in numbers, "" without it; alone it means who calls."""
    if not program.has("user"):
        return ""
    name, _, group = program.last("user").partition(":")
    if not name:
        return f"{posix.geteuid()}:{posix.getegid()}"
    import grp  # only where users have names
    import pwd

    try:
        entry = None if name.isdigit() else pwd.getpwnam(name)
        uid = entry.pw_uid if entry else int(name)
        if group:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        else:
            gid = (entry or pwd.getpwuid(uid)).pw_gid
    except (KeyError, OverflowError, ValueError):
        hint = "--user takes UID[:GID], or names that this machine knows"
        what = "parse user/group failed: no such file or directory"
        raise problems.of(problems.INPUT, what, hint) from None
    return f"{uid}:{gid}"


def _look(program: Words, log: "Log") -> "Machine":
    """Return the machine, with its modules loaded if that is wanted."""
    from nvidia_runtime.generate import machine
    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.store import files

    root = program.last("root") or "/"
    if program.has("load-kmods"):
        from nvidia_runtime.container_cli import modules

        for problem in modules.prepare(root):
            log.write("warning", problem)
    wanted = Options()
    wanted.driver_root, wanted.path = root, files.environment(b"PATH")
    return machine.look(wanted)


def _standard(words: Words) -> str:
    """Return what --help, --usage or --version print, "" without them."""
    asked = [name for name in words.values if name in ("help", "usage", "version")]
    if not asked:
        return ""
    from nvidia_runtime.container_cli import usage

    if asked[0] == "version":
        return usage.version()
    return (usage.full if asked[0] == "help" else usage.short)(words.table)


def _tell(warnings: list[str], log: "Log") -> None:
    from nvidia_runtime.log import shown, warn

    for warning in warnings:
        log.write("warning", warning)
        warn(shown(f"{NAME}: {warning}") + "\n")


def _write(text: str) -> int:
    """Write to stdout; where nothing can be written, that is an error."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[posix.write(1, data) :]
    except OSError:
        return 1
    return 0


def _report(error: NvidiaRuntimeError) -> int:
    from nvidia_runtime.log import Log, report

    report(error, NAME, Log())
    return error.exit_code
