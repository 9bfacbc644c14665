# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime: its commands."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import FORMATS
from nvidia_runtime.cli.tables.table import Command, Switch

BY_ENGINE = "RUNTIME_SPECIFIC_DEFAULT"
NAME = "nvidia"
PROGRAM = "nvidia-container-runtime"

RUNTIME = Switch(
    "runtime", "--runtime", "the engine: {values}", "ENGINE", default="docker", values="engines"
)
# The flags that configure and unconfigure share.
ENGINE = (
    RUNTIME,
    Switch(
        "is_dry_run", "--dry-run", "write nothing: a diff on a terminal, else the files' new texts"
    ),
    Switch("is_diff", "--diff", "write nothing, and print a diff wherever stdout leads"),
    Switch("is_plain", "--plain", "write nothing, and print the files' new texts"),
    Switch(
        "restart_way",
        "--restart",
        "make the engine read its files again: ask, systemd or signal; default: none",
        "WAY",
        default="none",
        values="restarts",
    ),
    Switch(
        "config",
        "--config",
        "its configuration file; by default that of the engine that runs",
        "FILE",
    ),
    Switch(
        "drop_in",
        "--drop-in-config",
        "the file for what is added, an absolute path; empty: the configuration file itself;"
        " default: the engine's own",
        "FILE",
        default=BY_ENGINE,
    ),
    Switch(
        "engine_program",
        "--executable-path",
        "the engine's program, to ask for its configuration",
        "PROGRAM",
    ),
)

CONFIGURE = Command(
    "configure",
    "Add the NVIDIA runtime to an engine's configuration; nothing else in it changes.",
    "runtime.configure.Configure",
    switches=(
        *ENGINE[:1],
        Switch(
            "is_default", "--set-as-default --nvidia-set-as-default", "make it the default runtime"
        ),
        Switch(
            "cdi",
            "--cdi.enabled --cdi.enable --enable-cdi",
            "switch CDI on in the engine",
        ),
        *ENGINE[1:],
        Switch("name", "--nvidia-runtime-name", "the runtime's name", "NAME", default=NAME),
        Switch(
            "program",
            "--nvidia-runtime-path --runtime-path",
            "the runtime's program, an absolute path except for docker",
            "PROGRAM",
            default=PROGRAM,
        ),
        Switch(
            "source",
            "--config-source",
            "where options to copy are read: file, or command, which asks the engine",
            "SOURCE",
            default="file",
            values="sources",
        ),
        Switch(
            "mode",
            "--config-mode",
            "the way: config-file, or oci-hook (deprecated) for the hooks of podman and cri-o",
            "MODE",
            values="config-modes",
        ),
        Switch(
            "output",
            "--oci-hook-path",
            "with oci-hook: the file to write, such as …/hooks.d/nvidia.json; else stdout",
            "FILE",
        ),
        Switch(
            "hook",
            "--nvidia-runtime-hook-path",
            "with oci-hook: the absolute path of the hook",
            "PROGRAM",
            default="/usr/bin/nvidia-container-runtime-hook",
        ),
    ),
    more="""
    By default nothing is restarted: --restart=systemd restarts the engine if something was
    written, ask does so after a question, and signal has docker read runtimes and the default
    runtime again, but not CDI.
    """,
    notes="""
    Comments, order and other people's settings stay, and a second run changes nothing.

    Without a path, docker searches its PATH, and the other engines get
    /usr/bin/nvidia-container-runtime.  For containerd 2 ours goes into a drop-in of version 3
    where the file is of version 1, or silent of one: containerd 2 heeds no runtimes in such a
    file.  For containerd 1 it also names runc where the files do not, since without it
    containerd starts without CRI.  The engine itself judges the result where it can (docker
    since 23.0), and if it objects the old file is back.  Backups and the record for
    'unconfigure' are in /var/lib/nvidia-container-runtime.

    --cdi.enabled switches CDI on in the engine, so that it takes names like nvidia.com/gpu=0
    itself: docker from 25 on, where it is on since 28.2; containerd from 1.7 on, where it is
    on since 2.0, and which silently drops what a pod asks for while it is off.  CRI-O and
    podman need no switch.  The command says how containers ask for GPUs now, and where CDI is
    off.

    A daemon is restarted if it has not read its files since they changed, whoever changed them.
    By signal docker does not forget what was removed: restart it after 'unconfigure'.

    Where the usual program is missing, the one beside nvidia-ctk is named; one that is missing
    is refused as the default of an engine of this machine.  The default stays ours in a run
    without --set-as-default.  Without root the command refuses while root's daemon is what runs.

    k3s and rke2 find the runtime themselves when they start; there is nothing to configure,
    which the command says.
    """,
    examples=(
        (
            "nvidia-ctk runtime configure --runtime=containerd --set-as-default --dry-run",
            "show what would change",
        ),
    ),
)
STATUS = Command(
    "status",
    "Show of each engine: whether it runs, its version and file, our runtimes there, CDI.",
    "runtime.status.Show",
    switches=(
        Switch("engine", "--runtime", "only this engine: {values}", "ENGINE", values="engines"),
        *FORMATS,
    ),
    notes="""
    The daemon that runs is asked, not PATH; a note says where it has to be restarted to know what
    its files say.
    """,
)
UNCONFIGURE = Command(
    "unconfigure",
    "Make an engine's configuration what it was: values, their absence, files that were made.",
    "runtime.unconfigure.Unconfigure",
    switches=(
        *ENGINE,
        Switch(
            "name",
            "--nvidia-runtime-name",
            "only this runtime; by default all that were added",
            "NAME",
        ),
    ),
    more="""
    Without a record of that the runtime is removed, and runc is the default again.
    """,
    notes="""
    What somebody has changed of our own entries since then stays, and the command says so.
    """,
)
RUNTIMES = Command(
    "runtime",
    "Configure container engines for the NVIDIA runtime.",
    section="ENGINES",
    below=(CONFIGURE, STATUS, UNCONFIGURE),
)
