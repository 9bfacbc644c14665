# SPDX-License-Identifier: Apache-2.0
"""The work on the host in the place of hooks, as the modules of the verbs plan it.

What is written into the container's root must be what the container will see: not below a volume,
nor below /dev, which is made later.  Nothing is written here.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.rootfs import resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.document import Document
    from nvidia_runtime.prepare.survey import Survey
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.rootfs.coming_mounts import ComingMounts

_TYPE, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000
# The folder in our state folder.
MOUNTED = "mounted"
# Bound read-only, and nothing in it is a device or a program.
OPTIONS = ("ro", "nosuid", "nodev", "noexec", "bind", "rprivate")


class Work:
    """What is to be done before the container exists, and what is left to the container's start.

    ``edits`` replace the edits that were given.  ``links`` are paths in the container and targets;
    ``libraries`` are the host's files that will be mounted, by folder and name in the container;
    ``files`` are files, and folders of links, that the edits mount from the folder ``state``, which
    is "" for none; ``compat`` is the driver's version, CUDA's, and the folder in the image.
    ``coming`` is what will be mounted, and ``suspects`` those of it that may hold other libraries.
    ``reasons`` are for the record, ``warnings`` for the log, too; ``seccomp`` is the container's
    filter, if it is another one.  Of the hooks that we understand, ``hooks`` says what is left to
    the container's start, the words of steps by stage, and ``idle`` which verbs nobody does.
    """

    __slots__ = (
        *("bundle", "coming", "compat", "edits", "files", "folders", "hooks", "idle"),
        *("libraries", "links"),
        *("mounts", "reasons", "root", "seccomp", "state", "suspects", "warnings"),
    )

    def __init__(self, edits: "list[Document]", root: str = "", state: str = "") -> None:
        self.edits = edits
        self.root = root
        self.bundle = ""
        self.state = state
        self.links: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.libraries: dict[tuple[str, str], str] = {}
        self.compat: tuple[str, str, str] | None = None
        self.files: dict[str, bytes | dict[str, str]] = {}
        self.mounts: list[Document] = []
        self.coming: "ComingMounts | None" = None
        self.suspects: list[str] = []
        self.hooks: dict[str, list[str]] | None = None
        self.idle: list[str] = []
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self.seccomp: "Document | None" = None

    def is_empty(self) -> bool:
        """Whether there is nothing to carry out."""
        return not (self.links or self.folders or self.compat or self.files)


class Conditions:
    """What the plan depends on besides the container.

    ``value`` is the setting; ``program`` is our own hook on this host, ``state`` our state folder,
    "" for none; ``host`` is where the host's /proc is, "" for its root.
    """

    __slots__ = ("by_filter", "host", "program", "runtime", "state", "value")

    def __init__(self, value: str, runtime: str, program: str, state: str, host: str = "") -> None:
        self.value = value
        self.by_filter = False  # against nodes of other GPUs
        self.runtime = runtime
        self.program = program
        self.state = state
        self.host = host


class NotContainersError(ValueError):
    """A root that is not a container's own."""


def open_root(path: str) -> resolver.Place:
    """Open the root of a container that does not exist yet.

    Raises `NotContainersError` for what is not to be touched: the host's own root, by whatever
    name, and a link, which low-level runtimes refuse, or follow at another time.
    """
    flags = posix.O_PATH | posix.O_NOFOLLOW
    root = resolver.Place(posix.open(resolver.encode(path.rstrip("/") or "/"), flags), "/")
    kind = root.status().st_mode & _TYPE
    reason = ""
    if kind == _LINK:
        reason = "is a link"
    elif kind != _DIRECTORY:
        reason = "is not a folder"
    elif root.is_hosts():
        reason = "is the host's own"
    if reason:
        posix.close(root.descriptor)
        raise NotContainersError(reason)
    return root


class Planning:
    """What a verb plans with: the container as it will be, the work so far, the steps left."""

    __slots__ = ("conditions", "edits", "left", "spec", "survey", "work")

    def __init__(
        self, work: Work, spec: "Document", conditions: Conditions, survey: "Survey"
    ) -> None:
        self.work = work
        self.edits = work.edits
        self.spec = spec
        self.conditions = conditions
        self.survey = survey
        self.left: list[Step] = []

    def leave(self, step: "Step", reason: str) -> None:
        """Leave a step to a hook in the container."""
        self.left.append(step)
        self.work.reasons.append(f"{step.verb} is left to a hook: {reason}")

    def skip(self, step: "Step", reason: str) -> None:
        """Leave a step out, since it would change nothing."""
        self.work.idle.append(step.verb)
        self.work.reasons.append(f"{step.verb} is not needed: {reason}")

    def warn(self, sentence: str) -> None:
        """Say what the container has to do without."""
        self.work.warnings.append(sentence)

    def leave_covered(self, step: "Step", paths: "Iterable[str]") -> bool:
        """Leave a step to a hook if one of the paths will be covered; a folder's ends with "/"."""
        for path in paths:
            if cover := self.survey.cover(f"{path}x" if path[-1:] == "/" else path):
                self.leave(step, f"{path.rstrip('/')} is below the mount {cover}")
                return True
        return False

    def can_mount(self, step: "Step") -> bool:
        """Whether there is a folder to mount files from; without, leave the step to a hook."""
        if not self.conditions.state:
            self.leave(step, "there is no state folder of ours to mount the file from")
        return bool(self.conditions.state)

    def mount(self, name: str, content: "bytes | dict[str, str]", path: str) -> None:
        """Mount a file, or a folder of links, of our state folder, if none is mounted there yet.

        Each container has a file of its own, by its bundle: one that may mount could make it
        writable, and change what others see.
        """
        if path in [mount["destination"] for mount in self.work.mounts]:
            return
        unique = _digest(content, self.work.bundle)
        source = f"{self.conditions.state}/{MOUNTED}/{name}-{unique}"
        self.work.files[source] = content
        mount = {"destination": path, "source": source, "type": "bind", "options": [*OPTIONS]}
        self.work.mounts.append(mount)


def _digest(content: "bytes | dict[str, str]", bundle: str) -> str:
    """Return a short name for content of our own, for one bundle."""
    if isinstance(content, dict):
        text = "".join(f"{name} {target}\n" for name, target in sorted(content.items()))
        content = text.encode("utf-8", "surrogateescape")
    return document.digest(bundle.encode("utf-8", "surrogateescape") + b"\0" + content)
