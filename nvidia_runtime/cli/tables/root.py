# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk itself: the tree of its commands, and the exit codes of all."""

from __future__ import annotations

from nvidia_runtime.cli.tables import cdi, config, containers, doctor, host, install, nri, runtime
from nvidia_runtime.cli.tables.common import GLOBAL
from nvidia_runtime.cli.tables.table import Command

PROGRAM = "nvidia-ctk"
FAILED, KEPT, UNKNOWN_COMMAND = 1, 2, 3
NO_DRIVER, BUSY = 69, 75  # EX_UNAVAILABLE and EX_TEMPFAIL of sysexits.h
INTERRUPTED = 130  # as shells say it of SIGINT
EXIT_CODES = {
    0: "success",
    FAILED: "something is wrong, or was found to be; a message says what",
    KEPT: "cdi refresh: the file was kept, for a GPU fails or the driver is being updated; doctor:"
    " there are warnings",
    UNKNOWN_COMMAND: "there is no such command",
    NO_DRIVER: "cdi refresh: no driver is loaded",
    BUSY: "cdi refresh: another refresh took too long",
    INTERRUPTED: "interrupted from the keyboard",
}

COMPLETION = Command(
    "completion",
    "Print the completion of a shell: bash, zsh or fish.",
    words="SHELL",
    values="shells",
    section="THE SHELL",
    is_rare=True,
    more="""
    Packages install it; otherwise 'source <(nvidia-ctk completion bash)', for instance.
    """,
)
ROOT = Command(
    PROGRAM,
    "Tools for containers with NVIDIA GPUs.",
    switches=GLOBAL,
    below=(
        runtime.RUNTIMES,
        cdi.CDI,
        config.CONFIG,
        containers.EXPLAIN,
        containers.REPAIR,
        containers.SPEC,
        containers.HOOK,
        containers.SNAPSHOT,
        doctor.DOCTOR,
        doctor.REPORT,
        host.INFO,
        host.TOPOLOGY,
        host.SYSTEM,
        host.SELFTEST,
        host.SIMULATE,
        nri.NRI,
        install.INSTALL,
        COMPLETION,
    ),
    examples=(
        ("nvidia-ctk runtime configure --runtime=docker", "tell docker of it"),
        ("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml", "name GPUs for engines"),
        ("nvidia-ctk doctor", "what is wrong here"),
    ),
)
