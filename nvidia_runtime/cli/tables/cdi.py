# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi: its commands."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import CONFIG_FILE, ENVIRONMENT_FILE, FORMATS, json_for
from nvidia_runtime.cli.tables.generating import GENERATING
from nvidia_runtime.cli.tables.table import NUMBER, Command, Switch

SPEC_DIRS = Switch(
    "given_dirs",
    "--spec-dir",
    "directories of CDI specs, comma-separated; default: config.toml's",
    "FOLDER",
    variables=("NVIDIA_CTK_CDI_SPEC_DIRS",),
    is_list=True,
)
DIFFERENCE = Switch(
    "format", "--format", "the form: diff or json", "FORM", default="diff", choices=("diff", "json")
)
OUTPUT = Switch(
    "output",
    "--output",
    "the file to write, .yaml or .json; default: stdout",
    "FILE",
    variables=("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",),
)
KEPT_UP_TO_DATE = Switch(
    "output",
    "--output",
    "the file to keep up to date; default: /var/run/cdi/nvidia.yaml",
    "FILE",
    variables=OUTPUT.variables,
)
FORM = Switch(
    "format",
    "--format",
    "the form: yaml (the default) or json",
    "FORM",
    values="spec-formats",
    variables=("NVIDIA_CTK_CDI_GENERATE_OUTPUT_FORMAT",),
)

GENERATE = Command(
    "generate",
    "Generate the CDI spec of this machine: its GPUs and the files of its driver.",
    "cdi.generate.Generate",
    switches=(OUTPUT, FORM, *GENERATING),
    more="""
    A GPU that is sick is named and left out; the exit code is 0 while one device remains.
    """,
    notes="""
    The spec has the oldest CDI version that holds its content.  An engine ignores a file of a
    version that it does not know: in /etc/cdi, /var/run/cdi and the runtime's own folders,
    what an installed engine does not read is left out, and named.  --spec-version=engines
    takes the newest version that all of them read, --spec-version=content takes no notice of
    them; the setting nvidia-ctk.cdi-spec-version does the same for all calls.

    A file name without the ending .yaml or .json gets one.  The feature enable-mps-pipes adds
    /tmp/nvidia-mps, which other readers of the spec may mount from anybody;
    enable-compat32-libraries adds the driver's 32-bit libraries, for Steam and Wine, to every
    container: engines that read the spec know no NVIDIA_DRIVER_CAPABILITIES.
    """,
    examples=(
        (
            "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
            "for all engines of this machine",
        ),
    ),
)
LIST_FORM = Switch(
    "format",
    "--format",
    "the form: text, plain, json or apptainer",
    "FORM",
    default="text",
    choices=("text", "plain", "json", "apptainer"),
)
FILES = Command(
    "files",
    "Print what devices need in a container that no OCI runtime makes.",
    "cdi.files.Files",
    words="[DEVICE...]",
    values="devices",
    switches=(
        Switch(
            "capabilities",
            "--capabilities",
            "the driver capabilities, as in NVIDIA_DRIVER_CAPABILITIES; default: all files",
            "NAMES",
        ),
        Switch(
            "only",
            "--only",
            "kinds, comma-separated: nodes, libraries, programs, files, links, folders, env,"
            " groups, hooks",
            "KINDS",
            is_list=True,
        ),
        LIST_FORM,
        json_for(LIST_FORM),
        SPEC_DIRS,
        CONFIG_FILE,
    ),
    more="""
    A DEVICE is an id of this machine (0, a UUID, all; the default is all) or the qualified name of
    one in a CDI spec.

    text has a line for each thing, with tabs between its values: node or bind with a path of
    the host, its place in the container and mount options, link with its path and target, cache
    with a folder where the loader has to find libraries, env, group, and hook with what only a
    program at the container's start does.  plain has the paths of the host alone.
    """,
    notes="""
    The links are those of the CDI specs and those that ldconfig would make.

    In the form apptainer these are the options of 'apptainer exec'; libraries lie in the one
    folder where its containers look for the host's.  What is not told by them: the folders,
    groups and hooks.

    The nodes have to be there: this command makes none, and wakes no GPU whose files it knows.
    """,
    examples=(
        ("apptainer exec $(nvidia-ctk cdi files 0 --format=apptainer) IMAGE nvidia-smi", "GPU 0"),
        (
            "nvidia-ctk cdi files --format=plain --only=libraries,programs >LIST",
            "the driver, for Charliecloud's ch-fromhost --file=LIST",
        ),
    ),
)
INJECT = Command(
    "inject",
    "Show how CDI devices change a container's config.json, without changing it.",
    "cdi.inject.Inject",
    switches=(
        Switch(
            "devices",
            "--device",
            "devices, comma-separated; of the default kind unless qualified",
            "DEVICE",
            values="devices",
            is_list=True,
            is_needed=True,
        ),
        Switch("spec", "--spec", "a config.json, - is stdin; default: minimal", "FILE"),
        Switch("output", "--output", "the file for the result", "FILE"),
        DIFFERENCE,
        json_for(DIFFERENCE),
        SPEC_DIRS,
        CONFIG_FILE,
    ),
    examples=(("nvidia-ctk cdi inject --device nvidia.com/gpu=0", "what a container would get"),),
)
LIST = Command(
    "list",
    "List the devices that containers can request by qualified names.",
    "cdi.list.List",
    switches=(*FORMATS, SPEC_DIRS, CONFIG_FILE),
)
REFRESH = Command(
    "refresh",
    "Update the CDI spec of this machine if the machine has changed, and list the changes.",
    "cdi.refresh.Refresh",
    switches=(
        Switch("dry_run", "--dry-run", "print the changes, and write nothing"),
        Switch("as_json", "--json", "print the result as JSON, with the files it depends on"),
        Switch("prune", "--prune", "remove the file if no driver is loaded"),
        ENVIRONMENT_FILE,
        KEPT_UP_TO_DATE,
        FORM,
        *GENERATING,
    ),
    more="""
    A spec without a GPU that fails
    never replaces one with it, nor one in the middle of an update of the driver.

    Exit codes: 0, the file is up to date; 2, it was kept because a GPU fails or the driver is
    being updated; 69, no driver is loaded; 75, another refresh took too long.
    """,
)
ROOT = Command(
    "root",
    "Replace the root of the paths in a CDI spec.",
    "cdi.transform.Root",
    switches=(
        Switch("old", "--from", "the root of the paths; empty means /", "FOLDER"),
        Switch("new", "--to", "their new root; empty means /", "FOLDER"),
        Switch(
            "relative_to",
            "--relative-to",
            "which paths to change, host or container",
            "SIDE",
            default="host",
            values="sides",
        ),
        Switch("input", "--input", "the CDI spec, - is stdin", "FILE", default="-"),
        Switch("output", "--output", "the file to write, .json or .yaml; default: stdout", "FILE"),
    ),
)
TRANSFORM = Command("transform", "Adapt a CDI spec to other paths.", below=(ROOT,))
VALIDATE = Command(
    "validate",
    "List all errors of the given CDI specs (- is stdin), or of all on this host.",
    "cdi.validate.Validate",
    words="[FILE...]",
    values="files",
    switches=(*FORMATS, SPEC_DIRS, CONFIG_FILE),
    more="""
    Without files it also warns of what this host lacks, and of specs that an engine here
    ignores, since it does not know their CDI version.  The exit code is 1 if there are
    errors.
    """,
)
WATCH = Command(
    "watch",
    "Refresh the CDI spec of this machine whenever its GPUs change.",
    "cdi.watch.Watch",
    words="[-- OPTIONS OF REFRESH]",
    switches=(
        Switch(
            "driver_root",
            "--driver-root",
            "the root of the driver installation, also for 'cdi refresh'",
            "FOLDER",
            variables=("NVIDIA_CTK_DRIVER_ROOT",),
        ),
        Switch(
            "interval",
            "--interval",
            "seconds between two checks of what sends no uevent: MIG, IMEX, sockets, libraries",
            "SECONDS",
            kind=NUMBER,
            default=2.0,
        ),
        Switch(
            "settle",
            "--settle",
            "seconds without a change before a refresh; it waits at most ten times as long",
            "SECONDS",
            kind=NUMBER,
            default=1.0,
        ),
        Switch(
            "patience",
            "--patience",
            "seconds that one refresh may take",
            "SECONDS",
            kind=NUMBER,
            default=180.0,
        ),
        ENVIRONMENT_FILE,
    ),
    more="""
    SIGTERM ends it, SIGHUP refreshes at once.  'nvidia-ctk cdi refresh' gets the options
    after --.
    """,
    notes="""
    What sends no uevent (MIG, IMEX, sockets, libraries) is looked at in intervals, by names,
    so that no GPU is woken.

    'nvidia-ctk system install-units' writes units for systemd.
    """,
)
CDI = Command(
    "cdi",
    "Generate, check and list CDI specs, which describe devices.",
    section="CDI SPECS",
    notes="""
    CDI, the Container Device Interface, describes devices in files that engines and runtimes
    read.
    """,
    below=(FILES, GENERATE, INJECT, LIST, REFRESH, TRANSFORM, VALIDATE, WATCH),
)
