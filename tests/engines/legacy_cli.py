# SPDX-License-Identifier: Apache-2.0
"""Legacy mode's other programs: an nvidia-container-cli that notes how it was called, then does as
the test says, and the hook under test by the path that an engine gets.

Both are scripts; the noting one is a static busybox alone, since an engine may call it without PATH.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .machine import Runtime

HOOK = "nvidia-container-runtime-hook"
NAME = "nvidia-container-cli"
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
LDCONFIG = "@/opt/nvcr/ldconfig"  # no host has a .real of it

# The record is complete before anything else is tried.
SCRIPT = """\
#!{busybox} sh
bb={busybox}
call=$($bb mktemp -d {calls}/XXXXXX)
describe() {{
    for kind in {kinds}; do echo "$kind $($bb readlink "/proc/$1/ns/$kind")"; done >"$2-namespaces"
    $bb cat "/proc/$1/cgroup" >"$2-cgroup"
    $bb sed -n 's/^NSpid:[[:space:]]*//p' "/proc/$1/status" >"$2-pids"
}}
printf '%s\\0' "$0" "$@" >"$call/argv"
$bb cat "/proc/$$/environ" >"$call/environment"
$bb readlink "/proc/$$/cwd" >"$call/cwd"
# By itself: a newer busybox blocks all signals around a fork, which its child might see.
while read -r name value; do
    case $name in SigBlk: | SigIgn:) echo "$name $value" ;; esac
done <"/proc/$$/status" >"$call/signals"
pid=
for word do case $word in --pid=*) pid=${{word#--pid=}} ;; esac; done
root=$word
describe $$ "$call/own"
[ -z "$pid" ] || describe "$pid" "$call/container"
. {behaviour}
"""

# What the real one does: enters the container's mount namespace and mounts below the root given.
INJECT = """\
[ "$($bb readlink "/proc/$pid/ns/mnt")" != "$($bb readlink /proc/self/ns/mnt)" ] || exit 3
$bb nsenter --mount="/proc/$pid/ns/mnt" "$bb" sh -c '
    "$1" mkdir -p "$0/nvidia" && "$1" mount -t tmpfs nvcr "$0/nvidia" && echo yes >"$0/nvidia/driver"
' "$root" "$bb"
"""
INJECTED = "/nvidia/driver"
COMPLAINT = "nvidia-container-cli: initialization error: driver not loaded"
FAIL = f"echo '{COMPLAINT}' >&2\nexit 1\n"
# As bad as it gets: deaf to SIGTERM, with a child that holds the same pipes.  It ends in the end, but
# later than a test waits for an engine.
HANG = """\
trap '' TERM
$bb sleep 90 &
echo "$$ $!" >"$call/processes"
wait
"""
SLEEP = """\
echo $$ >"$call/processes"
exec $bb sleep 90
"""
# A frozen process of cgroup v1 is as one that waits in a driver: SIGKILL does not reach it.
FREEZE = """\
echo $$ >"$call/processes"
echo $$ >{group}/cgroup.procs
echo FROZEN >{group}/freezer.state
$bb sleep 90
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """How a process stood when it was looked at."""

    namespaces: dict[str, str]
    cgroups: list[str]
    pids: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How nvidia-container-cli was called, and the process that it was to serve.

    `signals` are two lines of proc_pid_status(5), the blocked and the ignored ones.
    """

    argv: list[str]
    environment: dict[str, str]
    cwd: str
    signals: str
    own: Process
    container: Process

    @property
    def pid(self) -> int:
        """The number after --pid=."""
        return int(self.argv[-2].removeprefix("--pid="))

    @property
    def root(self) -> Path:
        """The container's root file system, as the last word says."""
        return Path(self.argv[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cli:
    """The noting nvidia-container-cli and the hook, in a folder of their own."""

    folder: Path
    hook: Path

    @property
    def path(self) -> Path:
        """The program."""
        return self.folder / "bin" / NAME

    def build(self, busybox: str) -> None:
        """Write the program; it only notes."""
        (self.folder / "calls").mkdir(parents=True)
        self.path.parent.mkdir()
        names = {"busybox": busybox, "kinds": " ".join(NAMESPACES)}
        folders = {"calls": self.folder / "calls", "behaviour": self.folder / "behaviour"}
        self.path.write_text(SCRIPT.format(**names, **folders))
        self.path.chmod(0o755)
        self.reset()

    def reset(self, behaviour: str = "") -> None:
        """Forget all calls, and say what to do after noting one: lines of sh."""
        for call in (self.folder / "calls").iterdir():
            for file in call.iterdir():
                file.unlink()
            call.rmdir()
        (self.folder / "behaviour").write_text(behaviour)

    def calls(self) -> list[Call]:
        """Read the calls so far, in no order."""
        return [read_call(folder) for folder in (self.folder / "calls").iterdir()]

    def processes(self) -> list[int]:
        """List the processes of calls that hang."""
        files = (self.folder / "calls").glob("*/processes")
        return [int(word) for file in files for word in file.read_text().split()]

    def write_hook(self, folder: Path, config: Path) -> Path:
        """Write the hook by which an engine calls ours, with settings: engines drop variables."""
        folder.mkdir(exist_ok=True)
        script = folder / HOOK
        script.write_text(
            "#!/bin/sh\n"
            f"export NVIDIA_CTK_CONFIG_FILE_PATH={shlex.quote(os.fspath(config))}\n"
            f'exec {shlex.quote(os.fspath(self.hook))} "$@"\n'
        )
        script.chmod(0o755)
        return script

    def settings(self, hook: Path, *lines: str) -> str:
        """Write the sections of config.toml for legacy mode; lines are more of the hook's."""
        sections = [
            f"[{NAME}]",
            f"path = {json.dumps(os.fspath(self.path))}",
            f'ldconfig = "{LDCONFIG}"',
            'environment = ["NVCR_TEST=of config.toml"]',
            f"[{HOOK}]",
            f"path = {json.dumps(os.fspath(hook))}",
            *lines,
        ]
        return "".join(f"{line}\n" for line in sections)

    @contextmanager
    def legacy(self, runtime: Runtime, *lines: str, mode: str = "legacy") -> Iterator[Path]:
        """Set a runtime to legacy mode for a while; yield the path of its hook."""
        file = runtime.path.parent / "config.toml"
        before = file.read_text()
        hook = self.write_hook(runtime.path.parent / "hook", file)
        text = before.replace('mode = "cdi"\n', f'mode = "{mode}"\n')
        file.write_text(text + self.settings(hook, *lines))
        try:
            yield hook
        finally:
            file.write_text(before)


def read_call(folder: Path) -> Call:
    """Read what one call noted."""
    entries = (folder / "environment").read_text().split("\0")[:-1]
    own = read_process(folder, "own")
    is_served = (folder / "container-cgroup").exists()
    return Call(
        argv=(folder / "argv").read_text().split("\0")[:-1],
        environment=dict(entry.split("=", 1) for entry in entries),
        cwd=(folder / "cwd").read_text().rstrip("\n"),
        signals=(folder / "signals").read_text(),
        own=own,
        container=read_process(folder, "container") if is_served else own,
    )


def read_process(folder: Path, who: str) -> Process:
    """Read what a call noted of one process."""
    rows = (folder / f"{who}-namespaces").read_text().splitlines()
    groups = (folder / f"{who}-cgroup").read_text().splitlines()
    return Process(
        namespaces=dict(row.split(" ", 1) for row in rows),
        cgroups=[row.split(":", 2)[2] for row in groups],
        pids=[int(word) for word in (folder / f"{who}-pids").read_text().split()],
    )


def namespaces() -> dict[str, str]:
    """Return the namespaces of this process, the host's."""
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES}


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def variables(asked: Mapping[str, str]) -> list[str]:
    """Return the options of `docker run` and `podman run` that set variables."""
    return [word for name, value in asked.items() for word in ("--env", f"{name}={value}")]
