# SPDX-License-Identifier: Apache-2.0
"""A container of no engine's: our runtime is called as an engine would call it.

What goes wrong here goes wrong with every engine that has our runtime.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from nvidia_runtime.doctor.trial import root as trial_root
from nvidia_runtime.doctor.trial import run as trial_run
from nvidia_runtime.doctor.trial.run import Ended
from nvidia_runtime.doctor.trial.ways import Plan, Way, own_runtime
from nvidia_runtime.engines import runtimes
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.doctor.trial.run import Bench

ENGINE = "runc"
VARIABLE = "NVIDIA_CTK_CONFIG_FILE_PATH"
TICK = 0.05
NAMES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "MKNOD", "NET_RAW", "SETGID", "SETUID")
CAPABILITIES = [f"CAP_{name}" for name in NAMES]
NAMESPACES = ("pid", "ipc", "uts", "mount", "network")


def plan(subject: Subject, bench: Bench) -> Plan:
    """Return what is tried.  Raises `NvidiaRuntimeError` where it cannot be."""
    if not subject.is_root:
        raise NvidiaRuntimeError("it needs root")
    program = own_runtime(subject)
    if not program:
        raise NvidiaRuntimeError(f"there is no program {runtimes.PROGRAM!r}")
    env = dict(os.environ)
    if subject.path != os.path.abspath(files.config_path()):
        env[VARIABLE] = subject.path

    def run(asked: dict[str, str]) -> Ended:
        return _Container(program, bench, env, asked).run()

    return Plan(
        engine=ENGINE,
        ways=[
            Way(
                label=f"{os.path.basename(program)} with NVIDIA_VISIBLE_DEVICES=all",
                run=lambda: run(trial_root.ASKED),
            )
        ],
        control=Way(label=os.path.basename(program), run=lambda: run({})),
    )


class _Container:
    """A container of our runtime's, in a bundle of the trial's."""

    def __init__(
        self, program: str, bench: Bench, env: dict[str, str], asked: dict[str, str]
    ) -> None:
        self.name = bench.name()
        self.bench = bench
        self.env = env
        self.bundle = os.path.dirname(bench.root(self.name))
        self.words = [program, "--root", f"{bench.folder}/state"]
        with open(f"{self.bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(_document(self.name, asked), file)

    def run(self) -> Ended:
        """Run it to its end; whatever happens it is removed."""
        try:
            with (
                open(f"{self.bundle}/out", "w+b") as out,
                open(f"{self.bundle}/err", "w+b") as err,
            ):
                words = [*self.words, "create", "--bundle", self.bundle, self.name]
                seconds = self.bench.seconds(trial_run.FOR_CONTAINER)
                ended = trial_run.call(words, seconds, env=self.env, out=out, err=err)
                if ended.code or ended.is_late:
                    return ended
                ended = self._call("start")
                if ended.code or ended.is_late:
                    return ended
                is_late = not self._stops()
                return Ended(out=trial_run.text(out), err=trial_run.text(err), is_late=is_late)
        finally:
            self.bench.remove([*self.words, "delete", "--force", self.name], self.env)
            shutil.rmtree(self.bundle, ignore_errors=True)

    def _call(self, command: str) -> Ended:
        seconds = self.bench.seconds(trial_run.FOR_CONTAINER)
        return trial_run.call([*self.words, command, self.name], seconds, env=self.env)

    def _stops(self) -> bool:
        """Wait until it has ended; whether it does in time."""
        end = time.monotonic() + self.bench.seconds(trial_run.FOR_CONTAINER)
        while time.monotonic() < end:
            state = self._call("state")
            try:
                if json.loads(state.out)["status"] == "stopped":
                    return True
            except (ValueError, KeyError, TypeError):
                return False
            time.sleep(TICK)
        return False


def _document(name: str, asked: dict[str, str]) -> dict[str, Any]:
    """Return what an engine would write: no device but the runtime's own."""
    variables = trial_root.ENVIRONMENT | asked
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(trial_root.WORDS),
            "env": [f"{key}={value}" for key, value in variables.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
        ],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
