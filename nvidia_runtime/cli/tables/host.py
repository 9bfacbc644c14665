# SPDX-License-Identifier: Apache-2.0
"""The commands about this machine, and those that need none with GPUs."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import CONFIG_FILE, FORMATS, json_for
from nvidia_runtime.cli.tables.table import INTEGER, Command, Switch

INFO = Command(
    "info",
    "Show what this installation is and what it finds here.",
    "info.Info",
    section="THE HOST",
    switches=(*FORMATS, CONFIG_FILE),
    more="""
    It belongs in a report of a problem.  Nothing is changed, and no GPU is woken.
    """,
)

TOPOLOGY_FORM = Switch(
    "format",
    "--format",
    "the form: text, json, or svg, which is a picture",
    "FORM",
    default="text",
    choices=("text", "json", "svg"),
)
TOPOLOGY = Command(
    "topology",
    "Show where GPUs and network adapters are in this machine.",
    "topology.Topology",
    switches=(
        TOPOLOGY_FORM,
        json_for(TOPOLOGY_FORM),
        Switch("output", "--output -o", "the file to write; default: stdout", "FILE"),
        CONFIG_FILE,
    ),
    more="""
    It is a tree of NUMA nodes, PCIe switches and devices, and a table of what is between these.
    The words between devices are those of 'nvidia-smi topo -m', for PCIe; NVLink is not shown.
    No GPU is woken, unless there are MIG devices, whose UUIDs only NVML knows.
    """,
    examples=(("nvidia-ctk topology --format=svg --output=topology.svg", "a picture"),),
)

CREATE_DEVICE_NODES = Command(
    "create-device-nodes",
    "Make the driver's control nodes: the device nodes that belong to no single GPU.",
    "system.device_nodes.CreateDeviceNodes",
    switches=(
        Switch(
            "control_devices",
            "--control-devices",
            "make nvidiactl, nvidia-modeset, nvidia-uvm, nvidia-uvm-tools",
        ),
        Switch(
            "load_kernel_modules",
            "--load-kernel-modules",
            "load nvidia, nvidia-uvm and nvidia-modeset first",
        ),
        Switch(
            "root",
            "--driver-root --root",
            "the root of the driver installation",
            "FOLDER",
            variables=("ROOT", "NVIDIA_DRIVER_ROOT", "DRIVER_ROOT"),
        ),
        Switch(
            "dev_root",
            "--dev-root",
            "the root of /dev; default: the driver root",
            "FOLDER",
            variables=("NVIDIA_DEV_ROOT", "DEV_ROOT"),
        ),
        Switch("dry_run", "--dry-run", "only print the commands", variables=("DRY_RUN",)),
    ),
)
CREATE_DEV_CHAR_SYMLINKS = Command(
    "create-dev-char-symlinks",
    "Make links in /dev/char to the driver's device nodes, named MAJOR:MINOR.",
    "system.dev_char.CreateDevCharSymlinks",
    switches=(
        Switch(
            "create_all",
            "--create-all",
            "link to all possible nodes, also missing ones",
            variables=("CREATE_ALL",),
        ),
        Switch(
            "load_kernel_modules",
            "--load-kernel-modules",
            "load the driver's modules first; with --create-all",
            variables=("LOAD_KERNEL_MODULES",),
        ),
        Switch(
            "create_device_nodes",
            "--create-device-nodes",
            "make the control nodes first; with --create-all",
            variables=("CREATE_DEVICE_NODES",),
        ),
        Switch(
            "dev_char_path",
            "--dev-char-path",
            "their folder; default: /dev/char",
            "FOLDER",
            variables=("DEV_CHAR_PATH",),
        ),
        Switch(
            "driver_root",
            "--driver-root",
            "the root of the driver installation and its nodes; default: /",
            "FOLDER",
            variables=("NVIDIA_DRIVER_ROOT", "DRIVER_ROOT"),
        ),
        Switch("dry_run", "--dry-run", "only print the links and commands", variables=("DRY_RUN",)),
    ),
    more="""
    Without them, containers lose access to their GPUs when systemd is reloaded.
    """,
)
INSTALL_UNITS = Command(
    "install-units",
    "Write the units for systemd, and udev's rule, that keep the machine's CDI spec up to date.",
    "system.install_units.InstallUnits",
    switches=(
        Switch(
            "prefix",
            "--prefix",
            "where they go: /etc, or the lib below another folder",
            "FOLDER",
            default="/etc",
        ),
        Switch(
            "program",
            "--nvidia-ctk-path",
            "the program that they start, an absolute path; by default this one",
            "PROGRAM",
        ),
        Switch("is_removal", "--remove", "remove what this command has written"),
        Switch("dry_run", "--dry-run", "write nothing, and print the files"),
    ),
    more="""
    They start the nvidia-ctk that is there, wherever it is installed.  Below /etc a file for
    their settings is written, too, unless there is one.
    """,
)
SYSTEM = Command(
    "system",
    "Create device nodes and links; install units for systemd.",
    below=(CREATE_DEV_CHAR_SYMLINKS, CREATE_DEVICE_NODES, INSTALL_UNITS),
)

SELFTEST = Command(
    "selftest",
    "Try the attacks of hostile images on this installation.",
    "selftest.Selftest",
    switches=(
        Switch("security", "--security", "try the attacks, and print the result of each"),
        Switch(
            "only",
            "--only",
            "the attacks whose names begin so, such as T04",
            "NAME",
            values="attacks",
        ),
        Switch(
            "programs",
            "--programs",
            "the folder of nvidia-cdi-hook; default: that of nvidia-ctk",
            "FOLDER",
        ),
        Switch("verbose", "--all -a", "list each skipped attack, too"),
        *FORMATS,
    ),
    more="""
    Only a scratch folder below /tmp is touched.  The exit code is 1 if an attack succeeds.
    """,
)


def _microseconds(field: str, names: str, text: str) -> Switch:
    return Switch(field, names, text, "NUMBER", kind=INTEGER)


SIMULATE = Command(
    "simulate",
    "Run a command as on a machine with NVIDIA GPUs, without any.",
    "simulate.Simulate",
    words="MACHINE -- COMMAND...",
    values="machines",
    switches=(
        Switch("listing", "--list", "list the machines"),
        *FORMATS,
        Switch("source", "--from", "a machine.toml, or what 'nvidia-ctk report' wrote", "FILE"),
        Switch("show", "--show", "print the machine as a machine.toml"),
        Switch(
            "write",
            "--write",
            "write the machine into a new folder, for --driver-root=FOLDER",
            "FOLDER",
        ),
        Switch("image", "--image", "write an image with docker and the machine inside", "FILE"),
        Switch("base", "--base", "for --image: an archive of an image with docker", "FILE"),
        Switch("toolkit", "--toolkit", "for --image: the bundle that goes into it", "FOLDER"),
        Switch("in_place", "--in-place", "what a container of such an image does first"),
        Switch(
            "root_only",
            "--root-only",
            "write the driver into a new folder; the command sees only its /proc and /sys",
            "FOLDER",
        ),
        Switch("real", "--real", "another folder of the host's own", "FOLDER", is_list=True),
        Switch(
            "fail",
            "--fail",
            "a function of NVML that fails, or cuInit",
            "FUNCTION:RESULT[@GPU]",
            is_list=True,
        ),
        Switch("hang", "--hang", "one that never returns", "FUNCTION[@GPU]", is_list=True),
        Switch("crash", "--crash", "one that crashes", "FUNCTION[@GPU]", is_list=True),
        Switch(
            "without", "--without-symbol", "one that the library lacks", "FUNCTION", is_list=True
        ),
        Switch("without_code", "--without-code", "the library has no functions; needs no compiler"),
        Switch(
            "lose", "--lose", "a GPU that has fallen off the bus", "GPU", kind=INTEGER, is_list=True
        ),
        Switch(
            "remove", "--remove", "a GPU that does not exist", "GPU", kind=INTEGER, is_list=True
        ),
        Switch(
            "xid",
            "--xid",
            "a GPU that met an Xid, such as 79@0: it is lost, or nvidia-smi asks for its reset",
            "XID@GPU",
            is_list=True,
        ),
        Switch("mismatch", "--mismatch", "the kernel module has another version"),
        _microseconds("init_us", "--init-us", "microseconds that nvmlInit takes"),
        _microseconds("attach_us", "--attach-us", "microseconds that each GPU takes at first use"),
        _microseconds("call_us", "--call-us", "microseconds that other calls take"),
    ),
    more="""
    The command sees the driver's libraries, including an NVML that works, nvidia-smi, its
    device nodes, and its files in /proc and /sys.  No code runs on a GPU, but
    /usr/local/cuda/extras/demo_suite/deviceQuery counts them by libcuda.  It needs root, and
    a C compiler at first use.  In a container, NVML, CUDA and nvidia-smi show what it was
    given of the machine as it began.

    What the command writes is lost when it ends, except in the host's own folders: the
    current one, /tmp, /var/tmp, /home, /root, /run/user, /run/dbus, /run/systemd, and those
    of --real.  A folder with a part of the machine in it, such as / or /usr, cannot be one of
    them.  /etc/cdi, /var/run/cdi and /run/nvidia-container-runtime are empty at the
    beginning.

    To change the machine while the command runs, change its files: nodes in /dev, files below
    /proc/driver and /sys/bus/pci/devices; write /proc/devices and
    /proc/sys/kernel/random/boot_id in place.  NVML reads its answers from
    $NVIDIA_SIMULATED_MACHINE/mock-nvml.conf at each nvmlInit.

    --from makes a machine that the list lacks.  --show prints one as a machine.toml to change: its
    keys are described in schemas/machine.schema.json, and 'gpus = [{model = "h100", count = 8}]'
    is a whole one.  Of a report it makes the machine that was reported: GPUs, nodes, libraries,
    faults, settings, CDI specs and engines' files; what was masked is made up.  Nothing of it is
    run, but a container that is started there runs the hooks of these specs.

    --image adds a layer to an image such as docker:dind: the driver's files, and a bundle of ours,
    by default the one that this program is in.  Its container is the machine.

    The simulated nodes have the numbers of real ones: on a machine with GPUs, a program that
    opens them reaches these.
    """,
    notes="""
    The simulated nvidia-smi(1) has the table, -L, -q, --query-gpu and --query-compute-apps; what
    changes or measures something it refuses.  The kernel's log, and thus dmesg, is the host's.
    Programs and libraries are compiled for the host: in a container they need a C library that
    is not much older, and musl's will not do.  What was compiled is kept in
    ~/.cache/nvidia-container-runtime.  File systems of their own in which the machine has
    nothing stay the host's, too.

    An engine gives its containers the machine's GPUs if it was started by the command, as in
    the example below; one that runs on the host knows nothing of the machine.  Rootless
    engines work, too.  A container's own /proc and /sys show the kernel as it is, without the
    driver; this is why the driver's parameters say ModifyDeviceFiles: 0, and no hook covers
    them.  The network and the control groups are the host's: what an engine leaves there
    stays.
    """,
    examples=(
        ("nvidia-ctk simulate a100x8mig -- nvidia-ctk cdi generate", "without a GPU"),
        ("nvidia-ctk simulate --show h100x8 >machine.toml", "a machine.toml to change"),
        ("nvidia-ctk simulate --from=machine.toml -- sh", "a shell on it"),
    ),
)
