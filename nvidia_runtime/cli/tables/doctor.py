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
        Switch("mends", "--fix", "mend what is safe to mend, after a question for each"),
        Switch("is_sure", "--yes -y", "do not ask"),
        Switch("undoes", "--undo", "take back what --fix has done"),
        *FORMATS,
        CONFIG_FILE,
    ),
    more="""
    The first line is the answer; then comes what stands in the way, the most important first, each
    with a code that stays the same, its place, and what to do next.  With a CODE it explains that.
    Without --fix nothing is changed, and it takes five seconds at most.

    With --try it also starts a container that asks for all GPUs, in each way that docker, podman,
    containerd and our runtime alone (runc) have, and says what that sees: nodes, libraries, and
    what cuInit answers.  No image is pulled, nothing is left, and it takes a minute at most.

    The exit code is 0 if nothing is wrong, 1 if something is broken, 2 for warnings.
    """,
    notes="""
    The codes are listed in nvidia-container-codes(7).  What needs root, an engine or a GPU and has
    none is named as not looked at.

    What --fix does is one call of nvidia-ctk for each finding.  The paths that it changes are kept
    first, in /var/lib/nvidia-container-runtime/doctor.json, and --undo puts them back where nobody
    has changed them since.  Then it looks again; the exit code is that of the second look.
    """,
    examples=(
        ("sudo nvidia-ctk doctor", "look at all"),
        ("sudo nvidia-ctk doctor --try docker", "start a container, too"),
        ("nvidia-ctk doctor NCT-0101", "explain a code"),
    ),
)
REPORT = Command(
    "report",
    "Write an archive for the report of a problem, secrets masked.",
    "report.Report",
    switches=(
        Switch(
            "output",
            "--output -o",
            "the archive, - for stdout; default: nvidia-report-TIME.tar.gz here",
            "FILE",
        ),
        *FORMATS,
        CONFIG_FILE,
    ),
    more="""
    It has what doctor says, versions, settings, CDI specs, engines' files, records of the last
    containers, and logs.  Names, addresses, serial numbers, tokens and the values of environment
    variables are masked.  Look through it before you send it.

    'nvidia-ctk simulate --from' makes a machine of it, on which the problem happens again.
    """,
)
