# SPDX-License-Identifier: Apache-2.0
"""The verb create-symlinks: make links in the container's root."""

from nvidia_runtime.prepare import verbs
from nvidia_runtime.rootfs import links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning

# In /dev, which the low-level runtime makes: a folder of links is mounted there.
BY_PATH = "/dev/dri/by-path"


def plan(planning: "Planning", step: "Step") -> None:
    """Plan links in the root, and those below /dev/dri/by-path in a folder to be mounted there."""
    by_path: dict[str, str] = {}
    left: list[str] = []
    reasons: list[str] = []
    for specification in step.all("link"):
        target, path = links.parse(specification)
        folder, _, name = path.rpartition("/")
        is_by_path = folder == BY_PATH and name not in ("", ".", "..")
        if is_by_path and planning.conditions.state and not planning.survey.is_given(BY_PATH):
            by_path[name] = target
        elif cover := planning.survey.cover(path):
            left.append(specification)
            reasons.append(f"{path} is below the mount {cover}")
        else:
            planning.work.links.append((path, target))
    if by_path:
        _mount(planning, by_path)
    if left:
        rest = verbs.Step(step.verb)
        rest.lists["link"] = left
        planning.leave(rest, reasons[0] + (f", and {len(left) - 1} more" if left[1:] else ""))


def _mount(planning: "Planning", by_path: dict[str, str]) -> None:
    """Mount one folder for all links below /dev/dri/by-path: each GPU's device brings its own."""
    for mount in planning.work.mounts:
        if mount["destination"] == BY_PATH:
            planning.work.mounts.remove(mount)
            content = planning.work.files.pop(mount["source"])
            by_path = {**(content if type(content) is dict else {}), **by_path}
            break
    planning.mount("by-path", by_path, BY_PATH)


def run(container: "Container", step: "Step") -> None:
    """Make the links."""
    for specification in step.all("link"):
        root = container.root(step)
        target, path = links.parse(specification)
        if links.make_all(root, [(path, target)], container.warnings):
            container.done.append(f"linked {path} to {target}")
