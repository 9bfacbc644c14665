# SPDX-License-Identifier: Apache-2.0
"""The programs that ours call: runc or crun, and an nvidia-container-cli that is named."""

from __future__ import annotations

import functools
import os
import re
import shutil
from dataclasses import dataclass

from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine, Skipped, Step
from nvidia_runtime.doctor.installation import judgement
from nvidia_runtime.engines import docker_gpus, processes, program, running, supported
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.hooks import container_cli
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.sources import legacy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

    Version = tuple[int, ...]

SECONDS = 2.0
CLI_PATH = f"{container_cli.NAME}.path"
VERSION = re.compile(r"version (\d+)\.(\d+)(?:\.(\d+))?")
# Of a program: what is wrong, and the versions that mend it, one for each branch that got it; the
# newest counts for all branches after it.
FLAWS: dict[str, tuple[tuple[str, tuple[Version, ...]], ...]] = {
    "runc": (
        ("CVE-2024-21626", ((1, 1, 12),)),
        ("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
    ),
    "crun": (("CVE-2022-27650", ((1, 4, 4),)),),
}
DPKG = "/var/lib/dpkg/info"
RPM = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")

NONE = Code(
    "NCT-0511",
    ERROR,
    "no low-level runtime is found",
    """
    Our runtime hands each container on to runc or crun, which it looks for in the PATH of the
    engine that calls it, and in the usual folders.  A PATH that only a shell has does not count.
    'no low-level runtime found among runc, crun'.
    """,
    """
    Install runc or crun, or name it by its path in nvidia-container-runtime.runtimes of
    config.toml.
    """,
)
FLAWED = Code(
    "NCT-0512",
    WARNING,
    "the low-level runtime has known vulnerabilities",
    """
    By its version, unless whoever packaged it has put the corrections into an older one, as
    distributions do.  CVE-2024-21626 (runc before 1.1.12), CVE-2025-31133, CVE-2025-52565 and
    CVE-2025-52881 (runc before 1.2.8 and 1.3.3) let a container out to this machine;
    CVE-2022-27650 (crun before 1.4.4) gives its processes too many capabilities.
    """,
    "Update it; the security tracker of the distribution says which package has the corrections.",
)
NO_CLI = Code(
    "NCT-0513",
    ERROR,
    "the nvidia-container-cli of the settings is missing",
    """
    Legacy mode and the prestart hook, by which docker does '--gpus', have the program do the work
    that nvidia-container-cli.path names: 'cannot be executed: no such file or directory'.  Without
    the setting they take that of libnvidia-container, or, where it is not installed, our own.
    """,
    """
    Take nvidia-container-cli.path out of config.toml; or install the program, and name it there.
    """,
)
NO_HOOK = Code(
    "NCT-0514",
    ERROR,
    "the prestart hook of legacy mode is missing",
    """
    In legacy mode each container with GPUs gets the hook nvidia-container-runtime-hook, and does
    not start without it: 'error running hook: ... no such file or directory'.
    """,
    """
    Install it beside the runtime, or set nvidia-container-runtime-hook.path; the mode auto needs
    none.
    """,
)
CODES = (NONE, FLAWED, NO_CLI, NO_HOOK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """From where our runtime is called: the PATH of an engine's daemon, "" is our own."""

    engine: str
    path: str


def check(subject: Subject) -> Iterator[Said]:
    """Look for the programs as an engine's daemon would have us look, then at their versions."""
    yield Step("the daemons of engines")
    places = daemons() or (Place(engine="", path=os.environ.get("PATH", "")),)
    names = list(subject.settings[judgement.RUNTIMES])
    runtimes = {}
    for place in places:
        try:
            runtime = lowlevel.find(names, place.path, judgement.ANY)
        except NvidiaRuntimeError as error:
            yield _none(subject, place, error)
        else:
            runtimes[runtime] = place
    for runtime in runtimes:
        yield Step(f"the version of {runtime}")
        yield from _judge(runtime)
    yield from _legacy(subject, places)


@functools.cache
def daemons() -> tuple[Place, ...]:
    """Return the daemons that run, with the PATH in which they have us look."""
    places: dict[int, Place] = {}
    for engine in supported.ENGINES.values():
        for socket in running.sockets(engine):
            for process in processes.behind(socket, engine.program):
                path = processes.search_path(process.pid)
                places[process.pid] = Place(engine=engine.name, path=path)
    return tuple(places.values())


def _none(subject: Subject, place: Place, error: NvidiaRuntimeError) -> Finding:
    of_whom = f" in the PATH of {place.engine}: {place.path}" if place.engine else ""
    return Finding(
        code=NONE,
        what=error.what + of_whom,
        where=f"{subject.path}: {judgement.RUNTIMES}",
        command=f"nvidia-ctk config explain {judgement.RUNTIMES}",
        engine=place.engine,
    )


def _judge(runtime: str) -> Iterator[Said]:
    """Ask a runtime for its version, if it is root's or ours, and compare it with what is known."""
    if os.stat(runtime).st_uid not in (0, os.geteuid()):
        yield Skipped(f"the version of {runtime}", "it is another user's program")
        return
    name = os.path.basename(runtime)
    answer = program.ask([runtime, "--version"], seconds=SECONDS)
    match = VERSION.search(answer.out)
    if not match:
        yield Fine(f"{runtime}, of an unknown version", is_main=True)
        return
    version = tuple(int(part or 0) for part in match.groups())
    text = ".".join(map(str, version))
    yield Fine(f"{name} {text}", is_main=True)
    is_packaged = packaged(runtime)
    if flaws := [flaw for flaw, mended in FLAWS.get(name, ()) if is_flawed(version, mended)]:
        proviso = ", unless its package has the corrections" if is_packaged else ""
        yield Finding(
            code=FLAWED,
            what=f"{name} {text} has {', '.join(flaws)}{proviso}",
            where=runtime,
            severity=NOTE if is_packaged else WARNING,
        )


def is_flawed(version: Version, mended: tuple[Version, ...]) -> bool:
    """Whether a version comes before the one that mends its branch."""
    for first in mended:
        if version[:2] <= first[:2]:
            return version < first
    return False


def packaged(path: str) -> bool:
    """Whether a program comes from a package of a distribution's."""
    name, real = os.path.basename(path), os.path.realpath(path)
    try:
        with open(f"{DPKG}/{name}.list", encoding="utf-8", errors="replace") as listing:
            lines = listing.read(1 << 20).splitlines()
    except OSError:
        is_usual = real.startswith("/usr/") and not real.startswith("/usr/local/")
        return is_usual and any(map(os.path.isdir, RPM))
    return any(os.path.realpath(line) == real for line in lines)


def _legacy(subject: Subject, places: tuple[Place, ...]) -> Iterator[Finding]:
    if subject.mode == "legacy":
        path = legacy.hook_path(subject.settings)
        if missing := legacy.complaint(path):
            yield Finding(code=NO_HOOK, what=missing, where=path)
    cli = str(subject.settings[CLI_PATH])
    if not cli or lowlevel.is_executable(cli):
        return
    if subject.mode == "legacy":
        yield _no_cli(subject, "", ERROR)
        return
    for place in places:
        # docker offers --gpus where the hook is in its PATH.
        if place.engine == "docker" and shutil.which(docker_gpus.HOOK, path=place.path):
            yield _no_cli(subject, "docker", NOTE)


def _no_cli(subject: Subject, engine: str, severity: str) -> Finding:
    for_what = "legacy mode" if not engine else "'docker run --gpus' without our runtime"
    return Finding(
        code=NO_CLI,
        what=f"{for_what} calls {subject.settings[CLI_PATH]}, which is missing",
        where=f"{subject.path}: {CLI_PATH}",
        command=f"nvidia-ctk config --set {CLI_PATH}= -i",
        engine=engine,
        severity=severity,
    )
