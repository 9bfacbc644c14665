# SPDX-License-Identifier: Apache-2.0
"""Which engine made a container: what its bundle and its annotations tell.  For people only.

A user may write annotations, so where the bundle lies counts first.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

# containerd's shim has a folder for each namespace: docker's is moby.
TASKS = ("io.containerd.runtime.v2.task/", "io.containerd.runtime.v1.linux/")
DOCKER = ("moby", "plugins.moby")
STORAGE = "-containers/"  # containers/storage: podman and cri-o


def name(spec: "Document", folder: str) -> str:
    """Return the engine that made a container, whose bundle is ``folder``; "" if it is unknown."""
    for tasks in TASKS:
        namespace, slash, _ = folder.partition(f"/{tasks}")[2].partition("/")
        if slash:
            return "docker" if namespace in DOCKER else "containerd"
    if is_of_podman(spec):
        return "podman"
    if STORAGE in folder and _has(spec, "io.kubernetes.cri-o."):
        return "cri-o"
    return ""


def is_of_podman(spec: "Document") -> bool:
    """Whether podman made a container, by its annotations."""
    annotations = spec.get("annotations")
    if type(annotations) is not dict:
        return False
    is_manager = annotations.get("io.container.manager") == "libpod"
    return is_manager or _has(spec, "io.podman.annotations.")


def _has(spec: "Document", beginning: str) -> bool:
    annotations = spec.get("annotations")
    return type(annotations) is dict and any(key.startswith(beginning) for key in annotations)
