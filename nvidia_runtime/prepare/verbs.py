# SPDX-License-Identifier: Apache-2.0
"""The verbs of nvidia-cdi-hook, as words: ``[FLAGS] VERB [FLAGS] [--then VERB [FLAGS]]...``.

``--then`` begins another verb of the same call.  It stands only where a flag may, so no value can
be taken for it, and a hook that does not know it refuses the call instead of doing half of it.
Whoever does them, on the host or in a hook, does so within a `TimeLimit`.
"""

import sys

from nvidia_runtime import start
from nvidia_runtime.document import FALSE, TRUE
from nvidia_runtime.errors import NvidiaRuntimeError, short

_signal = start.private("_signal", "signal", "signal", "setitimer", "SIGALRM", "ITIMER_REAL")
# What verbs take is a few milliseconds, on a slow disk a second.
SECONDS = 60.0
# Again and again, for the first may come where an error costs only speed.
AGAIN = 1.0
THEN = "--then"
# Of hooks of NVIDIA's that a CDI spec gives none: runc before 1.3 would hand on the container's
# (CVE-2025-23266).
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
LIST, TEXT = "list", "text"
SPEC = {"container-spec": TEXT}
# The flags of each verb; what it does is in the module of its name.
VERBS: "dict[str, dict[str, str]]" = {
    "chmod": {"path": LIST, "mode": TEXT, **SPEC},
    "create-symlinks": {"link": LIST, **SPEC},
    "disable-device-node-modification": SPEC,
    "enable-cuda-compat": {
        "host-driver-version": TEXT,
        "host-cuda-version": TEXT,
        "cuda-compat-container-root": TEXT,
        **SPEC,
    },
    "noop": {},
    "update-application-profile": SPEC,
    "update-ldcache": {"folder": LIST, "ldconfig-path": TEXT, **SPEC},
}
# Flags in front of a verb, with the variables that say the same.
SWITCHES = {
    "debug": ("NVIDIA_CTK_DEBUG", "NVIDIA_CDI_DEBUG"),
    "quiet": ("NVIDIA_CTK_QUIET", "NVIDIA_CDI_QUIET"),
}
SHORT = {"-d": "--debug", "-h": "--help", "-v": "--version"}
USAGE = """\
Usage: nvidia-cdi-hook [--debug|-d] [--quiet] VERB [FLAGS] [--then VERB ...]...
       nvidia-cdi-hook --help|-h | --version|-v

An OCI runtime calls it while it makes a container, whose state is on stdin.

  create-symlinks --link TARGET::LINK ...   make links
  update-ldcache --folder FOLDER ...        let the loader find libraries
      --ldconfig-path FILE                  (it must exist, and is not used)
  enable-cuda-compat                        prefer the image's newer libcuda
      --host-driver-version=VERSION         where it fits
      --host-cuda-version=VERSION
      --cuda-compat-container-root=FOLDER
  disable-device-node-modification          keep the driver from making nodes
                                            of other GPUs
  update-application-profile                hide other GPUs from EGL and Vulkan
  chmod --mode MODE --path PATH ...         set the mode of files
  noop                                      do nothing

Each but noop takes --container-spec FILE, the container's state in a file.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class Step:
    """A verb with its flags: lists for those that may be repeated, else texts."""

    __slots__ = ("lists", "texts", "verb")

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.lists: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {}

    def all(self, flag: str) -> list[str]:
        """Return the values of a flag that may be repeated, without repetitions."""
        return list(dict.fromkeys(self.lists.get(flag, ())))


class Words:
    """What the words say; ``warnings`` name what was left out because it is not known."""

    __slots__ = ("help", "steps", "switches", "version", "warnings")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        self.switches: dict[str, bool] = {}
        self.help = False
        self.version = False


def parse(words: list[str], environment: "Callable[[str], str]") -> Words:
    """Read the words; raises `NvidiaRuntimeError` for a known verb with what it does not take.

    What is unknown in place of a verb is a warning: specs may be newer than the program.
    """
    call = Words()
    for switch, variables in SWITCHES.items():
        values = [value for name in variables if (value := environment(name))]
        call.switches[switch] = bool(values) and _boolean(values[0], f"${variables[0]}")
    rest = list(words)
    while rest and rest[0][:1] == "-":
        word = SHORT.get(rest[0], rest[0])
        name, equals, value = word.lstrip("-").partition("=")
        if name in ("help", "version") and word[:2] == "--":
            setattr(call, name, True)
            return call
        if name not in SWITCHES or word[:2] != "--":
            call.warnings.append(f"No CDI hook specified: unknown flag {rest[0]}")
            return call
        call.switches[name] = not equals or _boolean(value, f"--{name}")
        rest.pop(0)
    if not rest:
        call.warnings.append("No CDI hook specified")
    while rest:
        rest = _parse_verb(call, rest)
    return call


def words(step: Step) -> list[str]:
    """Return the words of a step, from which `parse` makes an equal one."""
    result = [step.verb]
    for flag in VERBS[step.verb]:
        result += [word for value in step.all(flag) for word in (f"--{flag}", value)]
        if flag in step.texts:
            result += [f"--{flag}", step.texts[flag]]
    return result


def said(step: Step) -> str:
    """Return the words of a step for people, cut where they are endless."""
    return short(" ".join(words(step)))


def module(step: Step) -> "ModuleType":
    """Return the module of a step's verb: `plan` is for the host, `run` for a hook."""
    name = f"prepare.{step.verb.replace('-', '_')}"
    start.preload(name)
    __import__(f"{start.PACKAGE}.{name}")
    return sys.modules[f"{start.PACKAGE}.{name}"]


def _parse_verb(call: Words, rest: list[str]) -> list[str]:
    """Read a verb with its flags; return the words behind its ``--then``."""
    verb, *rest = rest
    if verb in ("help", "h"):
        call.help = True
        return []
    if verb not in VERBS:
        call.warnings.append(f"Unsupported CDI hook: {verb}")
        return rest[rest.index(THEN) + 1 :] if THEN in rest else []
    step = Step(verb)
    call.steps.append(step)
    while rest:
        word = rest.pop(0)
        if word == THEN:
            if not rest:
                raise _misuse(f"no verb after {THEN}")
            return rest
        if word == "--":  # the rest are arguments, of which no verb has any
            return []
        if word[:1] == "-" and word != "-":
            _parse_flag(call, step, word, rest)
    return rest


def _parse_flag(call: Words, step: Step, word: str, rest: list[str]) -> None:
    name, equals, value = word.lstrip("-").partition("=")
    if word in ("-h", "--help"):
        call.help = True
        return
    kind = VERBS[step.verb].get(name)
    if kind is None or word[:2] != "--":
        raise _misuse(f"flag provided but not defined: {word.partition('=')[0]} of {step.verb}")
    if not equals:
        if not rest:
            raise _misuse(f"flag needs an argument: {word}")
        value = rest.pop(0)
    if kind == LIST:
        step.lists.setdefault(name, []).extend(value.split(","))
    else:
        step.texts[name] = value


def _boolean(value: str, where: str) -> bool:
    if value not in TRUE + FALSE:
        raise NvidiaRuntimeError(f"must be true or false, not {value!r}", where=where)
    return value in TRUE


def _misuse(what: str) -> NvidiaRuntimeError:
    return NvidiaRuntimeError(what, hint="'nvidia-cdi-hook --help' lists the verbs and their flags")


class TimeLimit:
    """While it is entered: after `SECONDS` whatever is being done ends with `NvidiaRuntimeError`.

    Whatever an image or a volume holds: single things have limits of their own, this one is for
    what nobody thought of.  ``where`` is for the message.
    """

    __slots__ = ("_before", "_is_set", "_where")

    def __init__(self, where: str) -> None:
        self._where = where
        self._before: object = None
        self._is_set = False

    def __enter__(self) -> None:
        try:
            self._before = _signal.signal(_signal.SIGALRM, self._end)
            _signal.setitimer(_signal.ITIMER_REAL, SECONDS, AGAIN)
        except Exception:  # noqa: BLE001 (what a future CPython raises: there is no limit then)
            return
        self._is_set = True

    def __exit__(self, *_: object) -> None:
        if not self._is_set:
            return
        try:
            self._stop()
        except NvidiaRuntimeError:  # the alarm came at this very moment
            self._stop()

    def _stop(self) -> None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)  # which an exec would not end
        _signal.signal(_signal.SIGALRM, self._before or _signal.SIG_DFL)

    def _end(self, *_: object) -> None:
        what = f"could not be prepared within {SECONDS:.0f} seconds"
        hint = "look at what its image and volumes hold, and whether their disks answer"
        raise NvidiaRuntimeError(what, where=self._where, hint=hint)
