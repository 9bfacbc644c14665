# SPDX-License-Identifier: Apache-2.0
"""The codes of the trial: what may go wrong from the image to the libraries."""

from __future__ import annotations

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code

IMAGE = Code(
    "NCT-0801",
    WARNING,
    "the engine does not take the trial's image",
    """
    'nvidia-ctk doctor --try' makes a small image of its own and gives it to the engine, without a
    registry.  The engine refused it: its disk is full, its storage is damaged, or a policy of
    signatures (/etc/containers/policy.json) forbids images that are not signed.
    """,
    """
    What the engine says is repeated.  'docker info' or 'ctr plugins ls' shows whether its storage
    works, 'df' whether there is room.  Images of yours meet the same.
    """,
)
SILENT = Code(
    "NCT-0802",
    ERROR,
    "the engine does not answer",
    """
    Nothing listens on the engine's socket, or what listens does not answer.  docker says "Cannot
    connect to the Docker daemon.  Is the docker daemon running?".
    """,
    """
    'systemctl status docker' (or containerd) says why it does not run, and 'journalctl -u docker'
    what it said last.  A broken /etc/docker/daemon.json or /etc/containerd/config.toml keeps an
    engine from starting.
    """,
)
NO_WAY = Code(
    "NCT-0803",
    ERROR,
    "the engine has no way to give a container GPUs",
    """
    The engine knows no runtime of ours, and it has no CDI device nvidia.com/gpu=all.  docker says
    "unknown or invalid runtime name: nvidia" or "could not select device driver "" with
    capabilities: [[gpu]]", podman "unresolvable CDI devices nvidia.com/gpu=all".
    """,
    """
    'nvidia-ctk runtime configure --runtime=docker' (or containerd) adds our runtime to the
    engine's file, then the engine must be restarted.  For podman 'nvidia-ctk cdi generate
    --output=/etc/cdi/nvidia.yaml' writes the CDI spec.
    """,
)
PLAIN = Code(
    "NCT-0804",
    ERROR,
    "the engine starts no container, whether it asks for GPUs or not",
    """
    The trial's container was tried once more without a GPU, and failed as well: the reason is in
    the engine, its low-level runtime (runc, crun), or the kernel, and not in what GPUs need.
    """,
    """
    What the engine says is repeated.  'docker run --rm hello-world' must work first.  The engine's
    journal ('journalctl -u docker', 'journalctl -u containerd') often says more.
    """,
)
REFUSED = Code(
    "NCT-0805",
    ERROR,
    "a container that asks for GPUs is not created",
    """
    The engine starts a container without a GPU, and refuses the same one with a GPU.  docker says
    "failed to create task for container: failed to create shim task: OCI runtime create failed",
    or "unresolvable CDI devices".
    """,
    """
    The last part of the engine's message is that of our runtime or of a CDI spec, and names a
    file.  A spec that names a node or library that is gone is renewed by 'nvidia-ctk cdi generate
    --output=/etc/cdi/nvidia.yaml'; an unknown runtime is added by 'nvidia-ctk runtime configure'.
    """,
)
HANGS = Code(
    "NCT-0806",
    ERROR,
    "a container that asks for GPUs does not come to its end",
    """
    The step that is named takes longer than its time.  While the container is created that is the
    engine, a hook or the driver; while CUDA starts it is the driver: a GPU that has fallen off the
    bus, or a fabric that is not ready, keeps a process waiting in the kernel.
    """,
    """
    dmesg has lines with NVRM and Xid if it is the driver.  If nothing is there, restart the engine;
    'nvidia-ctk doctor --try runc' tries our runtime without one.
    """,
)
CRASHES = Code(
    "NCT-0807",
    ERROR,
    "the program in the container crashes",
    """
    The trial's program ended at the step that is named, before it had said all.  A library of the
    driver that does not fit the kernel module or the C library does that.
    """,
    """
    Install the driver anew, all packages in one version, and restart the machine.  If the step is
    not a library's, report it with the output of 'nvidia-ctk doctor --try --debug'.
    """,
)
LEFT = Code(
    "NCT-0808",
    WARNING,
    "something of the trial could not be removed",
    """
    The trial removes its container, image and folder, also where it fails.  The engine did not do
    that in time, or refused.
    """,
    """
    The command that failed is given: run it when the engine answers again.  All that the trial
    makes has a name that begins with nvidia-doctor.
    """,
)
NO_NODES = Code(
    "NCT-0810",
    ERROR,
    "a container has no device node of a GPU",
    """
    The container was started without an error, but nobody gave it anything: our runtime was not
    called, since another one is the engine's default or is named; NVIDIA_VISIBLE_DEVICES is not
    accepted by a setting; or the CDI spec names no node.  In such a container nvidia-smi says
    "Failed to initialize NVML" or is not there.
    """,
    """
    'nvidia-ctk runtime status' shows what each engine has, 'nvidia-ctk config explain' the settings
    that decide what is accepted, and 'nvidia-ctk cdi list' the devices of specs.
    """,
)
NODE_MISSING = Code(
    "NCT-0811",
    ERROR,
    "a container lacks a device node that CUDA needs",
    """
    Some nodes are there, but not this one.  Without /dev/nvidiactl nothing works; without
    /dev/nvidia-uvm nvidia-smi works and CUDA fails with error 999; without a GPU's own node that
    GPU is not there.  A CDI spec that was written before the module nvidia-uvm was loaded, or
    before the GPU was installed, lacks it.
    """,
    """
    'nvidia-modprobe -u -c 0' makes nvidia-uvm's nodes on the host; then 'nvidia-ctk cdi generate
    --output=/etc/cdi/nvidia.yaml' (or 'nvidia-ctk cdi refresh') writes the spec anew.
    """,
)
NODE_DENIED = Code(
    "NCT-0812",
    ERROR,
    "a container may not open a device node",
    """
    The node is there, and opening it gives "Operation not permitted" (EPERM): the device control
    group of the container does not allow it.  That happens where somebody adds the node without a
    device rule, and where something rewrites the rules: 'systemctl daemon-reload' with containers
    whose nodes systemd does not know is known for "Failed to initialize NVML: Unknown Error" in
    containers that worked before.
    """,
    """
    Let the engine write the rules: our runtime and CDI do.  If no-cgroups = true is in config.toml
    (for rootless engines), take it out for those of root.  With the systemd driver of control
    groups, 'nvidia-ctk system create-dev-char-symlinks --create-all' lets systemd find the nodes.
    'nvidia-ctk repair CONTAINER' puts the rules of a running container right.
    """,
)
NODE_FORBIDDEN = Code(
    "NCT-0813",
    ERROR,
    "a container lacks the permission to open a device node",
    """
    The node is there, and opening it gives "Permission denied" (EACCES): its owner and mode do not
    let the container's user in, it is on a mount with nodev, or SELinux forbids it (containers of
    podman on Fedora and RHEL).
    """,
    """
    'ls -lZ /dev/nvidia*' shows mode and label; the driver's option NVreg_DeviceFileMode sets the
    mode.  For SELinux 'setsebool -P container_use_devices on' allows devices to all containers, or
    '--security-opt=label=disable' to one.
    """,
)
NODE_NUMBERS = Code(
    "NCT-0814",
    ERROR,
    "a device node of a container has other numbers than the host's",
    """
    The major number of nvidia-uvm and of MIG's capabilities is assigned when the module is loaded,
    and may be another one after a restart.  A CDI spec or an engine that has written down the old
    one makes a node behind which there is nothing, or another device.
    """,
    """
    Write the CDI spec anew: 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml'.  Our runtime
    puts the numbers right at each create; an engine that injects CDI devices itself does not.
    """,
)
NODE_DEAD = Code(
    "NCT-0815",
    ERROR,
    "a device node works on the host, but not in a container",
    """
    Host and container have a node with the same numbers, and only the host can open it.  What lies
    between are security modules (AppArmor, SELinux, seccomp) and namespaces.
    """,
    """
    'dmesg' or the audit log has a line for what was denied.  'docker run --security-opt
    seccomp=unconfined --security-opt apparmor=unconfined' tells whether it is one of these.
    """,
)
LIBRARY_MISSING = Code(
    "NCT-0820",
    ERROR,
    "a container does not find a library of the driver",
    """
    The program says "libcuda.so.1: cannot open shared object file: No such file or directory".
    Either the library is not in the container (the CDI spec does not name it, or
    NVIDIA_DRIVER_CAPABILITIES lacks compute or utility), or it is, and /etc/ld.so.cache of the
    container does not know its folder, since the hook update-ldcache did not run.
    """,
    """
    The finding says which of the two it is.  Write the CDI spec anew with 'nvidia-ctk cdi generate
    --output=/etc/cdi/nvidia.yaml' after the driver was installed.  A spec that was edited by hand
    must keep its hooks, and the program that they name must exist.
    """,
)
LIBRARY_BROKEN = Code(
    "NCT-0821",
    ERROR,
    "a library of the driver cannot be loaded in a container",
    """
    The library is found, and the loader refuses it: another library that it needs is missing, it is
    of another architecture, it is empty, or needs a newer C library ("version `GLIBC_2.34' not
    found").
    """,
    """
    The loader's message is repeated.  An empty or cut file on the host comes from an installation
    that was interrupted: install the driver anew.  For a file of another architecture look at which
    folder the CDI spec takes it from.
    """,
)
LIBRARY_VERSION = Code(
    "NCT-0822",
    WARNING,
    "a container gets libraries of another version than the kernel module",
    """
    The file of libcuda in the container has another version in its name than the loaded module.
    The driver was updated and the machine has not been restarted, or the CDI spec is older than the
    driver.  nvidia-smi says "Failed to initialize NVML: Driver/library version mismatch".
    """,
    """
    Restart the machine, or load the new module, and write the spec anew: 'nvidia-ctk cdi generate
    --output=/etc/cdi/nvidia.yaml'.
    """,
)
CODES = (
    *(IMAGE, SILENT, NO_WAY, PLAIN, REFUSED, HANGS, CRASHES, LEFT),
    *(NO_NODES, NODE_MISSING, NODE_DENIED, NODE_FORBIDDEN, NODE_NUMBERS, NODE_DEAD),
    *(LIBRARY_MISSING, LIBRARY_BROKEN, LIBRARY_VERSION),
)
