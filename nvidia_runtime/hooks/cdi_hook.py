# SPDX-License-Identifier: Apache-2.0
"""nvidia-cdi-hook, which CDI specs have an OCI runtime call while it makes a container.

It runs on the host's files, in the container's mount namespace, before the root is changed: every
path of the container's goes through `rootfs`.  Nothing is executed.
"""

import posix
import sys

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError, internal, os_reason
from nvidia_runtime.prepare import verbs
from nvidia_runtime.prepare.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.verbs import Words

PROGRAM = "nvidia-cdi-hook"


def main() -> None:
    """Do what ``sys.argv`` says; never return."""
    launcher, words = sys.argv[4], sys.argv[5:]
    posix._exit(run(words, launcher.rpartition("/")[2]))  # noqa: SLF001 (nothing is left to flush)


def run(words: list[str], program: str = PROGRAM) -> int:
    """Do what the words say; return the exit code."""
    debug = False
    try:
        # Not by `store`, of which nothing else is needed.
        call = verbs.parse(
            words, lambda name: posix.environ.get(name.encode(), b"").decode("latin-1")
        )
        debug = call.switches["debug"] and not call.switches["quiet"]
        if call.help or call.version:
            _print(call)
            return 0
        return _carry_out(call, program, debug=debug)
    except NvidiaRuntimeError as error:
        return _report(error, program)
    except OSError as error:
        return _report(_of_system(error), program)
    except Exception as error:  # a bug: still one line for the engine
        if debug:
            raise
        return _report(internal(error, "--debug"), program)


def _carry_out(call: "Words", program: str, *, debug: bool) -> int:
    """Do the verbs in their order; the first that fails is the last."""
    container = Container(list(call.warnings))
    try:
        with verbs.TimeLimit("the container"):
            for step in call.steps:
                verbs.module(step).run(container, step)
    finally:
        done = container.done if debug else []
        warnings = start.warnings() + container.warnings
        said = [] if call.switches["quiet"] else warnings + done
        if said:
            from nvidia_runtime import log  # hooks seldom say anything

            for sentence in said:
                log.warn(log.shown(f"{program}: {sentence}") + "\n")
    return 0


def _print(call: "Words") -> None:
    from nvidia_runtime import TOOLKIT

    text = f"NVIDIA CDI Hook version {TOOLKIT}\n" if call.version else verbs.USAGE
    posix.write(1, text.encode())


def _of_system(error: OSError) -> NvidiaRuntimeError:
    name = error.filename
    shown = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return NvidiaRuntimeError(os_reason(error), where=str(shown or ""))


def _report(error: NvidiaRuntimeError, program: str) -> int:
    from nvidia_runtime.log import Log, report

    report(error, program, Log())
    return error.exit_code
