# SPDX-License-Identifier: Apache-2.0
"""The work on the host in the place of hooks, as the modules of the verbs plan it.

What is written into the container's root must be what the container will see: not below a volume,
nor below /dev, which is made later.  Nothing is written here.
"""

from nvidia_runtime import document
from nvidia_runtime.errors import os_reason
from nvidia_runtime.oci import bundle
from nvidia_runtime.rootfs import resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.document import Document
    from nvidia_runtime.prepare.verbs import Step

# Bound read-only, and nothing in it is a device or a program.
OPTIONS = ("ro", "nosuid", "nodev", "noexec", "bind", "rprivate")


class Work:
    """What is to be done before the container exists, and what is left to the container's start.

    ``edits`` replace the edits that were given.  ``links`` are paths in the container and targets;
    ``libraries`` are the host's files that will be mounted, by folder and name in the container;
    ``files`` are files, and folders of links, that the edits mount from the folder ``state``, which
    is "" for none; ``compat`` is the driver's version, CUDA's, and the folder in the image.
    ``reasons`` are for the record, ``warnings`` for the log, too; ``seccomp`` is the container's
    filter, if it is another one.
    """

    __slots__ = (
        *("compat", "edits", "files", "folders", "libraries", "links", "mounts", "reasons"),
        *("root", "seccomp", "state", "warnings"),
    )

    def __init__(self, edits: "list[Document]", root: str = "", state: str = "") -> None:
        self.edits = edits
        self.root = root
        self.state = state
        self.links: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.libraries: dict[tuple[str, str], str] = {}
        self.compat: tuple[str, str, str] | None = None
        self.files: dict[str, bytes | dict[str, str]] = {}
        self.mounts: list[Document] = []
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


class Survey:
    """A container's root as it will be: what of it the mounts of its spec are going to cover."""

    __slots__ = ("_covered", "_missing", "_read_only", "_resolved", "_root")

    def __init__(self, root: resolver.Place, spec: "Document", edits: "list[Document]") -> None:
        self._root = root
        self._resolved = {"": ""}
        self._missing: set[str] = set()
        mounts = bundle.mounts(spec)
        self._covered = {self._follow(mount["destination"]) or "/" for mount in mounts}
        self._read_only = {
            self._follow(mount["destination"]) or "/" for mount in mounts if _is_read_only(mount)
        }
        for mount in _mounts_of(edits):  # files, most of them: many in few folders
            self._covered.add(self._resolve(mount["destination"]))

    def _resolve(self, path: str) -> str:
        """Return a path as the container sees it, with the links of its folder followed."""
        folder, _, name = path.rstrip("/").rpartition("/")
        return f"{self._follow(folder)}/{name}"

    def cover(self, path: str) -> str:
        """Return the mount that will hide what is written to a path, "" for none."""
        place = self._resolve(path)
        while len(place) > 1:
            if place in self._covered:
                return place
            place = place.rpartition("/")[0]
        return ""

    def refusal(self, path: str) -> str:
        """Say why no file of ours can be mounted at a path, "" if it can; covered or not."""
        if cover := self.cover(path):
            return f"{cover} is a read-only volume" if cover in self._read_only else ""
        folder = path.rpartition("/")[0]
        try:
            with resolver.walk(self._root, f"{folder}/"):
                return ""
        except FileNotFoundError:  # it is made
            return ""
        except (OSError, ValueError) as error:
            return f"{folder} in the image: {os_reason(error)}"

    def _follow(self, path: str) -> str:
        """Follow all links of a path, as far as it exists; the root is ""."""
        path = path.rstrip("/")
        resolved = self._resolved.get(path)
        if resolved is not None:
            return resolved
        parent, _, name = path.rpartition("/")
        if parent not in self._missing:
            try:
                with resolver.walk(self._root, path) as place:
                    resolved = place.path.rstrip("/")
            except (OSError, ValueError):
                pass
        if resolved is None:
            self._missing.add(path)
            resolved = f"{self._follow(parent)}/{name}"
        self._resolved[path] = resolved
        return resolved


class Planning:
    """What a verb plans with: the container as it will be, the work so far, the steps left."""

    __slots__ = ("conditions", "edits", "left", "spec", "survey", "work")

    def __init__(
        self, work: Work, spec: "Document", conditions: Conditions, root: resolver.Place
    ) -> None:
        self.work = work
        self.edits = work.edits
        self.spec = spec
        self.conditions = conditions
        self.survey = Survey(root, spec, work.edits)
        self.left: list[Step] = []

    def leave(self, step: "Step", reason: str) -> None:
        """Leave a step to a hook in the container."""
        self.left.append(step)
        self.work.reasons.append(f"{step.verb} is left to a hook: {reason}")

    def skip(self, step: "Step", reason: str) -> None:
        """Leave a step out, since it would change nothing."""
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

    def mounts(self) -> "list[Document]":
        """List the mounts of the spec and of the edits, which cover those before."""
        return [*bundle.mounts(self.spec), *_mounts_of(self.edits)]

    def mount(self, name: str, content: "bytes | dict[str, str]", path: str) -> None:
        """Mount a file, or a folder of links, of our state folder, if none is mounted there yet.

        The file's name is unique to its content, for other containers have others.
        """
        if path in [mount["destination"] for mount in self.work.mounts]:
            return
        source = f"{self.conditions.state}/{name}-{_digest(content)}"
        self.work.files[source] = content
        mount = {"destination": path, "source": source, "type": "bind", "options": [*OPTIONS]}
        self.work.mounts.append(mount)


def _is_read_only(mount: "Document") -> bool:
    options = mount.get("options")
    return type(options) is list and ("ro" in options or "rro" in options)


def _digest(content: "bytes | dict[str, str]") -> str:
    """Return a short name for content of our own."""
    if isinstance(content, dict):
        text = "".join(f"{name} {target}\n" for name, target in sorted(content.items()))
        content = text.encode("utf-8", "surrogateescape")
    return document.digest(content)


def _mounts_of(edits: "list[Document]") -> "list[Document]":
    return [mount for edit in edits for mount in edit.get("mounts", ())]
