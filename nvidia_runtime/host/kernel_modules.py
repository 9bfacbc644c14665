# SPDX-License-Identifier: Apache-2.0
"""Load the driver's kernel modules, with the modprobe of the system that the driver is part of."""

from __future__ import annotations

import subprocess

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

MODPROBE = "/sbin/modprobe"
NAMES = ("nvidia", "nvidia-uvm", "nvidia-modeset")
# If it takes longer it hangs: it does not initialise GPUs.
PATIENCE = 120.0


def commands(root: str) -> list[list[str]]:
    """Return the commands that load the modules; another root is a system of its own."""
    above = ["chroot", root] if root.rstrip("/") else []
    return [[*above, MODPROBE, name] for name in NAMES]


def load(command: list[str]) -> None:
    """Load a module by its command.  Raises `NvidiaRuntimeError` with what modprobe said."""
    name = command[-1]
    what = f"cannot load kernel module {name}"
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        raise NvidiaRuntimeError(f"{what}: {command[0]}: {os_reason(error)}") from None
    except subprocess.TimeoutExpired:
        output = f"modprobe has not ended within {PATIENCE:g} s"
        raise NvidiaRuntimeError(f"{what}: {output}", hint="see the kernel's log: dmesg") from None
    if ended.returncode:
        lines = ended.stdout.decode("utf-8", "replace").split("\n")
        output = "; ".join(filter(None, map(str.strip, lines))) or f"exit code {ended.returncode}"
        hint = "install the driver for this kernel, run as root, and see dmesg"
        raise NvidiaRuntimeError(f"{what}: {output}", hint=hint)
