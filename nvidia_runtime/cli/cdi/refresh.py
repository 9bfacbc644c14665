# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi refresh: the CDI spec of this machine, written anew where it has changed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plumbum import cli

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cli import environment_file
from nvidia_runtime.cli.cdi.generate import Generate, is_spec_dir
from nvidia_runtime.compile import written
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.generate import changes as refresh
from nvidia_runtime.generate import coherence, machine, output
from nvidia_runtime.generate.options import Generated, Options
from nvidia_runtime.host import platform
from nvidia_runtime.store import files

DEFAULT = "/var/run/cdi/nvidia.yaml"
# Exit codes; 1 is an error, as everywhere.  69 and 75 are EX_UNAVAILABLE and EX_TEMPFAIL.
KEPT, NO_DRIVER, BUSY = 2, 69, 75
LOCK = "refresh.lock"
LONGEST_WAIT = 60.0


class Refresh(Generate):
    """Write the CDI spec of this machine where it has changed, and say what did.

    A result that lacks a GPU which is sick never replaces a complete one.  Exit codes: 0, the file
    is up to date; 2, it was kept; 69, no driver is loaded; 75, another refresh took too long.
    """

    dry_run = cli.Flag(["--dry-run"], help="only say what would change")
    as_json = cli.Flag(["--json"], help="say it as JSON, with the files that were looked at")
    prune = cli.Flag(["--prune"], help="remove the file if no driver is loaded")
    # Read by environment_file, before the others; here for --help.
    _environment = cli.SwitchAttr(
        [environment_file.FLAG], str, environment_file.PATH, help="settings, as the units have them"
    )

    def _parse_args(self, argv: list[str]) -> Any:
        return super()._parse_args(environment_file.apply(argv))

    def main(self) -> int:
        """Generate, compare, and write if it is another."""
        self.output = self.output or DEFAULT
        options = self.options()
        path = output.name_file(os.path.abspath(self.output), self._form())
        if _is_without_driver(options):
            return self._without_driver(path)
        with _lock(is_needed=not self.dry_run):
            try:
                made = machine.generate(options)
            except NvidiaRuntimeError:
                if os.path.exists(path):
                    self.tell(f"{path} is left as it was")
                raise
            self._report(made)
            return self._settle(made, options, path)

    def _settle(self, made: Generated, options: Options, path: str) -> int:
        specs = coherence.split(made.spec, options)
        old, old_data = self._read(path)
        if lost := refresh.lost_devices(old, specs[""], made.problems):
            reason = "; ".join(dict.fromkeys(made.problems[name] for name in lost))
            self._say("kept", path, [f"it has {', '.join(lost)}, and now: {reason}"], made)
            return KEPT
        changes = refresh.differences(old, specs[""])
        is_written = False
        for name, spec in _files(specs, path).items():
            data = output.encode(spec, name)
            before, before_data = (old, old_data) if name == path else self._read(name)
            is_same = before == cdi_spec.parse(data, name)
            if not is_same and not self.dry_run:
                output.write(name, data)
            if not self.dry_run:
                self._remember(name, before_data if is_same else data, options, specs)
            is_written |= not is_same
        verb = "would be written" if self.dry_run else "written"
        self._say(verb if is_written else "unchanged", path, changes, made)
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

    def _form(self) -> str:
        form = self.format.lower() or "yaml"
        if form not in output.FORMATS:
            what = f"unknown format {self.format!r}"
            raise NvidiaRuntimeError(what, hint=f"formats are {' and '.join(output.FORMATS)}")
        return form

    def _read(self, path: str) -> tuple[refresh.Spec | None, bytes]:
        """Read a spec that is to be replaced; one that is broken is none."""
        try:
            with open(path, "rb") as file:
                data = file.read()
            return cdi_spec.parse(data, path), data
        except FileNotFoundError:
            return None, b""
        except OSError as error:
            raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path) from None
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; it is replaced")
            return None, b""

    def _remember(
        self, name: str, data: bytes, options: Options, specs: dict[str, coherence.Spec]
    ) -> None:
        """Note that the file is ours, unless that is known."""
        is_known = written.recall(name, hashlib.sha256(data).hexdigest())
        if len(specs) == 1 and not is_known and is_spec_dir(os.path.dirname(name)):
            written.remember(name, data, options)

    def _say(
        self, state: str, path: str, changes: list[str], made: Generated | None = None
    ) -> None:
        if not self.as_json:
            print(f"{path} {state}", *[f"  {change}" for change in changes], sep="\n")
            return
        document = {
            "path": path,
            "state": state,
            "changes": changes,
            "problems": made.problems if made else {},
            "summary": ": ".join([f"{path} {state}", *(["; ".join(changes)] if changes else [])]),
            "watched": _watched(made) if made else [],
        }
        print(json.dumps(document))


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be removed: {os_reason(error)}", path) from None


def _is_without_driver(options: Options) -> bool:
    """Whether this machine has GPUs of no kind whose driver could be described."""
    found = machine.look(options)
    root = options.driver_root.rstrip("/")
    return (
        not files.loaded_driver(found.kernel_root)
        and not platform.is_soc(root)
        and not platform.is_wsl(root)
    )


def _files(specs: dict[str, coherence.Spec], path: str) -> dict[str, coherence.Spec]:
    """Return the files to write: beside the first, one for each kind of GPU."""
    stem, _, extension = path.rpartition(".")
    return {
        f"{stem}.{suffix}.{extension}" if suffix else path: spec for suffix, spec in specs.items()
    }


def _watched(made: Generated) -> list[str]:
    """List the files and folders whose change can change the spec."""
    edits = [made.spec.get("containerEdits", {})]
    edits += [device.get("containerEdits", {}) for device in made.spec["devices"]]
    mounts = [mount["hostPath"] for each in edits for mount in each.get("mounts", ())]
    files = [path for path in mounts if not os.path.isdir(path)]
    return list(dict.fromkeys([*made.watched, *files]))


@contextmanager
def _lock(*, is_needed: bool) -> Iterator[None]:
    """Let nobody else refresh meanwhile; where no lock can be, the file is whole anyway."""
    folder = files.state_folder(make=True) if is_needed else ""
    if not folder:
        yield
        return
    path = f"{folder}/{LOCK}"
    until = time.monotonic() + LONGEST_WAIT
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be locked: {os_reason(error)}", path) from None
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > until:
                what = f"another refresh has taken more than {LONGEST_WAIT:g} s"
                hint = f"'fuser -v {path}' names it"
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
