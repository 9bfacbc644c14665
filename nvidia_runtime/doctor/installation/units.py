# SPDX-License-Identifier: Apache-2.0
"""The units by which systemd keeps the CDI spec of this machine up to date."""

from __future__ import annotations

import os
import re
import shutil
from glob import glob

from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Fine, Step
from nvidia_runtime.engines import program
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.rootfs.files import open_hosts
from nvidia_runtime.store import files
from nvidia_runtime.watch import environment_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said

# Where systemd looks, the most important first: systemd.unit(5).
FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
)
UNITS = "nvidia-cdi-*.service"
PATH_UNIT = "nvidia-cdi-refresh.path"
PROGRAM = re.compile(r"^ExecStart=[-@:+!]*(/\S+)", re.MULTILINE)
VARIABLE = re.compile(r"^Environment=(\S+)$", re.MULTILINE)
VARIABLES = re.compile(r"^EnvironmentFile=(-?/\S+)$", re.MULTILINE)
OUTPUT = "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH"
SECONDS = 2.0
# What it writes says so.
INSTALLER = "nvidia-ctk system install-units"
BOOTED = "/run/systemd/system"  # sd_booted(3)

NO_PROGRAM = Code(
    "NCT-0541",
    WARNING,
    "a unit of systemd's starts a program that is not there",
    """
    The unit that keeps the CDI spec up to date names an nvidia-ctk that was moved or removed, and
    does nothing any more.
    """,
    "'nvidia-ctk system install-units' writes the units for the nvidia-ctk that is called.",
)
FAILED = Code(
    "NCT-0542",
    WARNING,
    "the unit that keeps the CDI spec up to date has failed",
    """
    The CDI spec is that of an earlier boot or driver, or missing: the driver was not loaded when
    the unit ran ('Driver Not Loaded'), a GPU did not answer, or it was started too often
    ('start-limit-hit').
    """,
    """
    'journalctl -b -u nvidia-cdi-refresh' says why; 'systemctl reset-failed nvidia-cdi-refresh' and
    'systemctl start nvidia-cdi-refresh' try again.
    """,
)
DISABLED = Code(
    "NCT-0543",
    NOTE,
    "the unit that keeps the CDI spec up to date is not enabled",
    """
    The unit is installed, but systemd does not start it at boot.  /var/run/cdi is empty after a
    restart, and a spec in /etc/cdi stays as it is when the driver is updated.
    """,
    """
    'systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service', or
    nvidia-cdi-watch.service, which keeps running.
    """,
)
SKIPPED = Code(
    "NCT-0544",
    NOTE,
    "a line in the settings of the units has no effect",
    """
    systemd reads lines of the form NAME=VALUE from the file that EnvironmentFile= names, without
    'export' and without blanks around the equals sign.  It leaves out all others, without a word
    that anybody sees.
    """,
    "Write NAME=VALUE; 'nvidia-ctk cdi refresh --help' lists the names.",
)
CODES = (NO_PROGRAM, FAILED, DISABLED, SKIPPED)


def check() -> Iterator[Said]:
    """Look at the units' files, then ask systemd how they are."""
    units = _units()
    enabled = [name for name in units if _is_enabled(name)]
    missing: dict[str, list[str]] = {}
    for name, path in units.items():
        for executable in dict.fromkeys(PROGRAM.findall(_read(path))):
            if not lowlevel.is_executable(executable):
                missing.setdefault(executable, []).append(name)
    for executable, names in missing.items():
        path = units[names[0]]
        what = f"{' and '.join(names)} would start {executable}"
        yield Finding(code=NO_PROGRAM, what=what, where=path, command=_installing(path))
    if units and not enabled:
        name, path = next(iter(units.items()))
        paths = [PATH_UNIT] if os.path.exists(f"{os.path.dirname(path)}/{PATH_UNIT}") else []
        command = f"systemctl enable --now {' '.join([*paths, name])}"
        what = f"no link below {FOLDERS[0]} has systemd start {name}"
        yield Finding(code=DISABLED, what=what, where=path, command=command)
    if enabled:
        yield Fine(f"systemd keeps the CDI spec up to date ({', '.join(enabled)})")
    yield from _settings(units)
    yield from _failed(units, enabled)


def _settings(units: dict[str, str]) -> Iterator[Finding]:
    for path in dict.fromkeys(file for unit in units.values() for file in _files(_read(unit))):
        if lines := environment_file.skipped(_read(path)):
            what = f"{some(lines)}: not of the form NAME=VALUE"
            yield Finding(code=SKIPPED, what=what, where=path)


def _failed(units: dict[str, str], enabled: list[str]) -> Iterator[Said]:
    """Ask systemd, and look for what was to be written: a condition may have kept it from that."""
    if not units or not os.path.isdir(BOOTED) or not shutil.which("systemctl"):
        return
    yield Step("systemd")
    for name, path in units.items():
        words = ["systemctl", "show", name, "--property=ActiveState", "--property=Result"]
        answer = program.ask(words, seconds=SECONDS)
        values = dict(line.partition("=")[::2] for line in answer.out.splitlines())
        what, output = "", _output(path)
        if values.get("ActiveState") == "failed":
            what = f"{name} has ended with {values.get('Result') or 'a failure'}"
        elif name in enabled and files.loaded_driver() and not os.path.exists(output):
            what = f"{name} is enabled, and {output} is not there"
        if what:
            command = f"journalctl -b -n 20 -u {name}"
            yield Finding(code=FAILED, what=what, where=path, command=command)


def _output(unit: str) -> str:
    """Return the spec that a unit writes, by its variables; what is always there if none says."""
    text = _read(unit)
    variables = environment_file.parse("\n".join(VARIABLE.findall(text)))
    for path in _files(text):
        variables |= environment_file.parse(_read(path))
    return variables.get(OUTPUT) or unit


def _files(text: str) -> list[str]:
    """Return the files of variables that a unit names."""
    return [path.removeprefix("-") for path in VARIABLES.findall(text)]


def _units() -> dict[str, str]:
    """Return the services that write CDI specs, each with the file that counts."""
    units: dict[str, str] = {}
    for folder in FOLDERS:
        for path in sorted(glob(f"{folder}/{UNITS}")):
            units.setdefault(os.path.basename(path), path)
    # A link to nothing is how a unit is masked.
    return {name: path for name, path in units.items() if os.path.realpath(path) != os.devnull}


def _is_enabled(name: str) -> bool:
    """Whether systemd starts a unit by itself, at boot or when its path unit notices something."""
    return any(
        os.path.lexists(path) for folder in FOLDERS for path in glob(f"{folder}/*.wants/{name}")
    )


def _installing(path: str) -> str:
    """Return the command that writes a unit anew, "" where a package has brought it."""
    prefix = path.partition("/lib/systemd/")[0]
    where = f" --prefix={prefix}" if prefix not in (path, "") else ""
    return INSTALLER + where if INSTALLER in _read(path) else ""


def _read(path: str) -> str:
    try:
        with os.fdopen(open_hosts(path), "rb") as file:
            return os.fsdecode(file.read(1 << 20))
    except (OSError, NvidiaRuntimeError):
        return ""
