# SPDX-License-Identifier: Apache-2.0
"""A CDI spec of this machine, whatever it is: the mode decides which module generates it."""

from __future__ import annotations

import time
from importlib import import_module

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import naming
from nvidia_runtime.host import machine
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.generate.options import Generated, Options

ROOM = "nvidia_runtime.generate"
# Each module has `generate(options, machine) -> Generated`.
MODULES = {
    "nvml": "nvml",
    "csv": "csv",
    "wsl": "wsl",
    "management": "management",
    "imex": "imex",
    "gds": "gated",
    "gdrcopy": "gated",
    "mofed": "gated",
    "nvswitch": "gated",
    "vfio": "vfio",
}
# The mode for each kind of machine; an unknown one may still have a driver.
PLATFORMS = {"tegra": "csv", "wsl": "wsl", "nvml": "nvml", "unknown": "nvml"}
# Seconds to wait, again and again, while the driver's files change.
PAUSES = (0.1, 0.2, 0.4)
UNKNOWN = "this is neither WSL nor a Tegra system and has no NVML; assuming mode nvml"


def generate(options: Options, host: Machine | None = None) -> Generated:
    """Generate the CDI spec of a machine, of ``host`` if it was looked at already.

    The driver's libraries are the same before and after.  Raises `NvidiaRuntimeError` if it would
    be empty, or if they change all the time.
    """
    host = host or look(options)
    for pause in (0, *PAUSES):
        if pause:
            time.sleep(pause)
            host.driver.forget()
        try:
            generated = _generate(options, host)
        except NvidiaRuntimeError:
            if not host.driver.has_changed():
                raise
        else:
            if not host.driver.has_changed():
                return generated
    what = "the driver's files are changing: it is being installed or removed"
    raise NvidiaRuntimeError(what, where=host.driver.root, hint="try again when that has ended")


def _generate(options: Options, host: Machine) -> Generated:
    naming.names(options.strategies, "0", "")  # modes whose device is "all" need no names
    warning = ""
    if options.mode == "auto":
        kind = machine.kind(host)
        options = options.but(mode=PLATFORMS[kind])
        warning = UNKNOWN if kind == "unknown" else ""
    if options.mode not in MODULES:
        hint = f"modes are auto, {', '.join(MODULES)}"
        raise NvidiaRuntimeError(f"unknown mode {options.mode!r}", hint=hint)
    generated: Generated = import_module(f"{ROOM}.{MODULES[options.mode]}").generate(options, host)
    generated.warnings[:0] = [warning] if warning else []
    return generated


def look(options: Options) -> Machine:
    """Return the machine of some options; it is looked at when it is asked."""
    installed = Driver(
        options.driver_root,
        options.path,
        options.data_dirs,
        options.library_folders,
        options.config_folders,
    )
    return Machine(installed, options.dev_root, options.kernel_root, options.patience)
