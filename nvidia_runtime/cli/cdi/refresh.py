# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi refresh: update the CDI spec of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cli import files
from nvidia_runtime.cli.cdi.generate import Generate, by_file, is_in_spec_dir
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.cli.tables.root import BUSY, KEPT, NO_DRIVER
from nvidia_runtime.compile import written
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.generate import changes, coherence, machine, output
from nvidia_runtime.generate.options import Generated, Options
from nvidia_runtime.host import library_set, platform
from nvidia_runtime.store.files import loaded_driver, state_folder

DEFAULT = "/var/run/cdi/nvidia.yaml"
LOCK = "refresh.lock"
LONGEST_WAIT = 60.0  # seconds


class Refresh(Generate):
    """nvidia-ctk cdi refresh."""

    table = tables.REFRESH
    dry_run: bool
    as_json: bool
    prune: bool

    def main(self) -> int:
        """Generate the spec, compare it with the file, and write it if it differs."""
        self.output = self.output or DEFAULT
        form = self._form() or output.FORMATS[0]
        options = self.options()
        path = output.name_file(os.path.abspath(self.output), form)
        if _is_without_driver(options):
            return self._without_driver(path)
        with _lock(is_needed=not self.dry_run):
            try:
                generated = machine.generate(options)
            except NvidiaRuntimeError:
                if os.path.exists(path):
                    self.tell(f"{path} is left as it was")
                raise
            self._report(generated)
            return self._update(generated, options, path)

    def _update(self, generated: Generated, options: Options, path: str) -> int:
        specs = coherence.split(generated.spec, options)
        old, old_data = self._read(path)
        if reason := _why_kept(old, specs[""], generated.problems):
            self._say("kept", path, [reason], generated)
            return KEPT
        is_written = False
        for name, spec in by_file(specs, path).items():
            data = output.encode(spec, name)
            before, before_data = (old, old_data) if name == path else self._read(name)
            is_same = before == cdi_spec.parse(data, name)
            if not is_same and not self.dry_run:
                output.write(name, data)
            if not self.dry_run:
                self._remember(name, before_data if is_same else data, options, specs)
            is_written |= not is_same
        verb = "would be written" if self.dry_run else "written"
        state = verb if is_written else "unchanged"
        self._say(state, path, changes.differences(old, specs[""]), generated)
        return 0

    def _without_driver(self, path: str) -> int:
        is_there = os.path.exists(path)
        state = "kept" if is_there else "absent"
        if is_there and self.prune:
            state = "would be removed"
            if not self.dry_run:
                _remove(path)
                state = "removed"
        hint = "; --prune removes it" if state == "kept" else ""
        self._say(state, path, [f"no NVIDIA driver is loaded{hint}"])
        return NO_DRIVER

    def _read(self, path: str) -> tuple[changes.Spec | None, bytes]:
        """Read the spec that is to be updated; an invalid one is replaced."""
        if not os.path.exists(path):
            return None, b""
        data = files.read(path)
        try:
            return cdi_spec.parse(data, path), data
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; it is replaced")
            return None, b""

    def _remember(
        self, name: str, data: bytes, options: Options, specs: dict[str, coherence.Spec]
    ) -> None:
        """Remember that the file is ours, unless that is known."""
        is_known = written.recall(name, hashlib.sha256(data).hexdigest())
        if len(specs) == 1 and not is_known and is_in_spec_dir(name):
            written.remember(name, data, options)

    def _say(
        self, state: str, path: str, differences: list[str], generated: Generated | None = None
    ) -> None:
        if not self.as_json:
            print(f"{path} {state}", *[f"  {difference}" for difference in differences], sep="\n")
            return
        details = f": {'; '.join(differences)}" if differences else ""
        document = {
            "path": path,
            "state": state,
            "changes": differences,
            "problems": generated.problems if generated else {},
            "summary": f"{path} {state}{details}",
            "watched": _watched(generated) if generated else [],
        }
        print(json.dumps(document))


def _why_kept(old: changes.Spec | None, new: changes.Spec, problems: dict[str, str]) -> str:
    """Say what the old spec has that the new one must not lack, "" for nothing."""
    if lost := changes.lost_devices(old, new, problems):
        reason = "; ".join(dict.fromkeys(problems[name] for name in lost))
        return f"it has {', '.join(lost)}, and now: {reason}"
    if lost := changes.lost_libraries(old, new):
        return f"it has {', '.join(lost)}, and now: {library_set.GONE}"
    return ""


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be removed: {os_reason(error)}", path) from None


def _is_without_driver(options: Options) -> bool:
    """Whether this machine has no driver of any kind."""
    root = options.driver_root.rstrip("/")
    return (
        not loaded_driver(machine.look(options).kernel_root)
        and not platform.is_soc(root)
        and not platform.is_wsl(root)
    )


def _watched(generated: Generated) -> list[str]:
    """Return the files and folders that the spec depends on."""
    parts = [generated.spec, *generated.spec["devices"]]
    edits = [part.get("containerEdits", {}) for part in parts]
    paths = [mount["hostPath"] for edit in edits for mount in edit.get("mounts", ())]
    mounted = [path for path in paths if not os.path.isdir(path)]
    return list(dict.fromkeys([*generated.watched, *mounted]))


@contextmanager
def _lock(*, is_needed: bool) -> Iterator[None]:
    """Exclude other refreshes; without a state folder, files are still replaced as a whole."""
    folder = state_folder(make=True) if is_needed else ""
    if not folder:
        yield
        return
    path = f"{folder}/{LOCK}"
    until = time.monotonic() + LONGEST_WAIT
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:  # somebody has just removed the state folder
        yield
        return
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be locked: {os_reason(error)}", path) from None
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > until:
                what = f"another refresh has taken more than {LONGEST_WAIT:g} s"
                hint = f"'fuser -v {path}' shows it"
                raise NvidiaRuntimeError(what, path, hint=hint, exit_code=BUSY)
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
