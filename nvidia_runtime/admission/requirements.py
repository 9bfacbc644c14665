# SPDX-License-Identifier: Apache-2.0
"""What an image requires of CUDA, driver, architecture and brand: NVIDIA_REQUIRE_*.

Loaded where a container that gets devices requires something; `host.facts` says what the host has.
"""

from nvidia_runtime.admission import request
from nvidia_runtime.document import TRUE
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store.snapshot import DRIVER_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.snapshot import Settings

PREFIX = "NVIDIA_REQUIRE_"
# Not a requirement but a choice of files, in csv mode.
JETPACK = "NVIDIA_REQUIRE_JETPACK"
DISABLE = "NVIDIA_DISABLE_REQUIRE"
VERSIONS = ("cuda", "driver", "arch")
NAMES = {"cuda": "CUDA", "driver": "driver", "arch": "compute capability", "brand": "brand"}
MARKS = "<>=!"
# The results of a comparison, as in C, for which an operator holds.
ORDERS = {"=": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
SKIPPED = "skipped"
# More digits than int takes; no version has as many.
MOST_DIGITS = 18

INVALID_STRING = "invalid version string: invalid semantic version"
MET, UNMET, UNKNOWN, MALFORMED = "met", "unmet", "unknown", "malformed"

Version = tuple[int, int, int, bool, str]


class Verdict:
    """Whether the requirements are met; unless they are, what is wrong and what to do about it."""

    __slots__ = ("hint", "kind", "what")

    def __init__(self, kind: str, what: str = "", hint: str = "") -> None:
        self.kind = kind
        self.what = what
        self.hint = hint


class _MalformedError(ValueError):
    """A text that is not a requirement."""


def read(environment: dict[str, str]) -> dict[str, str]:
    """Return the requirements by their variables, nothing if NVIDIA_DISABLE_REQUIRE says so."""
    if environment.get(DISABLE) in TRUE:
        return {}
    requirements = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and not name.startswith(JETPACK)
    }
    if request.is_legacy_image(environment):
        version = version_of(environment["CUDA_VERSION"])
        # A malformed one stays as it is written, for the message.
        wanted = f"{version[0]}.{version[1]}" if version else environment["CUDA_VERSION"]
        requirements["CUDA_VERSION"] = f"cuda>={wanted}"
    return requirements


def judge(environment: dict[str, str], host: dict[str, str], rule: str) -> list[str]:
    """Return the warnings about a container's requirements.

    Where the rule is "enforce", raises `NvidiaRuntimeError` for what is not met or malformed, and
    warns of what cannot be known.
    """
    verdict = check(read(environment), host)
    if verdict.kind in (UNMET, MALFORMED) and rule == "enforce":
        raise NvidiaRuntimeError(verdict.what, hint=verdict.hint)
    if verdict.kind in (UNMET, MALFORMED):
        return [f"{verdict.what}; {verdict.hint}"]
    return [verdict.what] if verdict.kind == UNKNOWN and rule == "enforce" else []


def check(requirements: dict[str, str], host: dict[str, str]) -> Verdict:
    """Compare with what the host has: cuda, driver, arch and brand; one left out is unknown.

    Spaces separate alternatives, commas what must hold together; an unknown property is
    skipped.  What is not met goes before what cannot be understood, and that before
    what cannot be known.
    """
    worst = Verdict(MET)
    for variable, text in requirements.items():
        try:
            met = _is_met(text, host)
        except _MalformedError as error:
            if worst.kind != MALFORMED:
                what = f"cannot understand the image's {_shown(variable)}: {error}"
                worst = Verdict(MALFORMED, what, f"correct it or set {DISABLE}=true")
            continue
        if met is False:
            return _unmet(text, host)
        if met is None and worst.kind == MET:
            what = f"the image's {_shown(variable)} asks for what cannot be found out here"
            worst = Verdict(UNKNOWN, what)
    return worst


def _is_met(text: str, host: dict[str, str]) -> "bool | None":
    """Evaluate alternatives in three values: true, false, and None for unknown."""
    answers: dict[str, bool | str | None] = {}
    met: bool | None = None
    is_empty = is_false = True
    for term in text.split():
        met = True
        is_skipped = True
        for factor in term.split(","):
            # NVIDIA's images repeat a dozen factors in a hundred alternatives.
            if factor not in answers:
                answers[factor] = _holds(factor, host)
            answer = answers[factor]
            if answer is SKIPPED:
                continue
            is_skipped = False
            if answer is False:
                met = False
                break
            if answer is None:
                met = None
        if is_skipped:
            continue
        if met:
            return True
        is_empty = False
        if met is None:
            is_false = False
    if is_empty:
        return True
    return False if is_false else None


def _holds(factor: str, host: dict[str, str]) -> "bool | str | None":
    """Whether a comparison holds; None if the host's side is unknown."""
    if not factor:
        return SKIPPED
    name, operator, value = _split(factor)
    if name not in NAMES:
        return SKIPPED
    if not operator:
        raise _MalformedError(f"{factor!r} is not a comparison")
    if name not in VERSIONS:
        return _compare(host[name], operator, value) if name in host else None
    wanted = version_of(value)
    if wanted is None:
        raise _MalformedError(f"{value!r} in {factor!r} is not a version")
    has = version_of(host.get(name, ""))
    return None if has is None else _compare(has, operator, wanted)


def _split(factor: str) -> tuple[str, str, str]:
    """Split PROPERTY OPERATOR VALUE; a lone "!" is no operator, which is then empty."""
    places = [at for at in map(factor.find, MARKS) if at >= 0]
    if not places:
        raise _MalformedError(f"{factor!r} is not a comparison")
    at = min(places)
    if factor[at : at + 2] in ("!=", "<=", ">="):
        return factor[:at], factor[at : at + 2], factor[at + 2 :]
    if factor[at] == "!":
        return factor[:at], "", factor[at:]
    return factor[:at], factor[at], factor[at + 1 :]


def _compare(has: "Version | str", operator: str, wanted: "Version | str") -> bool:
    # Both are versions, or both texts.
    order = (has > wanted) - (has < wanted)  # type: ignore[operator]
    return order in ORDERS[operator]


def version_of(text: str) -> "Version | None":
    """Read one to three numbers as a version; a pre-release comes before its release."""
    numbers, dash, pre = text.removeprefix("v").partition("+")[0].partition("-")
    parts = numbers.split(".")
    if len(parts) > 3 or (dash and not pre):
        return None
    for part in parts:
        if not (part.isdigit() and part.isascii()) or len(part) > MOST_DIGITS:
            return None
    major, minor, patch = map(int, (*parts, "0", "0")[:3])
    return major, minor, patch, not pre, pre


def _unmet(text: str, host: dict[str, str]) -> Verdict:
    """Say what is missing by the first alternative: NVIDIA's images begin with the plain one."""
    first = next(
        factor
        for term in text.split()
        for factor in term.split(",")
        if _holds(factor, host) is False
    )
    name, operator, value = _split(first)
    has = host[name]
    by = f"driver {host['driver']}" if "driver" in host else "the driver"
    gives = f"{by} gives {has}" if name == "cuda" else f"the host has {has}"
    what = f"the image needs {NAMES[name]} {operator} {_shown(value)}, {gives}"
    return Verdict(UNMET, what, f"{_remedy(name, operator, value)}set {DISABLE}=true")


def _shown(text: str) -> str:
    """Return what an image says as it can be shown on a terminal."""
    return text if text.isprintable() else repr(text)


def _remedy(name: str, operator: str, value: str) -> str:
    if operator not in (">=", ">", "="):
        return ""
    if name == "driver":
        return f"install driver {operator} {_shown(value)} or "
    if name == "cuda":
        from nvidia_runtime.host import facts  # the way to a helpful sentence may be slow

        branch = facts.branch_with(value)
        return f"install driver >= {branch} or " if branch else "install a newer driver or "
    return ""


def enforce(environment: dict[str, str], settings: "Settings") -> None:
    """Raise `NvidiaRuntimeError` for what is not met, or cannot be judged, in csv mode."""
    if not read(environment):
        return
    from nvidia_runtime.host import cuda, facts  # asks libcuda
    from nvidia_runtime.host.driver import Driver

    host = facts.read() | cuda.facts(Driver(str(settings[DRIVER_ROOT]) or "/"))
    if failure := strict(environment, host):
        hint = f"set {DISABLE}=true in the container if it runs here all the same"
        raise NvidiaRuntimeError(f"requirements not met: {failure}", hint=hint)


def strict(environment: dict[str, str], host: dict[str, str]) -> str:
    """Judge as the toolkit does in csv mode; return its sentence, "" if everything is met.

    There a property that could not be determined is "", and every operand is checked before any
    comparison is made.
    """
    terms: list[list[list[tuple[str, str, str]]]] = []
    try:
        for variable, text in read(environment).items():
            if variable == "CUDA_VERSION" and version_of(environment[variable]) is None:
                return (
                    "failed to get image requirements: failed to get version: invalid CUDA "
                    f"version {environment[variable]}: {INVALID_STRING}"
                )
            if alternatives := _strict_alternatives(text):
                terms.append(alternatives)
    except _MalformedError as error:
        return str(error)
    for alternatives in terms:
        failures = [_strict_failure(factors, host) for factors in alternatives]
        if "" in failures:
            continue
        if len(failures) == 1:
            return failures[0]
        said = ["&&".join("".join(factor) for factor in factors) for factors in alternatives]
        return f"{'||'.join(said)} not met"
    return ""


def _strict_alternatives(text: str) -> list[list[tuple[str, str, str]]]:
    alternatives = []
    for term in text.split(" "):
        factors = []
        for factor in term.split(","):
            if not factor.strip():
                continue
            if not any(mark in factor for mark in MARKS):
                raise _MalformedError(f"invalid constraint: {factor}")
            name, operator, value = _split(factor)
            if name not in NAMES:
                continue
            if name in VERSIONS and version_of(value) is None:
                raise _MalformedError(INVALID_STRING)
            factors.append((name, operator, value))
        if factors:
            alternatives.append(factors)
    return alternatives


def _strict_failure(factors: list[tuple[str, str, str]], host: dict[str, str]) -> str:
    for name, operator, value in factors:
        has = host.get(name, "")
        if name in VERSIONS:
            version, wanted = version_of(has), version_of(value)
            if version is None or wanted is None:
                return f"the {NAMES[name]} of this machine is not known (needs {operator}{value})"
            holds = _compare(version, operator, wanted)
        elif not operator:
            return "invalid operator "
        else:
            holds = _compare(has, operator, value)
        if not holds:
            return f"unsatisfied condition: {name}{operator}{value} ({name}={has})"
    return ""
