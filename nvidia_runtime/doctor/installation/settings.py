# SPDX-License-Identifier: Apache-2.0
"""config.toml: what a create refuses in it, what does nothing, what leads nowhere."""

from __future__ import annotations

import os
import shlex
import stat

from nvidia_runtime.admission.policy import UNPRIVILEGED
from nvidia_runtime.cdi import registry
from nvidia_runtime.compile import config
from nvidia_runtime.compile.machine_file import HOOK_PROGRAM
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.installation import judgement
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.hooks import container_cli
from nvidia_runtime.host import platform
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.sources import unresolvable
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import CAPABILITIES, SPEC_DIRS, VOLUME_MOUNTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.installation.judgement import Sentence
    from nvidia_runtime.doctor.subject import Subject

RUNTIME = "nvidia-container-runtime"
KIND = f"{RUNTIME}.modes.cdi.default-kind"
REQUESTS, DEVICES = f"{RUNTIME}.image-requests", f"{RUNTIME}.image-devices"
LOGS = (f"{RUNTIME}.debug", "nvidia-container-cli.debug")
NO_LOG = ("", "/dev/null", "/dev/stdout", "/dev/stderr")
# Judged with the programs, not as a matter of the file.
APART = (judgement.RUNTIMES, judgement.PRESTART)

INVALID = Code(
    "NCT-0501",
    ERROR,
    "config.toml is not valid",
    """
    Our runtime refuses to create a container with devices while it cannot understand its settings:
    they may be there for safety.  Engines show its sentence: 'config.toml: is not TOML: ...',
    'invalid mode ...', '... must be true or false, not a string'.
    """,
    """
    Correct the line; 'nvidia-ctk config validate' says whether all is well, and 'nvidia-ctk config
    explain SETTING' what a setting may be.  Without a file the defaults hold.
    """,
)
UNKNOWN = Code(
    "NCT-0502",
    WARNING,
    "a setting in config.toml has no effect",
    """
    The name is unknown, so that the setting is ignored: it is misspelled, in another table than it
    was meant for, or of another version.
    """,
    "'nvidia-ctk config explain' lists all settings with their tables.",
)
CONTRADICTION = Code(
    "NCT-0503",
    WARNING,
    "settings in config.toml keep containers from their GPUs",
    """
    Each of the settings is valid, but together, or on this machine, they leave containers without
    GPUs, or do nothing.
    """,
    "'nvidia-ctk config explain SETTING' says what it does, 'nvidia-ctk config --set' changes it.",
)
NO_SPECS = Code(
    "NCT-0504",
    ERROR,
    "the mode is cdi, and no CDI spec describes the GPUs",
    """
    In this mode our runtime takes devices from CDI specs alone.  Containers are refused:
    'unresolvable CDI devices nvidia.com/gpu=all; there are no CDI specs'.
    """,
    """
    'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml' writes a spec; or set
    nvidia-container-runtime.mode to auto, which needs none.
    """,
)
NOWHERE = Code(
    "NCT-0505",
    WARNING,
    "a path in config.toml leads nowhere",
    "The file, folder or program that a setting names is not on this machine.",
    "Correct the setting, or take it out: the default is looked up.",
)
WRITABLE = Code(
    "NCT-0506",
    WARNING,
    "others than root can change config.toml",
    """
    The settings name programs that root runs for containers, and say who may have GPUs.  Who can
    change the file, or its folder, is root on this machine.
    """,
    "'chown root:root FILE' and 'chmod go-w FILE', and the same for the folder.",
)
LOG = Code(
    "NCT-0507",
    WARNING,
    "the log file of the settings cannot be written",
    """
    The file of nvidia-container-runtime.debug is a pipe, a folder, or nothing that may be written
    to.  Containers start, but nothing is logged: 'failed to open log file'.
    """,
    """
    Name a file in a folder of root's, such as /var/log/nvidia-container-runtime.log, or /dev/null.
    """,
)
CODES = (INVALID, UNKNOWN, CONTRADICTION, NO_SPECS, NOWHERE, WRITABLE, LOG)


def check(subject: Subject) -> Iterator[Finding]:
    """Look at the file, then at what its settings come to on this machine."""
    yield from _of_file(subject)
    if os.path.exists(subject.path):
        yield from _writable(subject.path)
    if subject.settings_error:
        return
    yield from _contradictions(subject)
    yield from _specs(subject)
    yield from _paths(subject)
    yield from _logs(subject)


def _of_file(subject: Subject) -> Iterator[Finding]:
    path = subject.path
    try:
        sentences = judgement.of_file(path, config.read(path))
    except FileNotFoundError:
        return
    except NvidiaRuntimeError as error:
        sentences = [judgement.of_error("", error)]
    for said in sentences:
        if said.key not in APART:
            is_error = said.severity == "error"
            yield Finding(
                code=INVALID if is_error else UNKNOWN,
                what=said.message,
                where=f"{path}: {said.key}" if said.key else path,
                command=_next(said, path),
            )


def _next(said: Sentence, path: str) -> str:
    if said.key in config.DEFAULTS:
        return f"nvidia-ctk config explain {said.key}"
    return f"nvidia-ctk config validate {shlex.quote(path)}"


def _writable(path: str) -> Iterator[Finding]:
    for place in registry.places(path):
        if doubts := registry.doubts(place):
            word = shlex.quote(place)
            command = f"chown root:root {word}; chmod go-w {word}"
            what = f"it {' and '.join(doubts)}"
            yield Finding(code=WRITABLE, what=what, where=place, command=command)


def _contradictions(subject: Subject) -> Iterator[Finding]:
    """Say what comes of settings that are valid each for itself."""
    for key, what, value, severity in _clashes(subject):
        yield Finding(
            code=CONTRADICTION,
            what=what,
            where=f"{subject.path}: {key}",
            command=_setting(subject, key, value),
            severity=severity,
        )


def _clashes(subject: Subject) -> Iterator[tuple[str, str, str, str]]:
    """Return settings, what comes of them, a value that is better, and how much it matters."""
    settings = subject.settings
    if not settings[CAPABILITIES].strip():
        what = f"{CAPABILITIES} is empty: containers get the nodes of GPUs, and no library"
        yield CAPABILITIES, what, "all", WARNING
    if not settings[UNPRIVILEGED] and not settings[VOLUME_MOUNTS]:
        what = (
            "containers without CAP_SYS_ADMIN may ask neither by a variable nor by mounts: they get"
            " GPUs by CDI annotations alone"
        )
        yield UNPRIVILEGED, what, "true", NOTE
    if settings[REQUESTS] == "listed" and not settings[DEVICES]:
        what = f"{REQUESTS} is listed, and {DEVICES} is empty: no image may ask for a device"
        yield REQUESTS, what, "deny", NOTE
    if settings[REQUESTS] != "listed" and settings[DEVICES]:
        what = f"{DEVICES} counts only where {REQUESTS} is listed, and it is {settings[REQUESTS]}"
        yield DEVICES, what, "", NOTE
    if subject.mode == "csv" and not platform.is_soc(subject.driver_root):
        what = "the mode csv is for Tegra, and this is none: containers get what its files list"
        yield f"{RUNTIME}.mode", what, "auto", WARNING


def _specs(subject: Subject) -> Iterator[Finding]:
    kind = str(subject.settings[KIND])
    if subject.mode != "cdi":
        return
    specs = registry.read(subject.spec_dirs)
    if not any(name.startswith(f"{kind}=") for name in specs.devices):
        folder = subject.spec_dirs[0] if subject.spec_dirs else "/etc/cdi"
        folders = " and ".join(subject.spec_dirs) or "any folder"
        what, command = f"no file in {folders} describes {kind}", ""
        if any(file.spec["kind"] == kind for file in specs.files):
            what = f"the files in {folders} that describe {kind} do not count, since they collide"
        elif kind == config.DEFAULTS[KIND]:
            command = f"nvidia-ctk cdi generate --output={unresolvable.new_file(folder)}"
        yield Finding(code=NO_SPECS, what=what, where=folder, command=command)


def _paths(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    places = []
    ldconfig = str(settings[config.LDCONFIG]).removeprefix("@")
    is_there = lowlevel.is_executable(f"{subject.driver_root}{ldconfig}")
    if settings[config.LDCONFIG] != config.DEFAULTS[config.LDCONFIG] and subject.mode == "legacy":
        places.append((config.LDCONFIG, ldconfig, is_there))
    for key in (f"{container_cli.NAME}.path", HOOK_PROGRAM):
        program = str(settings[key])
        if program.startswith("/"):
            places.append((key, program, lowlevel.is_executable(program)))
    places += [
        (SPEC_DIRS, folder, False) for folder in subject.spec_dirs if not folder.startswith("/")
    ]
    for key, path, is_fine in places:
        if not is_fine:
            what = f"{path} is not on this machine" if path[:1] == "/" else f"{path!r} is relative"
            yield Finding(
                code=NOWHERE,
                what=what,
                where=f"{subject.path}: {key}",
                command=f"nvidia-ctk config explain {key}",
            )


def _logs(subject: Subject) -> Iterator[Finding]:
    for key in LOGS:
        path = str(subject.settings[key])
        if path not in NO_LOG and (reason := _unwritable(path)):
            yield Finding(
                code=LOG,
                what=f"{path} {reason}",
                where=f"{subject.path}: {key}",
                command=_setting(subject, key, "/dev/null"),
            )


def _setting(subject: Subject, key: str, value: str) -> str:
    """Return the command that changes a setting."""
    words = ["nvidia-ctk", "config", "--set", f"{key}={value}", "-i"]
    if subject.path != files.config_path():
        words.insert(2, f"--config={subject.path}")
    return shlex.join(words)


def _unwritable(path: str) -> str:
    """Say why a log cannot be appended to, "" if it can; folders that are missing are made."""
    if not path.startswith("/"):
        return "is relative: it lies wherever the engine calls the runtime"
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        folder = path
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        is_fine = os.path.isdir(folder) and os.access(folder, os.W_OK)
        return "" if is_fine else f"cannot be made: {folder} is no folder that may be written to"
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        return "is a pipe" if stat.S_ISFIFO(mode) else "is not a file"
    return "" if os.access(path, os.W_OK) else "may not be written to"
