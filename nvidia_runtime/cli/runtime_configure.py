# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime configure: tell an engine of our programs.  Ring: elsewhere."""

from __future__ import annotations

from plumbum import cli

from nvidia_runtime.cli import files, oci_hook
from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError

MODES = ("oci-hook", "hook")


class Configure(Command):
    """Write the file by which podman and cri-o call the prestart hook."""

    mode = cli.SwitchAttr(
        ["--config-mode"], str, "", help="oci-hook is the only one that is written yet"
    )
    output = cli.SwitchAttr(
        ["--oci-hook-path"], str, "", help="the file to write, such as …/hooks.d/nvidia.json"
    )
    program = cli.SwitchAttr(
        ["--nvidia-runtime-hook-path"],
        str,
        "/usr/bin/nvidia-container-runtime-hook",
        help="the absolute path of the hook",
    )

    def main(self) -> int:
        """Print the file, or write it."""
        if self.mode not in MODES:
            what = "editing the configuration of an engine is not written yet"
            hint = "README.md, 'Using it', has the lines; --config-mode=oci-hook writes a hook file"
            raise NvidiaRuntimeError(what, hint=hint)
        self.warn("hook files are a way of the past; the runtime needs none")
        text = oci_hook.text(self.program)
        if self.output:
            files.write(self.output, text.encode())
        else:
            print(text, end="")
        return 0
