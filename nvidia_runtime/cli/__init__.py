# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk, for people, systemd and installers.  Ring: elsewhere."""

import gc
import os
import sys


def main() -> None:
    """Run nvidia-ctk."""
    if sys.argv[1:2] == ["hook"]:
        from nvidia_runtime.hooks import cdi_hook  # a container waits: spare plumbum's 65 ms

        sys.exit(cdi_hook.run(sys.argv[2:], "nvidia-ctk hook"))
    from nvidia_runtime.errors import internal

    gc.disable()  # most commands live less than a second; what lives long enables it
    try:
        _open_what_is_closed()
        from nvidia_runtime.cli import ctk
    except (OSError, ImportError) as error:  # a disk, a limit, a package that is not there
        said = internal(error, "--debug")
        sys.exit(f"nvidia-ctk: {said}\nhint: {said.hint}")
    ctk.main()


def _open_what_is_closed() -> None:
    """Fill in standard streams that the caller closed: the next file opened would be one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        continue
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # plumbum 1.8 looks at it when loaded
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
