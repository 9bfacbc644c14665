# SPDX-License-Identifier: Apache-2.0
"""The verb chmod: set the mode of files.  It is deprecated: few specs have it."""

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import modes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning


def plan(planning: "Planning", step: "Step") -> None:
    """Leave it to a hook: most files that it is for are in /dev, which is made later."""
    planning.leave(step, "the files may be made when the container starts")


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
