# SPDX-License-Identifier: Apache-2.0
"""Which verbs of NVIDIA's hooks can be done on the host for a container, and by what.

What is written into the container's root must be what the container will see: not below a volume,
nor below /dev, which is made later.  Nothing is written here.  Ring: create, for specs with hooks.
"""

from nvidia_runtime.prepare import covered, verbs
from nvidia_runtime.rootfs import library_names, links, loader_config, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document
    from nvidia_runtime.prepare.verbs import Step

BY_PATH = "/dev/dri/by-path"
COMPAT, LDCACHE = "enable-cuda-compat", "update-ldcache"
# Bound read-only, and nothing in it is a device or a program.
OPTIONS = ("ro", "nosuid", "nodev", "noexec", "bind", "rprivate")


class Library:
    """A library that will be mounted: the folder and name in the container, and the host's file."""

    __slots__ = ("folder", "name", "source")

    def __init__(self, folder: str, name: str, source: str) -> None:
        self.folder = folder
        self.name = name
        self.source = source


class Plan:
    """What is to be done before the container exists, and what is left to the container's start.

    ``edits`` replace the edits that were given.  ``links`` are paths in the container and targets;
    ``files`` are files, and folders of links, that the edits mount from the folder ``state``, which
    is "" for none; ``compat`` is the driver's version, CUDA's, and the folder in the image.
    ``reasons`` are for the record; ``seccomp`` is the container's filter, if it is another one.
    """

    __slots__ = (
        *("compat", "edits", "files", "folders", "libraries", "links", "mounts", "reasons"),
        *("root", "seccomp", "state"),
    )

    def __init__(self, edits: "list[Document]", root: str = "", state: str = "") -> None:
        self.edits = edits
        self.root = root
        self.state = state
        self.links: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.libraries: list[Library] = []
        self.compat: tuple[str, str, str] | None = None
        self.files: dict[str, bytes | dict[str, str]] = {}
        self.mounts: list[Document] = []
        self.reasons: list[str] = []
        self.seccomp: "Document | None" = None

    def has_work(self) -> bool:
        """Whether there is anything to carry out."""
        return bool(self.links or self.folders or self.compat or self.files)


class Setting:
    """How to decide: the setting, and what it depends on.

    ``program`` is our own hook on this host, ``state`` our state folder, "" for none; ``host`` is
    where the host's /proc is, "" for its root.
    """

    __slots__ = ("by_filter", "host", "program", "runtime", "state", "value")

    def __init__(self, value: str, runtime: str, program: str, state: str, host: str = "") -> None:
        self.value = value
        self.by_filter = False  # against nodes of other GPUs
        self.runtime = runtime
        self.program = program
        self.state = state
        self.host = host


class Taking:
    """A plan in the making."""

    __slots__ = ("edits", "left", "plan", "setting", "spec", "survey")

    def __init__(
        self, plan: Plan, spec: "Document", setting: Setting, seen: covered.Survey
    ) -> None:
        self.plan = plan
        self.edits = plan.edits
        self.spec = spec
        self.setting = setting
        self.survey = seen
        self.left: list[Step] = []

    def leave(self, step: "Step", reason: str) -> None:
        """Leave a step to a hook in the container."""
        self.left.append(step)
        self.plan.reasons.append(f"{step.verb} is left to a hook: {reason}")

    def skip(self, step: "Step", reason: str) -> None:
        """Leave a step out, since it would change nothing."""
        self.plan.reasons.append(f"{step.verb} is not needed: {reason}")

    def mount(self, name: str, content: "bytes | dict[str, str]", path: str) -> None:
        """Mount a file, or a folder of links, of our state folder."""
        source = f"{self.setting.state}/{name}"
        self.plan.files[source] = content
        mount = {"destination": path, "source": source, "type": "bind", "options": [*OPTIONS]}
        self.plan.mounts.append(mount)


def take(plan: Plan, steps: "list[Step]", spec: "Document", setting: Setting) -> "list[Step]":
    """Plan all steps that can be done on the host; return those that are left, in their order."""
    try:
        root = resolver.open_root(plan.root)
    except (OSError, ValueError) as error:
        plan.reasons.append(f"hooks stay as they are: the container's root: {error}")
        return steps
    with root:
        taking = Taking(plan, spec, setting, covered.Survey(root, spec, plan.edits))
        for step in steps:
            _TAKE[step.verb](taking, step)
    return taking.left


def _noop(taking: Taking, step: "Step") -> None:
    del taking, step


def _links(taking: Taking, step: "Step") -> None:
    """Plan links in the root, and those below /dev/dri/by-path in a folder to be mounted there."""
    by_path: dict[str, str] = {}
    left: list[str] = []
    reasons: list[str] = []
    for specification in step.all("link"):
        target, path = links.parse(specification)
        folder, _, name = path.rpartition("/")
        if folder == BY_PATH and name not in ("", ".", "..") and taking.setting.state:
            by_path[name] = target
            continue
        cover = taking.survey.is_covered(path)
        if cover:
            left.append(specification)
            reasons.append(f"{path} is below the mount {cover}")
        else:
            taking.plan.links.append((path, target))
    if by_path:
        _mount_links(taking, by_path)
    if left:
        rest = verbs.Step(step.verb)
        rest.lists["link"] = left
        taking.leave(rest, reasons[0] + (f", and {len(left) - 1} more" if len(left) > 1 else ""))


def _mount_links(taking: Taking, found: dict[str, str]) -> None:
    """Mount one folder for all links below /dev/dri/by-path: each GPU's device brings its own."""
    for mount in taking.plan.mounts:
        if mount["destination"] == BY_PATH:
            taking.plan.mounts.remove(mount)
            content = taking.plan.files.pop(mount["source"])
            found = {**(content if type(content) is dict else {}), **found}
            break
    text = "".join(f"{name} {target}\n" for name, target in sorted(found.items()))
    taking.mount(f"by-path-{digest(text.encode())}", found, BY_PATH)


def digest(data: bytes) -> str:
    """Return a short name for content of our own; no cryptography is needed, nor loaded."""
    try:
        from _imp import source_hash  # built in; hashlib is 2 ms

        return source_hash(1, data).hex()
    except Exception:  # noqa: BLE001 (CPython's own affair)
        from hashlib import sha256

        return sha256(data).hexdigest()[:16]


def _compat(taking: Taking, step: "Step") -> None:
    driver = step.texts.get("host-driver-version", "")
    cuda = step.texts.get("host-cuda-version", "")
    if not driver and not cuda:
        return
    from nvidia_runtime.rootfs import cuda_compat  # only for specs with this verb

    folder = step.texts.get("cuda-compat-container-root") or cuda_compat.FOLDER
    for path in (f"{folder}/x", f"{loader_config.FOLDER}/x", "/etc/ld.so.cache"):
        if cover := taking.survey.is_covered(path):
            taking.leave(step, f"{path.removesuffix('/x')} is below the mount {cover}")
            return
    taking.plan.compat = (driver, cuda, folder)


def _ldcache(taking: Taking, step: "Step") -> None:
    """Plan rows for the libraries that will be mounted: the host has them now."""
    if any(other.verb == COMPAT for other in taking.left):
        taking.leave(step, f"it has to come after {COMPAT}")
        return
    folders = list(filter(None, map(loader_config.clean, step.all("folder"))))
    places = [f"{folder}/x" for folder in folders]
    for path in ("/etc/ld.so.cache", f"{loader_config.FOLDER}/x", "/etc/ld.so.conf", *places):
        if cover := taking.survey.is_covered(path):
            taking.leave(step, f"{path.removesuffix('/x')} is below the mount {cover}")
            return
    plan = taking.plan
    plan.folders += [folder for folder in folders if folder not in plan.folders]
    known = {(library.folder, library.name) for library in plan.libraries}
    present = [mount for mount in taking.spec.get("mounts") or () if type(mount) is dict]
    for mount in [*covered.mounts_of(taking.edits), *present]:
        destination, source = mount.get("destination"), mount.get("source")
        if type(destination) is not str or type(source) is not str:
            continue
        folder, _, name = destination.rpartition("/")
        if folder in folders and library_names.is_library(name) and (folder, name) not in known:
            plan.libraries.append(Library(folder, name, source))


def _profile(taking: Taking, step: "Step") -> None:
    from nvidia_runtime.rootfs import application_profile  # only for specs with this verb

    nodes = [node for edit in taking.edits for node in edit.get("devices", ())]
    linux = taking.spec.get("linux")
    present = linux.get("devices") if type(linux) is dict else None
    nodes += [node for node in present or () if type(node) is dict]
    minors = [
        node.get("minor") for node in nodes if application_profile.is_gpu_path(node.get("path"))
    ]
    data = application_profile.text(minor for minor in minors if type(minor) is int)
    path = f"{application_profile.FOLDER}/{application_profile.NAME}"
    if not data:
        taking.skip(step, "the container has no GPU that a profile has room for")
    elif not taking.setting.state:
        taking.leave(step, "there is no state folder of ours to mount the file from")
    elif cover := taking.survey.is_covered(path):
        taking.leave(step, f"{path} is below the mount {cover}")
    elif path not in [mount["destination"] for mount in taking.plan.mounts]:
        taking.mount(f"application-profile-{digest(data)}", data, path)


def _parameters(taking: Taking, step: "Step") -> None:
    """Plan a mount below /proc, which crun makes and runc refuses; most containers need none."""
    from nvidia_runtime.prepare import node_making  # only for specs with this verb

    setting = taking.setting
    found = node_making.examine(taking.spec, taking.edits, setting.host)
    if found.reason:
        taking.skip(step, found.reason)
    elif not setting.runtime.rpartition("/")[2].startswith("crun"):
        _filter(taking, step)
    elif not setting.state:
        taking.leave(step, "there is no state folder of ours to mount the file from")
    elif found.path not in [mount["destination"] for mount in taking.plan.mounts]:
        taking.mount(f"params-{digest(found.parameters)}", found.parameters, found.path)


def _filter(taking: Taking, step: "Step") -> None:
    """Plan a seccomp filter where the setting says so: runc mounts nothing below /proc."""
    if not taking.setting.by_filter:
        taking.leave(step, "runc mounts nothing below /proc")
        return
    from nvidia_runtime.prepare import node_filter  # by a setting

    profile, reason = node_filter.forbid(taking.spec)
    if profile is None:
        taking.leave(step, reason)
    else:
        taking.plan.seccomp = profile


def _chmod(taking: Taking, step: "Step") -> None:
    taking.leave(step, "the files may be made when the container starts")


_TAKE: "dict[str, Callable[[Taking, Step], None]]" = {
    "chmod": _chmod,
    "create-symlinks": _links,
    "disable-device-node-modification": _parameters,
    COMPAT: _compat,
    "noop": _noop,
    "update-application-profile": _profile,
    LDCACHE: _ldcache,
}
