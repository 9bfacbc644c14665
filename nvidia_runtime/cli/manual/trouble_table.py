# SPDX-License-Identifier: Apache-2.0
"""The commonest troubles: what an engine says, what doctor finds, and what to do.

Most often told first, by the number of public threads.  What doctor prints is that of simulated
machines on which tests make each fault: tests/doctor/test_troubles.py compares.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """What doctor prints: a code with the facts of a machine; ``severity`` if not the code's."""

    code: str
    what: str
    where: str
    command: str
    severity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A trouble: the engine's or the program's own ``messages``, and what to do."""

    title: str
    messages: tuple[str, ...]
    finds: tuple[Find, ...]
    remedy: str


TROUBLES = (
    Trouble(
        title="A container loses its GPUs while it runs",
        messages=("Failed to initialize NVML: Unknown Error",),
        finds=(
            Find(
                code="NCT-0701",
                what="web-1: 2 of its device rules are gone (c 195:0 rwm, c 195:255 rwm)",
                where="the control group of process 4711",
                command="nvidia-ctk repair web-1",
            ),
        ),
        remedy="""
        'nvidia-ctk repair' gives the rules back, and the container goes on.  'systemctl
        daemon-reload' took them, which updates of packages do, too; NCT-0450 says how it will not
        again.
        """,
    ),
    Trouble(
        title="docker run --gpus finds no driver",
        messages=(
            "docker: Error response from daemon: could not select device driver"
            ' "" with capabilities: [[gpu]].',
            "failed to discover GPU vendor from CDI: no known GPU vendor found",
        ),
        finds=(
            Find(
                code="NCT-0420",
                what="docker 27.5.1 knows no runtime of ours, and it injects no CDI devices",
                where="/etc/docker/daemon.json",
                command="nvidia-ctk runtime configure --runtime=docker",
            ),
        ),
        remedy="""
        Configure docker, restart it, and give --runtime=nvidia beside --gpus.  Where docker is
        configured already, it was not restarted since (NCT-0414), or --gpus is given alone and our
        hook is in no folder of the daemon's PATH (NCT-0430).
        """,
    ),
    Trouble(
        title="SELinux denies the devices",
        messages=("Failed to initialize NVML: Insufficient Permissions",),
        finds=(
            Find(
                code="NCT-0621",
                what="nvidia-smi (container_t) was denied read write of nvidiactl "
                "(xserver_misc_device_t), once, last on 2026-11-30 20:50",
                where="/var/log/audit/audit.log",
                command="setsebool -P container_use_xserver_devices on",
            ),
        ),
        remedy="""
        A boolean of the policy allows containers the nodes of GPUs; doctor names the one that this
        policy has, a rule for types of your own, or 'restorecon' where nodes have the wrong type.
        There is no need to switch SELinux off.
        """,
    ),
    Trouble(
        title="ldconfig fails while a container is made",
        messages=(
            "nvidia-container-cli: ldcache error: process /sbin/ldconfig failed with error code: 1",
            "nvidia-container-cli: ldcache error: process /sbin/ldconfig.real terminated"
            " with signal 31",
            "error running createContainer hook #1: ... update-ldcache ...",
        ),
        finds=(
            Find(
                code="NCT-0626",
                what="/sbin/ldconfig.real was killed for its system call 45 (architecture "
                "40000003), once, last on 2026-11-30 20:50",
                where="/dev/kmsg",
                command="nvidia-ctk config --set nvidia-container-runtime.mode=auto --in-place",
            ),
        ),
        remedy="""
        NVIDIA's hooks run ldconfig for the container; our runtime writes the loader's cache itself,
        and runs nothing.  Give the container to our runtime (--runtime=nvidia) in the mode auto.
        In an image of Alpine (musl) the container starts, but libraries of the driver need glibc:
        take an image that has it.
        """,
    ),
    Trouble(
        title="A container with a variable for GPUs has none",
        messages=(
            'exec: "nvidia-smi": executable file not found in $PATH',
            "no CUDA-capable device is detected",
        ),
        finds=(
            Find(
                code="NCT-0711",
                what="0123456789ab has NVIDIA_VISIBLE_DEVICES=all, and no node of the driver",
                where="/proc/4711/environ",
                command="nvidia-ctk runtime status",
            ),
        ),
        remedy="""
        NVIDIA_VISIBLE_DEVICES is read by our runtime alone: name it (--runtime=nvidia, a pod's
        'runtimeClassName: nvidia'), make it the default ('nvidia-ctk runtime configure
        --set-as-default'), or ask by a CDI name (--device nvidia.com/gpu=all).  'nvidia-ctk runtime
        status' says which runtime is the default.
        """,
    ),
    Trouble(
        title="Kubernetes knows no runtime nvidia",
        messages=(
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get"
            ' sandbox runtime: no runtime for "nvidia" is configured',
        ),
        finds=(
            Find(
                code="NCT-0414",
                what="containerd (pid 4711) has not read its files since they changed",
                where="/etc/containerd/config.toml",
                command="systemctl restart containerd",
            ),
            Find(
                code="NCT-0422",
                what="/etc/containerd/config.toml has our runtime in a table that containerd 2.1.3 "
                "does not read",
                where="/etc/containerd/config.toml",
                command="nvidia-ctk runtime configure --runtime=containerd",
            ),
        ),
        remedy="""
        Restart containerd after 'nvidia-ctk runtime configure'.  If that does not help, the runtime
        is in a file, or a table of a file, that the containerd that runs does not read: doctor asks
        the daemon, not what is in PATH.
        """,
    ),
    Trouble(
        title="A CDI device is not found",
        messages=(
            "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all",
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0",
        ),
        finds=(
            Find(
                code="NCT-0303",
                what="no file in /etc/cdi and /var/run/cdi describes a GPU",
                where="/etc/cdi",
                command="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
            ),
            Find(
                code="NCT-0301",
                what="is empty: a device must edit something",
                where="/etc/cdi/nvidia.yaml: devices[0].containerEdits",
                command="nvidia-ctk cdi validate /etc/cdi/nvidia.yaml",
                severity="error",
            ),
        ),
        remedy="""
        There is no spec, or none that the engine can read: it was written by hand, is for root
        only (NCT-0307), of a CDI version that the engine does not know (NCT-0316), describes a
        device that another file describes, too (NCT-0305), or lies where the engine does not look
        (NCT-0424).  'nvidia-ctk cdi list' prints all names that there are.
        """,
    ),
    Trouble(
        title="The driver was updated",
        messages=("Failed to initialize NVML: Driver/library version mismatch",),
        finds=(
            Find(
                code="NCT-0121",
                what="the kernel module is 575.57.08, the libraries are 580.95.05",
                where="/usr/lib/x86_64-linux-gnu",
                command="reboot",
            ),
            Find(
                code="NCT-0703",
                what="web-1: it has libraries of driver 570.86.15, and 580.95.05 is loaded",
                where="/sys/module/nvidia/version",
                command="podman restart web-1",
            ),
        ),
        remedy="""
        The libraries on the disk are new and the kernel module is still the old one: restart the
        machine, or load the modules anew while nothing uses them.  A container that was started
        before the update keeps the old libraries until it is started again.
        """,
    ),
    Trouble(
        title="Rootless containers may not open the GPUs",
        messages=(
            "Failed to initialize NVML: Insufficient Permissions",
            "open /dev/nvidia0: permission denied",
        ),
        finds=(
            Find(
                code="NCT-0211",
                what="/dev/nvidia-modeset has mode 0660 and group video: alice may not open it",
                where="/dev/nvidia-modeset",
                command="usermod -aG video alice",
            ),
        ),
        remedy="""
        A rootless container has no more rights than its user: be in the group of the nodes, log in
        anew, and give podman '--group-add keep-groups'.  Nodes that all may use, as the driver
        makes them unless it is told otherwise, need neither.
        """,
    ),
    Trouble(
        title="An engine does not know a field of a CDI spec",
        messages=('json: unknown field "additionalGids"',),
        finds=(
            Find(
                code="NCT-0316",
                what="podman 4.9.3 reads CDI up to 0.6.0, and this is CDI 0.7.0",
                where="/etc/cdi/nvidia.yaml",
                command="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
                severity="error",
            ),
        ),
        remedy="""
        'nvidia-ctk cdi generate' looks at the engines that are installed and writes what all of
        them read; --spec-version=content writes what the content needs.  A spec that another
        program wrote (nvidia-cdi-refresh of NVIDIA Container Toolkit 1.19) goes, or is written
        anew.
        """,
    ),
    Trouble(
        title="A file of the driver is not there",
        messages=(
            "lstat /usr/lib/x86_64-linux-gnu/libnvidia-egl-gbm.so.1.1.1: no such file or directory",
        ),
        finds=(
            Find(
                code="NCT-0311",
                what="it is for driver 570.86.15, but 580.95.05 is loaded, and 34 of its files are "
                "gone",
                where="/etc/cdi/nvidia.yaml",
                command="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
                severity="error",
            ),
        ),
        remedy="""
        The CDI spec is from before an update of the driver, and engines use it as it is.  Write it
        anew; nvidia-cdi-refresh.service does so by itself.  Our runtime needs no spec for requests
        by the variable.
        """,
    ),
)
