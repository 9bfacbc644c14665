# SPDX-License-Identifier: Apache-2.0
"""The verb update-application-profile: hide other GPUs from EGL and Vulkan."""

import posix

from nvidia_runtime.errors import os_reason
from nvidia_runtime.oci import bundle
from nvidia_runtime.rootfs import application_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning

PATH = f"{application_profile.FOLDER}/{application_profile.NAME}"


def plan(planning: "Planning", step: "Step") -> None:
    """Plan a file to be mounted: the spec says which nodes will be in /dev."""
    nodes = [node for edit in planning.edits for node in edit.get("devices", ())]
    nodes += bundle.devices(planning.spec)
    minors = [
        node.get("minor") for node in nodes if application_profile.is_gpu_path(node.get("path"))
    ]
    minors += _mounted(planning)
    data = application_profile.text(minor for minor in minors if type(minor) is int)
    if not data:
        planning.skip(step, "the container has no GPU that a profile has room for")
    elif reason := planning.survey.refusal(PATH):
        planning.warn(f"the container gets no application profile: {reason}")
    elif planning.can_mount(step) and not planning.leave_covered(step, (PATH,)):
        planning.mount("application-profile", data, PATH)


def _mounted(planning: "Planning") -> list[int]:
    """Return the minors of nodes that are mounted, as a rootless engine has to."""
    minors = []
    for mount in planning.survey.mounts:
        if application_profile.is_gpu_path(mount["destination"]):
            try:
                minors.append(posix.minor(posix.stat(mount["source"]).st_rdev))
            except (OSError, ValueError, TypeError, KeyError):
                continue
    return minors


def run(container: "Container", step: "Step") -> None:
    """Write the file for the nodes that are in the container's /dev."""
    root = container.root(step)
    minors = application_profile.minors(root)
    for minor in minors:
        if minor >= application_profile.MOST_MINORS:
            container.warnings.append(f"no application profile has room for GPU {minor}")
    try:
        if application_profile.write(root, minors):
            container.done.append(f"wrote an application profile for GPUs {minors}")
    except (OSError, ValueError) as error:  # few programs read it
        container.warnings.append(f"{PATH} cannot be written: {os_reason(error)}")
