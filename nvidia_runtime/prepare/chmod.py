# SPDX-License-Identifier: Apache-2.0
"""The verb chmod: set the mode of files.  It is deprecated: few specs have it."""

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import bundle
from nvidia_runtime.rootfs import modes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning


# Of the folders that runc makes for device nodes, whatever the umask; crun's depends on that.
MADE = "755"


def plan(planning: "Planning", step: "Step") -> None:
    """Leave it to a hook: most files that it is for are in /dev, which is made later.

    Specs of the toolkit until 1.17 have it for folders of device nodes, which runc makes so anyway.
    """
    if _is_made(planning, step):
        planning.skip(step, f"runc makes the folders of device nodes with the mode {MADE}")
    else:
        planning.leave(step, "the files may be made when the container starts")


def _is_made(planning: "Planning", step: "Step") -> bool:
    """Whether the files are folders that runc makes with this mode, and nothing else is there."""
    name = planning.conditions.runtime.rpartition("/")[2]
    if not name.startswith("runc") or step.texts.get("mode", "").lstrip("0") != MADE:
        return False
    nodes = [node for edit in planning.edits for node in edit.get("devices", ())]
    nodes += bundle.devices(planning.spec)
    folders = {node["path"].rpartition("/")[0] for node in nodes}
    return all(
        path.startswith("/dev/") and path in folders and not planning.survey.is_given(path)
        for path in step.all("path")
    )


def run(container: "Container", step: "Step") -> None:
    """Set the modes; a file that is missing is left out."""
    text = step.texts.get("mode", "")
    if not text:
        raise NvidiaRuntimeError("a mode must be given", where="--mode")
    if not text.isascii() or text.strip("01234567") or len(text) > 5:
        raise NvidiaRuntimeError(f"must be an octal number, not {text!r}", where="--mode")
    paths = step.all("path")
    if "" in paths:
        raise NvidiaRuntimeError("must not be empty", where="--path")
    for path in paths:
        root = container.root(step)
        try:
            if modes.change(root, path, int(text, 8) & 0o777):
                container.done.append(f"changed the mode of {path} to {text}")
        except (OSError, ValueError) as error:
            container.warnings.append(f"the mode of {path} stays: {os_reason(error)}")
