# SPDX-License-Identifier: Apache-2.0
"""Our own programs: all there, started by an interpreter that is there, and found before others."""

from __future__ import annotations

import os
import shlex
import shutil

from nvidia_runtime import start
from nvidia_runtime.compile import hot_path
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine, Skipped, Step
from nvidia_runtime.doctor.installation import runtime as install_runtime
from nvidia_runtime.engines import program
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.rootfs.files import open_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

RUNTIME = "nvidia-container-runtime"
LAUNCHERS = (RUNTIME, f"{RUNTIME}.cdi", f"{RUNTIME}.legacy", *start.HOOKS, *start.CDI_HOOKS)
# What specs name, and docker looks for: without the others only what asks for them fails.
NEEDED = (RUNTIME, start.HOOKS[0], *start.CDI_HOOKS)
HOOKS = NEEDED[1:]
OLDEST = (3, 11)
SECONDS = 2.0
VERSION = "import sys; print(*sys.version_info[:2])"
SHELL = "/bin/sh"

INCOMPLETE = Code(
    "NCT-0521",
    WARNING,
    "a program of ours is missing, or cannot be executed",
    """
    The runtime, the prestart hook and nvidia-cdi-hook are one launcher under several names, which
    lie in one folder.  What calls a missing one fails: engines say 'fork/exec
    /usr/bin/nvidia-container-runtime: no such file or directory' or 'permission denied'.
    """,
    "Install nvidia-container-runtime anew.  On a volume that is mounted noexec no program runs.",
)
NO_PYTHON = Code(
    "NCT-0522",
    WARNING,
    "the interpreter that our programs were installed with is gone",
    """
    The first line of nvidia-ctk names the Python that it was installed with: it was removed, or
    replaced by another version, and the virtual environment was left.  The launcher looks for
    another Python of 3.11 or newer; without one no container is created: 'no Python is found:
    install Python 3.11 or newer'.  nvidia-ctk itself does not start.
    """,
    "Install Python 3.11 or newer, and nvidia-container-runtime anew with it.",
)
OTHERS_FIRST = Code(
    "NCT-0523",
    WARNING,
    "another toolkit's program is found before ours",
    """
    NVIDIA Container Toolkit, or another copy of ours, is installed, too, and comes first in a PATH.
    Engines that look for the runtime or the hook by name get that one, so that what config.toml
    and the CDI specs say is done by two programs of different versions.
    """,
    """
    Remove the packages that are not meant (nvidia-container-toolkit,
    nvidia-container-toolkit-base), or name our programs by their paths: 'nvidia-ctk runtime
    configure'.
    """,
)
UNCOMPILED = Code(
    "NCT-0524",
    NOTE,
    "each create compiles our modules anew",
    """
    Python keeps what it has compiled in the folder __pycache__ beside the modules; what is there is
    missing or older than the modules, and nobody may write there, as on a read-only /usr.  Each
    create with devices takes 20 to 60 ms longer.
    """,
    """
    Compile them where the image of the system is built: run 'nvidia-container-runtime state x' and
    one create as root there, or install the package with its compiled files.
    """,
)
CODES = (INCOMPLETE, NO_PYTHON, OTHERS_FIRST, UNCOMPILED)


def check(subject: Subject) -> Iterator[Said]:
    """Look at the programs beside nvidia-ctk, then at what engines would find."""
    folder = os.path.dirname(os.path.realpath(subject.program))
    if any(os.path.lexists(f"{folder}/{name}") for name in LAUNCHERS):
        yield from _launchers(folder)
        yield Step("the interpreter of our programs")
        yield from _interpreter(folder)
        yield Step("the daemons of engines")
        yield from _others(folder)
    else:
        yield Skipped("our programs", f"there are none beside {subject.program}")
    yield Fine(f"{SHELL} is {os.path.realpath(SHELL)}")
    yield from _compiled()


def _launchers(folder: str) -> Iterator[Said]:
    missing = [name for name in LAUNCHERS if not os.path.exists(f"{folder}/{name}")]
    closed = [
        name
        for name in LAUNCHERS
        if name not in missing and not lowlevel.is_executable(f"{folder}/{name}")
    ]
    if missing:
        is_needed = not set(NEEDED).isdisjoint(missing)
        yield Finding(
            code=INCOMPLETE,
            what=f"{folder} has no {some(missing)}",
            where=folder,
            severity=WARNING if is_needed else NOTE,
        )
    if closed:
        paths = [f"{folder}/{name}" for name in closed]
        yield Finding(
            code=INCOMPLETE,
            what=f"{some(closed)} may not be executed",
            where=folder,
            command=f"chmod a+x {shlex.join(paths)}",
            severity=ERROR if RUNTIME in closed else WARNING,
        )
    if not missing and not closed:
        yield Fine(f"all programs are in {folder}")


def _interpreter(folder: str) -> Iterator[Said]:
    """Look for the interpreter as the launcher does, and ask it for its version."""
    named = _interpreter_of(f"{folder}/nvidia-ctk")
    others = [f"{folder}/python3", *(f"python{name}" for name in ("3", *_newer()))]
    found_there = next(filter(None, map(shutil.which, [named, *others] if named else others)), "")
    if not found_there:
        what = "there is no Python in PATH, and the launcher finds none"
        yield Finding(code=NO_PYTHON, what=what, where=folder, severity=ERROR)
        return
    answer = program.ask([found_there, "-I", "-S", "-c", VERSION], seconds=SECONDS)
    version = tuple(int(word) for word in answer.out.split() if word.isdigit())
    text = ".".join(map(str, version)) or "of an unknown version"
    if named and not shutil.which(named):
        what = f"{named} is not there; the launcher takes {found_there}, which is Python {text}"
        yield Finding(code=NO_PYTHON, what=what, where=f"{folder}/nvidia-ctk")
    elif version < OLDEST:
        newer = next(filter(None, map(shutil.which, (f"python{name}" for name in _newer()))), "")
        what = f"{found_there} is Python {text}, and we need 3.11"
        what += f"; the launcher goes on with {newer}" if newer else ""
        severity = WARNING if newer else ERROR
        yield Finding(code=NO_PYTHON, what=what, where=found_there, severity=severity)
    else:
        yield Fine(f"Python {text} ({found_there})")


def _newer() -> list[str]:
    return [f"3.{minor}" for minor in range(15, OLDEST[1] - 1, -1)]


def _interpreter_of(script: str) -> str:
    """Return the interpreter in the first line of a script, "" where it has none."""
    try:
        with os.fdopen(open_hosts(script), "rb") as file:
            line = file.readline(4096)
    except (OSError, NvidiaRuntimeError):
        return ""
    words = os.fsdecode(line.removeprefix(b"#!")).split()
    is_python = line.startswith(b"#!/") and bool(words) and "python" in os.path.basename(words[0])
    return words[0] if is_python else ""


def _others(folder: str) -> Iterator[Finding]:
    """Compare what is found in PATH, ours and that of daemons, with what lies beside us."""
    own = [install_runtime.Place(engine="", path=os.environ.get("PATH", ""))]
    told = set()
    for place in (*install_runtime.daemons(), *own):
        # Which runtime an engine takes is told with the engine.
        for name in NEEDED if not place.engine else HOOKS:
            path = shutil.which(name, path=place.path)
            if not path or not os.path.isfile(f"{folder}/{name}"):
                continue
            if path in told or _is_ours(path, f"{folder}/{name}"):
                continue
            told.add(path)
            whose = "ours of another place" if lowlevel.is_launcher(path, "/") else "not ours"
            of_whom = f" of {place.engine}" if place.engine else ""
            yield Finding(
                code=OTHERS_FIRST,
                what=f"{path}, which is {whose}, comes first in the PATH{of_whom}, then {folder}",
                where=path,
                command=f"{shlex.quote(path)} --version",
            )


def _is_ours(path: str, ours: str) -> bool:
    """Whether a program is ours: the same file, or a link or a copy that leads to our package."""
    if os.path.samefile(path, ours):
        return True
    beside = os.path.dirname(os.path.realpath(path))
    return beside == os.path.dirname(os.path.realpath(ours))


def _compiled() -> Iterator[Said]:
    """Look whether the file with the code of the hot path is as the modules are."""
    hot = start.Hot()
    present = [bool(hot.codes(group)) for group in hot_path.GROUPS]
    folder = os.path.dirname(hot.path)
    is_writable = os.access(folder if os.path.isdir(folder) else start.FOLDER, os.W_OK)
    if all(present) or start.IS_DEBUGGING:
        yield Fine("our modules are compiled")
    elif not is_writable:
        what = f"{hot.path} is missing, or older than its modules, and cannot be written"
        yield Finding(code=UNCOMPILED, what=what, where=folder)
    else:
        yield Fine("the first create of root's compiles our modules")
