# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-runtime: rewrite the bundle on ``create``, then become the low-level runtime.

`start.begin` gives this module to the launcher, which calls `main`.  Ring: pass-through.
"""

import posix
import sys

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import argv, lowlevel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.log import Log
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.snapshot import Settings, Stamp

SECTION = "nvidia-container-runtime"


class Launch:
    """What the launcher handed over besides the words: see packaging/bin."""

    __slots__ = ("ignored", "key", "known", "launcher")

    def __init__(self, known: str, key: str, ignored: str, launcher: str) -> None:
        self.known = known
        self.key = key
        self.ignored = ignored
        self.launcher = launcher

    def program(self) -> str:
        """Give the name that we were called by; ``.cdi`` and ``.legacy`` force a mode."""
        return self.launcher.rpartition("/")[2]

    def knows(self, runtime: str, stamp: "Stamp | None") -> bool:
        """Whether the launcher's shortcut says this runtime, for config.toml as it is now."""
        try:
            if stamp and posix.stat(self.known).st_mtime_ns != stamp[3]:
                return False
            flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK
            descriptor = posix.open(self.known, flags)
            try:
                line = posix.read(descriptor, 1 << 16)
            finally:
                posix.close(descriptor)
        except (OSError, ValueError):
            return False
        return line == f"{self.key}:{runtime}\n".encode("utf-8", "surrogateescape")


def main() -> None:
    """Do what ``sys.argv`` says; return never."""
    launch, words = Launch(*sys.argv[1:5]), sys.argv[5:]
    log: Log | None = None
    try:
        invocation = argv.parse(words)
        if invocation.version:
            _print_version()
        if invocation.log:
            log = _new_log(invocation, "info")
        if invocation.command == "create":
            from nvidia_runtime import create  # a state or kill does without it

            create.run(invocation, launch, log)
        else:
            _pass_on(invocation, launch, log)
    except NvidiaRuntimeError as error:
        _end(error, launch, log)
    except Exception as error:  # a bug: still one line for the engine, and no half-made container
        if "--debug" in words:
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        _end(NvidiaRuntimeError(what, hint="run it with --debug and report it"), launch, log)


def _new_log(invocation: "Invocation", level: str) -> "Log":
    from nvidia_runtime.log import Log  # only where somebody asks for one

    made = Log(invocation.log_json, "debug" if invocation.debug else level)
    if not invocation.version:
        made.open(invocation.log)
    return made


def _pass_on(invocation: "Invocation", launch: Launch, log: "Log | None") -> None:
    """Become the low-level runtime; a broken config.toml must not keep anybody from ``kill``."""
    from nvidia_runtime import snapshot

    config = snapshot.config_path()
    settings, stamp, trouble = _settings(config)
    if trouble:
        log = log or _new_log(invocation, "warning")
        log.write("warning", f"{trouble}; going on with the default settings")
    path = snapshot.environment(b"PATH")
    runtime = lowlevel.find(settings[f"{SECTION}.runtimes"], path, launch.launcher)
    debug = settings[f"{SECTION}.debug"]
    if debug not in ("", "/dev/null"):
        log = log or _new_log(invocation, settings[f"{SECTION}.log-level"])
        log.open(debug)
        log.write("info", f"handing {invocation.command or 'the call'} on to {runtime}")
    elif not trouble and not launch.knows(runtime, stamp):
        from nvidia_runtime import shortcut  # next time the launcher does without Python

        shortcut.remember(launch, config, runtime)
    start.tell(log)
    lowlevel.become(runtime, invocation.words, launch.ignored)


def _settings(config: str) -> "tuple[Settings, Stamp | None, NvidiaRuntimeError | None]":
    """Give the settings with their file's stamp, or the defaults and what is wrong with it."""
    from nvidia_runtime import snapshot

    known = snapshot.load(config)
    if known is None:
        from nvidia_runtime import compile  # heavy: TOML

        try:
            known = compile.settings(config)
        except NvidiaRuntimeError as error:
            return compile.defaults(), None, error
    return known.settings, known.stamp, None


def _print_version() -> None:
    from nvidia_runtime import __version__

    text = f"NVIDIA Container Runtime version {__version__}\nspec: 1.3.0\n\n"
    posix.write(1, text.encode())


def _end(error: NvidiaRuntimeError, launch: Launch, log: "Log | None") -> None:
    from nvidia_runtime.log import Log, report

    report(error, launch.program(), log or Log())
    posix._exit(error.exit_code)  # noqa: SLF001 (no finalization: nothing is left to flush)
