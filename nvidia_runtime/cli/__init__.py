# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk, for people, systemd and installers.  Ring: elsewhere."""

import sys


def main() -> None:
    """Run nvidia-ctk."""
    if sys.argv[1:2] == ["hook"]:
        from nvidia_runtime.hooks import cdi_hook  # a container waits: spare plumbum's 65 ms

        sys.exit(cdi_hook.run(sys.argv[2:], "nvidia-ctk hook"))
    from nvidia_runtime.cli import ctk

    ctk.main()
