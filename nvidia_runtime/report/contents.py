# SPDX-License-Identifier: Apache-2.0
"""What is collected for a report: files of ours, of the driver and of engines, and what logs say.

Nothing of a container is read but our record of it, and of engines only their settings.
"""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nvidia_runtime.engines import program, running, supported
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.report import hardware
from nvidia_runtime.store import files, record
from nvidia_runtime.store.snapshot import DRIVER_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.compile.config import Settings
    from nvidia_runtime.engines.running import Running

LARGEST = 256 << 10
LARGEST_SPEC = 1 << 20
MOST_RECORDS = 20
MOST_ENTRIES = 500
SECONDS = 5
# The beginning of a log is of less use than its end.
LOGS = ("nvidia-container-runtime.debug", "nvidia-container-cli.debug")
ENVIRONMENT = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
DRIVER = (
    *("/proc/driver/nvidia/version", "/proc/driver/nvidia/params", "/proc/driver/nvidia/registry"),
    *("/proc/devices", "/proc/version", "/proc/cmdline", "/proc/self/cgroup"),
    "/etc/nv_tegra_release",
)
SYSTEM = "/etc/os-release"
GPUS = "/proc/driver/nvidia/gpus"
NODES = re.compile(r"nvidia|dri$|dxg$|nvhost|nvmap|gdrdrv")
FOLDERS = (
    *("/dev", "/dev/dri", "/dev/dri/by-path", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels"),
    *("/dev/infiniband", "/run/nvidia-fabricmanager", "/run/nvidia-persistenced"),
)
LINKS = "/dev/char"  # of which only those to the driver's nodes
KERNEL_LINES = re.compile(r"NVRM|nvidia|nouveau|Xid|avc: +denied|apparmor=", re.IGNORECASE)
UNITS = ("nvidia-cdi-refresh", "nvidia-cdi-watch", "nvidia-persistenced", "nvidia-fabricmanager")
JOURNAL = ["journalctl", "--no-pager", "--lines=300", *(f"--unit={unit}" for unit in UNITS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A text with its name in the archive and where it comes from; ``problem`` is why it is not."""

    name: str
    source: str
    data: bytes = b""
    is_cut: bool = False
    problem: str = ""


def parts(settings: Settings, path: str) -> Iterator[Part]:
    """Return all, one after the other; ``path`` is config.toml."""
    yield of_file("settings/config.toml", path)
    yield of_file("settings/nvidia-cdi-refresh.env", ENVIRONMENT)
    for source in DRIVER:
        yield of_file(f"machine/{source.strip('/').replace('/', '-')}", source)
    yield _system()
    for number, name in enumerate(_names(GPUS)):
        yield of_file(f"machine/gpu-{number}.txt", f"{GPUS}/{name}/information")
    yield _text("machine/modules.txt", "/proc/modules", _lines("/proc/modules", "nvidia|nouveau"))
    yield _text("machine/device-nodes.txt", "/dev", "".join(_nodes()))
    root = str(settings[DRIVER_ROOT])
    yield _text("machine/libraries.txt", root or "/", hardware.libraries(root))
    yield _document("machine/gpus.json", "NVML", hardware.gpus(root))
    yield _document("machine/pci.json", "/sys/bus/pci/devices", hardware.bus())
    for folder in settings["nvidia-container-runtime.modes.cdi.spec-dirs"]:
        for name in _names(folder):
            if name.endswith((".json", ".yaml", ".yml")):
                where = folder.strip("/").replace("/", "-")
                yield of_file(f"specs/{where}/{name}", f"{folder}/{name}", LARGEST_SPEC)
    yield from _of_engines()
    yield from records()
    for setting in LOGS:
        if (log := str(settings[setting])) not in ("", "/dev/null"):
            yield of_file(f"logs/{setting}.log", log, is_log=True)
    yield _of_command("logs/journal.txt", JOURNAL)
    yield _of_command("logs/kernel.txt", ["dmesg"], KERNEL_LINES)


def records() -> Iterator[Part]:
    """Return the youngest records of containers, and of creates that failed."""
    for kind, into in ((record.CREATED, "records"), (record.FAILED, "failed")):
        folder = f"{files.state_folder()}/{kind}"
        names = [name for name in _names(folder) if name.endswith(".json")]
        youngest = sorted(names, key=lambda name: _time(f"{folder}/{name}"))[-MOST_RECORDS:]
        for name in reversed(youngest):
            yield of_file(f"{into}/{name}", f"{folder}/{name}", LARGEST_SPEC)


def of_file(name: str, path: str, most: int = LARGEST, *, is_log: bool = False) -> Part:
    """Return a regular file, or its first bytes, of a log the last ones."""
    try:
        if _is_anothers_link(path):
            return Part(name=name, source=path, problem="is a link that another user has made")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Part(name=name, source=path, problem="is not a regular file")
            if is_log and status.st_size > most:
                file.seek(-most, os.SEEK_END)
            data = file.read(most + 1)
            if is_log and status.st_size > most:
                # The rest of a line is what nothing tells of any more: of a password, maybe.
                data = data.partition(b"\n")[2]
    except OSError as error:
        return Part(name=name, source=path, problem=os_reason(error))
    is_cut = len(data) > most or (is_log and status.st_size > most)
    return Part(name=name, source=path, data=data[:most], is_cut=is_cut)


def _system() -> Part:
    """Return os-release(5): "=" would make an environment of it, of which all is masked."""
    part = of_file("machine/etc-os-release", SYSTEM)
    lines = [line.replace(b"=", b": ", 1) for line in part.data.splitlines(keepends=True)]
    return replace(part, data=b"".join(lines))


def _is_anothers_link(path: str) -> bool:
    """Whether a path is a link of somebody who may not read what it leads to."""
    status = os.lstat(path)
    return stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid())


def _text(name: str, source: str, text: str) -> Part:
    return Part(name=name, source=source, data=text.encode(errors="replace"))


def _document(name: str, source: str, document: object) -> Part:
    return Part(name=name, source=source, data=json.dumps(document).encode())


def _of_engines() -> Iterator[Part]:
    numbers: dict[str, int] = {}
    for name in supported.NAMES:
        for daemon in running.all_of(supported.ENGINES[name]):
            for path in _files(daemon):
                numbers[name] = numbers.get(name, 0) + 1
                base = os.path.basename(path)
                yield of_file(f"engines/{name}/{numbers[name]}-{base}", path)


def _files(daemon: Running) -> list[str]:
    try:
        layers = daemon.engine.layers(daemon.config, View())
    except NvidiaRuntimeError:  # doctor says what is wrong with it
        return [daemon.config]
    return list(dict.fromkeys([daemon.config, *(path for path, _ in layers)]))


def _of_command(name: str, words: list[str], kept: re.Pattern[str] | None = None) -> Part:
    source = " ".join(words)
    answer = program.ask(words, seconds=SECONDS)
    text = answer.out
    if kept:
        text = "".join(line for line in text.splitlines(keepends=True) if kept.search(line))
    if answer.problem and not text:
        return Part(name=name, source=source, problem=answer.problem)
    data = text.encode()
    return Part(name=name, source=source, data=data[-LARGEST:], is_cut=len(data) > LARGEST)


def _lines(path: str, pattern: str) -> str:
    part = of_file("", path)
    lines = part.data.decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if re.search(pattern, line))


def _nodes() -> Iterator[str]:
    """Return a line for each node of GPUs, and what belongs to it: mode, owner, numbers, path."""
    for folder in (*FOLDERS, LINKS):
        for name in _names(folder)[:MOST_ENTRIES]:
            if folder == "/dev" and not NODES.search(name):
                continue
            with suppress(OSError):  # it went meanwhile
                line = _node(f"{folder}/{name}")
                if folder != LINKS or "nvidia" in line:
                    yield line


def _node(path: str) -> str:
    status = os.lstat(path)
    numbers = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    owner = f"{status.st_uid}:{status.st_gid}"
    target = f" -> {os.readlink(path)}" if stat.S_ISLNK(status.st_mode) else ""
    return f"{stat.filemode(status.st_mode)} {owner} {numbers} {path}{target}\n"


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
