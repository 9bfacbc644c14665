# SPDX-License-Identifier: Apache-2.0
"""Whether a container could have the driver make device nodes of GPUs that it was not given.

NVML does so as root with CAP_MKNOD, unless the driver's parameters forbid it.  Ring: create, for
specs with the hook against it.
"""

import posix

from nvidia_runtime.rootfs import application_profile, driver_parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

GPUS = "/proc/driver/nvidia/gpus"


class Examined:
    """Why nothing need be done, or "" and the parameters that the container is to see instead."""

    __slots__ = ("parameters", "path", "reason")

    def __init__(self, reason: str, parameters: bytes) -> None:
        self.path = driver_parameters.PATH
        self.reason = reason
        self.parameters = parameters


def examine(spec: "Document", edits: "list[Document]", host: str) -> Examined:
    """Examine a container's spec, and the driver on the host; ``host`` is in front of /proc."""
    parameters = driver_parameters.without_modification(host + driver_parameters.PATH)
    if not parameters:
        return Examined("the driver does not make device nodes on this host", b"")
    if not may_make_nodes(spec) or not _is_initial_user_namespace(host):
        return Examined("the container may not make device nodes", b"")
    if _has_all_gpus(edits, host):
        return Examined("the container has all GPUs", b"")
    return Examined("", parameters)


def may_make_nodes(spec: "Document") -> bool:
    """Whether CAP_MKNOD can be had in the user namespace that we are in; in doubt it can."""
    linux = spec.get("linux")
    namespaces = linux.get("namespaces") if type(linux) is dict else None
    for namespace in namespaces or ():
        if type(namespace) is dict and namespace.get("type") == "user":
            return False
    process = spec.get("process")
    given = process.get("capabilities") if type(process) is dict else None
    if type(given) is dict:
        bounding = given.get("bounding")
        return type(bounding) is not list or "CAP_MKNOD" in bounding
    return type(given) is not list or "CAP_MKNOD" in given


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


def _has_all_gpus(edits: "list[Document]", host: str) -> bool:
    """Whether there is no other GPU: as many nodes as the driver has GPUs."""
    nodes = {node["path"] for edit in edits for node in edit.get("devices", ())}
    try:
        count = len(posix.listdir(host + GPUS))
    except OSError:
        return False
    return 0 < count <= sum(map(application_profile.is_gpu_path, nodes))
