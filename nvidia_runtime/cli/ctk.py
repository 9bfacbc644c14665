# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk itself: help and version from the tables, other commands each in a module of its own.

Only the command that runs is imported, and plumbum only for one that does.
"""

from __future__ import annotations

import os
import sys

from nvidia_runtime.cli import parse
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.common import ENVIRONMENT_FILE
from nvidia_runtime.cli.tables.install import INSTALL, PROGRAMS
from nvidia_runtime.errors import NvidiaRuntimeError, internal, os_reason

# What the completion of shells calls, with the words up to the cursor.
COMPLETE = "__complete"


def main() -> None:
    """Run nvidia-ctk; any error is a sentence on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except NvidiaRuntimeError as error:
        code = _report(error)
    except BrokenPipeError:  # `nvidia-ctk … | head`
        code = root.FAILED
    except OSError as error:  # of stdout: others have a path
        what = f"cannot write to stdout: {os_reason(error)}"
        code = _report(internal(error, "--debug") if error.filename else NvidiaRuntimeError(what))
    except KeyboardInterrupt:
        code = root.INTERRUPTED
    except Exception as error:  # a bug
        if "--debug" in sys.argv or "-d" in sys.argv:
            raise
        code = _report(internal(error, "--debug"))
    _end(code)


def _run(argv: list[str]) -> int:
    if argv[:1] == [COMPLETE]:
        from nvidia_runtime.cli import complete  # as below

        print("".join(f"{line}\n" for line in complete.candidates(argv[1:])), end="")
        return 0
    if os.path.basename(sys.argv[0]) in PROGRAMS:
        argv = [INSTALL.name, *argv]
    call = parse.read(argv)
    if call.wants_version and not call.wants_help:
        from nvidia_runtime import TOOLKIT, __version__

        # In the toolkit's form, which scripts parse.
        print(f"NVIDIA Container Toolkit CLI version {TOOLKIT}")
        print(f"implementation: nvidia-container-runtime {__version__}")
        return 0
    if call.command is root.COMPLETION and not call.wants_help:
        from nvidia_runtime.cli import complete  # only where it is asked for

        print(complete.script(call.words), end="")
        return 0
    if call.wants_help or not call.command.main:
        from nvidia_runtime.cli import help as texts  # only where it is asked for

        print(texts.text(call.chain, call.names), end="")
        return 0
    if ENVIRONMENT_FILE in call.command.switches:
        from nvidia_runtime.cli import environment_file  # for a service alone

        environment_file.apply("".join(call.given[-1].get(ENVIRONMENT_FILE, ())))
    parse.complete(call, os.environ)
    _recover_interfaces()
    from nvidia_runtime.cli import application  # plumbum

    return application.run(call)


def _recover_interfaces() -> None:
    """Move network interfaces that a killed container has left back to the host."""
    from nvidia_runtime.store import files  # the state folder

    folder = f"{files.state_folder()}/netns"
    try:
        if not os.listdir(folder):
            return
    except OSError:
        return
    from nvidia_runtime.net import devices  # rarely needed

    for line in devices.recover():
        print(line, file=sys.stderr)


def _report(error: NvidiaRuntimeError) -> int:
    from nvidia_runtime import log  # only for what goes wrong
    from nvidia_runtime.cli import screen

    said = f"{screen.painted(f'{root.PROGRAM}:', screen.RED, sys.stderr)} {log.shown(str(error))}\n"
    if error.hint:
        said += f"{screen.painted('hint:', screen.CYAN, sys.stderr)} {log.shown(error.hint)}\n"
    log.warn(said)
    return error.exit_code


def _end(code: int) -> None:
    """Exit without the interpreter's own message about a stdout that cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
