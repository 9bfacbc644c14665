# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk, for people, systemd and installers.  Ring: elsewhere."""


def main() -> None:
    """Run nvidia-ctk."""
    from nvidia_runtime.cli import ctk

    ctk.main()
