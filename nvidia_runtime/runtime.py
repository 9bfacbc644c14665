# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-runtime: rewrite the bundle on ``create``, then become the low-level runtime.

`start.begin` gives this module to the launcher, which calls `main`.  Ring: pass-through.
"""

import posix
import sys

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError, internal
from nvidia_runtime.oci import argv, lowlevel
from nvidia_runtime.start import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.log import Log
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.store.files import Stamp
    from nvidia_runtime.store.snapshot import Settings

SECTION = "nvidia-container-runtime"


def main() -> None:
    """Do what ``sys.argv`` says; return never."""
    launch, words = Launch(*sys.argv[1:5]), sys.argv[5:]
    log: Log | None = None
    invocation: Invocation | None = None
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
        _end(error, launch, log, invocation)
    except Exception as error:  # a bug: still one line for the engine, and no half-made container
        if "--debug" in words:
            raise
        _end(internal(error, "--debug"), launch, log, invocation)


def _new_log(invocation: "Invocation", level: str) -> "Log":
    start.preload("log")  # only where somebody asks for one
    from nvidia_runtime.log import Log

    log = Log(invocation.log_json, "debug" if invocation.debug else level)
    if not invocation.version:
        log.open(invocation.log)
    return log


def _pass_on(invocation: "Invocation", launch: Launch, log: "Log | None") -> None:
    """Become the low-level runtime; a broken config.toml must not keep anybody from ``kill``."""
    from nvidia_runtime.store import files

    config = files.config_path()
    settings, stamp, trouble = _settings(config)
    if trouble:
        log = log or _new_log(invocation, "warning")
        log.write("warning", f"{trouble}; going on with the default settings")
    path = files.environment(b"PATH")
    runtime = lowlevel.find(settings[f"{SECTION}.runtimes"], path, launch.launcher)
    debug = settings[f"{SECTION}.debug"]
    if debug not in ("", "/dev/null"):
        log = log or _new_log(invocation, settings[f"{SECTION}.log-level"])
        log.open(debug)
        log.write("info", f"handing {invocation.command or 'the call'} on to {runtime}")
    elif not trouble and not launch.knows(runtime, stamp):
        from nvidia_runtime.store import shortcut  # next time the launcher does without Python

        shortcut.remember(launch, config, runtime)
    start.tell(log)
    lowlevel.become(runtime, invocation.words, launch.ignored)


def _settings(config: str) -> "tuple[Settings, Stamp | None, NvidiaRuntimeError | None]":
    """Return the settings with their file's stamp, or the defaults and what is wrong with it."""
    from nvidia_runtime.store import snapshot

    compiled = snapshot.load(config)
    if compiled is None:
        from nvidia_runtime.compile import snapshot as compiler  # heavy: TOML

        try:
            compiled = compiler.settings(config)
        except NvidiaRuntimeError as error:
            return compiler.defaults(), None, error
    return compiled.settings, compiled.stamp, None


def _print_version() -> None:
    from nvidia_runtime import TOOLKIT, __version__

    text = f"NVIDIA Container Runtime version {TOOLKIT}\n"
    text += f"implementation: nvidia-container-runtime {__version__}\nspec: 1.3.0\n\n"
    posix.write(1, text.encode())


def _end(
    error: NvidiaRuntimeError, launch: Launch, log: "Log | None", invocation: "Invocation | None"
) -> None:
    try:
        from nvidia_runtime.log import Log, report

        start.tell(log)
        report(error, launch.program(), log or Log())
    except Exception:  # noqa: BLE001 (no descriptor is left to read the module with)
        text = f"{launch.program()}: {error}\nhint: {error.hint}\n"
        posix.write(2, text.encode("utf-8", "backslashreplace"))
    try:  # what failed has been told: nothing from here on may say or be anything else
        if invocation and invocation.command == "create":
            from nvidia_runtime.sources import failure  # heavy, but nothing waits for it

            failure.write(invocation, error)
    except BaseException:  # noqa: BLE001, S110 (a record is for people who ask later)
        pass
    posix._exit(error.exit_code)  # noqa: SLF001 (no finalization: nothing is left to flush)
