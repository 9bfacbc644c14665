# SPDX-License-Identifier: Apache-2.0
"""The commands about containers, and about what the runtime remembers."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import CONFIG_FILE, FORMATS
from nvidia_runtime.cli.tables.table import Command, Switch

EXPLAIN = Command(
    "explain",
    "Show what a container got, and why; without one, list all.",
    "explain.Explain",
    words="[CONTAINER]",
    values="containers",
    switches=(
        Switch("everything", "--all -a", "list every mount and argument"),
        Switch("is_diff", "--diff", "what changed in its config.json, and by whom"),
        Switch("image", "--image", "what an image would get, before any start", "IMAGE"),
        *FORMATS,
    ),
    section="CONTAINERS",
    more="""
    A container is named as its engine names it, or by its id, of which the beginning is enough.
    The list begins with the youngest.

    An IMAGE is a name in docker or podman, a root folder, an OCI image layout, or an archive of
    'docker save'; nothing is fetched, and nothing in it is run.
    """,
    notes="""
    A create that failed has a record, too: its state is failed, and it says why, as the engine was
    told.

    With --diff, + is what was added to config.json, - what was taken out, and a blank what the
    engine itself had injected; behind # is who did it.  What took how long is in milliseconds, from
    the start of our program.


    Names are asked of docker's daemon, or read in the storage of podman and cri-o; those of pods,
    as POD/CONTAINER, and of nerdctl are in the record.  A name of several containers means the one
    that is not gone, or the youngest of those that are.

    The state is running, stopped, gone (nothing is left of it but the record) or ?, which is one
    that cannot be told.

    Of hooks of CDI specs that NVIDIA's programs do, most are done on the host in place of a hook,
    and are shown so.

    Of a container that runs it also says what it has now: its nodes, the rules of its control group
    for them, mounts, the loader's cache and variables.  Nothing runs in the container for it.
    """,
)
REPAIR = Command(
    "repair",
    "Give a running container the device rules back that it has lost.",
    "repair.Repair",
    words="[CONTAINER]",
    values="containers",
    switches=(
        Switch("everything", "--all -a", "repair all containers that run"),
        Switch("dry_run", "--dry-run", "only print what is missing"),
        *FORMATS,
    ),
    more="""
    It is for "Failed to initialize NVML: Unknown Error" in a container that worked before, as after
    'systemctl daemon-reload'.
    """,
    notes="""
    It changes rules of control groups, and nothing else: those for the devices that the record of
    the container has, as long as the host's nodes have the same numbers.  On cgroup v2 it puts its
    rules in front of the program that refuses; what that decides of all else stays as it is.

    Where systemd has the container's group (the cgroup driver systemd), its next daemon-reload
    takes rules away again that it does not know; the command by which it keeps them is printed.

    The exit code is 1 if a rule cannot be restored.
    """,
)
SPEC_VALIDATE = Command(
    "validate",
    "List all errors of a config.json (- is stdin), and what the runtime refuses in it.",
    "spec_validate.Validate",
    words="[FILE]",
    values="files",
    switches=FORMATS,
    more="""
    Without a file it is config.json.  The exit code is 1 if there are errors.
    """,
)
SPEC = Command("spec", "Check a container's config.json.", below=(SPEC_VALIDATE,), is_rare=True)
HOOK = Command(
    "hook",
    "Run a hook of a CDI spec; 'hook --help' lists the hooks.",
    "hook.Hook",
    words="VERB [OPTIONS]...",
    values="verbs",
    notes="""
    It does what nvidia-cdi-hook(8) does.
    """,
    is_raw=True,
    is_rare=True,
)

DROP = Command(
    "drop",
    "Remove the snapshots, machine files and shortcuts; the runtime makes new ones.",
    "snapshot.Drop",
    notes="""
    Records of containers stay.
    """,
)
REBUILD = Command(
    "rebuild",
    "Compile config.toml and the CDI specs now instead of at the next create.",
    "snapshot.Rebuild",
    switches=(CONFIG_FILE,),
)
SHOW = Command(
    "show",
    "Show the snapshot, its sources, and whether it is up to date.",
    "snapshot.Show",
    switches=(*FORMATS, CONFIG_FILE),
)
SNAPSHOT = Command(
    "snapshot",
    "Show, rebuild or drop the compiled form of config.toml and specs.",
    section="WHAT IS REMEMBERED",
    is_rare=True,
    below=(DROP, REBUILD, SHOW),
    notes="""
    The runtime compiles config.toml, the CDI specs and what the machine has once, and uses
    the result while nothing that it was made from has changed; nobody has to look after it.
    """,
)
