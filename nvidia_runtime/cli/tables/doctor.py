# SPDX-License-Identifier: Apache-2.0
"""The command that says whether containers get their GPUs here."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import CONFIG_FILE, FORMATS
from nvidia_runtime.cli.tables.table import Command, Switch

DOCTOR = Command(
    "doctor",
    "Say what keeps containers from their GPUs here, and what to do.",
    "doctor.Doctor",
    words="[CODE|ENGINE]",
    values="codes",
    section="WHAT IS WRONG",
    switches=(
        Switch("everything", "--verbose", "list all that is as it should be"),
        Switch("trying", "--try", "start a small container through each engine, or an ENGINE"),
        *FORMATS,
        CONFIG_FILE,
    ),
    more="""
    The first line is the answer; then comes what stands in the way, the most important first, each
    with a code that stays the same, its place, and what to do next.  With a CODE it explains that.
    Nothing is changed, and it takes five seconds at most.

    With --try it also starts a container that asks for all GPUs, in each way that docker, podman,
    containerd and our runtime alone (runc) have, and says what that sees: nodes, libraries, and
    what cuInit answers.  No image is pulled, nothing is left, and it takes a minute at most.

    The exit code is 0 if nothing is wrong, 1 if something is broken, 2 for warnings.
    """,
    notes="""
    The codes are listed in nvidia-container-codes(7).  What needs root, an engine or a GPU and has
    none is named as not looked at.
    """,
    examples=(
        ("sudo nvidia-ctk doctor", "look at all"),
        ("sudo nvidia-ctk doctor --try docker", "start a container, too"),
        ("nvidia-ctk doctor NCT-0101", "explain a code"),
    ),
)
