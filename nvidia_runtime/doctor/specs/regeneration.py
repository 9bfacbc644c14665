# SPDX-License-Identifier: Apache-2.0
"""How a CDI spec is written anew: by which command, and whether that may be done unasked.

A file of somebody else's is never written over (its kind would be another one, too).
"""

from __future__ import annotations

import functools
import shlex

from nvidia_runtime.compile import written
from nvidia_runtime.doctor.finding import Fix
from nvidia_runtime.generate.options import Options
from nvidia_runtime.sources import renew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.cdi.registry import SpecFile

PROGRAM = "nvidia-ctk"
# The options that say what a spec has in it, with the switch of each.
SWITCHES = {
    "mode": "--mode",
    "ids": "--device-id",
    "strategies": "--device-name-strategy",
    "vendor": "--vendor",
    "device_class": "--class",
    "driver_root": "--driver-root",
    "dev_root": "--dev-root",
    "library_folders": "--library-search-path",
    "config_folders": "--config-search-path",
    "flags": "--feature-flag",
    "disabled_hooks": "--disable-hook",
    "enabled_hooks": "--enable-hook",
    "csv_files": "--csv.file",
    "csv_ignored": "--csv.ignore-pattern",
    "compat_container_root": "--csv.compat-container-root",
    "spec_version": "--spec-version",
}


@functools.cache
def of(file: SpecFile) -> tuple[str, Fix | None]:
    """Return the command that writes a file anew, "" where there is none of ours; and the fix."""
    options = written.recall(file.path, file.sha256)
    if options is not None:
        words = _words(file.path, options)
        return command(words), Fix(words=words, files=(file.path, written.FILE))
    if file.spec["kind"] == renew.GPU:
        return command(("cdi", "generate", f"--output={file.path}")), None
    return "", None


def writer(kind: str) -> str:
    """Say who has to write a spec of a kind anew, "" where that is us."""
    return next((hint for start, hint in renew.HINTS.items() if kind.startswith(start)), "")


def command(words: tuple[str, ...]) -> str:
    """Return a call of nvidia-ctk as it is typed."""
    return shlex.join((PROGRAM, *words))


def _words(path: str, options: Options) -> tuple[str, ...]:
    """Return the call that generates a spec by the options of the last time."""
    defaults = Options()
    words = ["cdi", "generate", f"--output={path}"]
    for name, switch in SWITCHES.items():
        value = getattr(options, name)
        if value != getattr(defaults, name):
            values = [value] if isinstance(value, str) else sorted(value)
            words.append(f"{switch}={','.join(values)}")
    return (*words, *(["--no-all-device"] if not options.merged_device else []))
