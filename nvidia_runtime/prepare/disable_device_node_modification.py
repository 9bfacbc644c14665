# SPDX-License-Identifier: Apache-2.0
"""The verb disable-device-node-modification: keep the driver from making nodes of other GPUs.

NVML makes them as root with CAP_MKNOD, unless a file of the driver's parameters forbids it.
"""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.rootfs import application_profile, files, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning

GPUS = "/proc/driver/nvidia/gpus"
PATH = "/proc/driver/nvidia/params"
SETTING = b"ModifyDeviceFiles:"
LARGEST = 64 << 10
# What covers the file: one in a file system in memory, on a folder that every container has, and
# in which nothing runs yet.
NAME, MODE = "params", 0o444
STAGE = "/dev"
SIZE = "size=64k,nr_inodes=4,mode=0755"


def plan(planning: "Planning", step: "Step") -> None:
    """Plan a mount below /proc, which crun makes and runc refuses; most containers need none."""
    host = planning.conditions.host
    data = parameters(host + PATH)
    reason = "the driver does not make device nodes on this host"
    if data:
        reason = _unneeded(planning.spec, planning.edits, host)
    if reason:
        planning.skip(step, reason)
    elif not planning.conditions.runtime.rpartition("/")[2].startswith("crun"):
        _filter(planning, step)
    elif planning.can_mount(step):
        planning.mount(NAME, data, PATH)


def parameters(path: str = PATH) -> bytes:
    """Return the host's parameters with the setting off, b"" where it is off already."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY)
    except OSError:
        return b""
    try:
        data = posix.read(descriptor, LARGEST)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(SETTING):
            if line[len(SETTING) :].strip() == b"0":
                return b""
            lines[number] = SETTING + b" 0"
            return b"\n".join(lines)
    return b""


def _unneeded(spec: "Document", edits: "list[Document]", host: str) -> str:
    """Say why a container need not be kept from it, "" if it must; ``host`` is before /proc."""
    if not may_make_nodes(spec) or not _is_initial_user_namespace(host):
        return "the container may not make device nodes"
    if _has_all_gpus(spec, edits, host):
        return "the container has all GPUs"
    return ""


def may_make_nodes(spec: "Document") -> bool:
    """Whether CAP_MKNOD can be had in the user namespace that we are in; in doubt it can."""
    linux = spec.get("linux")
    namespaces = linux.get("namespaces") if type(linux) is dict else None
    for namespace in namespaces or ():
        if type(namespace) is dict and namespace.get("type") == "user":
            return False
    process = spec.get("process")
    capabilities = process.get("capabilities") if type(process) is dict else None
    if type(capabilities) is dict:
        bounding = capabilities.get("bounding")
        return type(bounding) is not list or "CAP_MKNOD" in bounding
    return type(capabilities) is not list or "CAP_MKNOD" in capabilities


def _is_initial_user_namespace(host: str) -> bool:
    """Whether all ids are what they are outside; a rootless engine has a namespace for us too."""
    try:
        descriptor = posix.open(f"{host}/proc/self/uid_map", posix.O_RDONLY)
    except OSError:
        return True
    try:
        return posix.read(descriptor, 100).split() == [b"0", b"0", b"4294967295"]
    finally:
        posix.close(descriptor)


def _has_all_gpus(spec: "Document", edits: "list[Document]", host: str) -> bool:
    """Whether there is no other GPU: as many nodes as the driver has GPUs."""
    nodes = [node for edit in edits for node in edit.get("devices", ())]
    paths = {node["path"] for node in [*nodes, *oci_bundle.devices(spec)]}
    try:
        count = len(posix.listdir(host + GPUS))
    except OSError:
        return False
    return 0 < count <= sum(map(application_profile.is_gpu_path, paths))


def _filter(planning: "Planning", step: "Step") -> None:
    """Plan a seccomp filter where the setting says so: runc mounts nothing below /proc."""
    if not planning.conditions.by_filter:
        planning.leave(step, "runc mounts nothing below /proc")
        return
    from nvidia_runtime.prepare import node_filter  # by a setting

    profile, reason = node_filter.forbid(planning.spec)
    if profile is None:
        planning.leave(step, reason)
    else:
        planning.work.seccomp = profile


def run(container: "Container", step: "Step") -> None:
    """Cover the parameters with those that forbid it."""
    data = parameters()
    if data:
        cover(container.root(step), PATH, data)
        container.done.append(f"covered {PATH}")


def cover(root: resolver.Place, path: str, data: bytes) -> None:
    """Show ``data`` in the place of a file of the container's, in its mount namespace.

    A file system in memory covers a folder, a file in it is bound over the other, and the folder is
    bare again: nothing is written to the image, and nothing stays but the file.
    """
    from nvidia_runtime.linux import mount  # 4 ms: ctypes

    try:
        with resolver.walk(root, path) as target:
            with resolver.walk(root, STAGE) as stage:
                mount.mount_memory(stage.by_descriptor(), SIZE)
            try:
                _bind(root, target, data)
            finally:
                with resolver.walk(root, STAGE) as covered:
                    mount.detach(covered.by_descriptor())
    except OSError as error:
        what = f"cannot be covered: {os_reason(error)}"
        hint = "the driver's module must be loaded, and the container must have /proc"
        raise NvidiaRuntimeError(what, where=path, hint=hint) from None


def _bind(root: resolver.Place, target: resolver.Place, data: bytes) -> None:
    from nvidia_runtime.linux import mount

    with resolver.walk(root, STAGE) as folder:
        files.replace(folder, NAME, data, MODE)
        file = posix.open(NAME, posix.O_PATH | posix.O_NOFOLLOW, dir_fd=folder.descriptor)
    with resolver.Place(file, NAME) as source:
        mount.bind(source.by_descriptor(), target.by_descriptor())
    with resolver.walk(root, target.path) as bound:
        mount.make_read_only(bound.by_descriptor())
