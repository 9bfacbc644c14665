# SPDX-License-Identifier: Apache-2.0
"""What an engine has injected into a container by itself, by CDI, before it called us.

The engine wrote it into config.json: hooks, by which it is noticed, mounts and device nodes.  Which
of its devices that were asked for is not written there; `nvidia-ctk explain` guesses.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.admission import engine
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.oci import edit
from nvidia_runtime.sources import specs
from nvidia_runtime.start import TOOLKIT_HOOKS
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle

NODES = "/dev/nvidia"
MAJORS = "/proc/devices"
DEVICES = ("c", "b", "u")


class Native(Source):
    """What the engine injected, for the record; its ``edits`` are what has to be put right."""

    __slots__ = ()

    def __init__(self, origin: "Document", injected: "Document", edits: "Document") -> None:
        self.name = ""
        self.origin = document.dumps(origin).decode()
        self.text = document.dumps(injected).decode()
        self.edits = edits


def read(bundle: "Bundle", hooks: "dict[str, list[Document]]", warnings: list[str]) -> Native:
    """Read what is in config.json, of which ``hooks`` are the hooks; say what is put right."""
    folder = bundle.path.rpartition("/")[0] or posix.getcwd()
    name = engine.name(bundle.spec, folder)
    nodes = oci_bundle.devices(bundle.spec)
    numbers = _numbers(nodes, name or "the engine", warnings)
    own = {stage: present for stage in hooks if (present := _own(hooks[stage]))}
    said = [{key: node.get(key) for key in ("path", "type", "major", "minor")} for node in nodes]
    mounts = [mount for one in oci_bundle.mounts(bundle.spec) if (mount := _file(one))]
    injected = {"devices": said, "mounts": mounts, "hooks": own}
    return Native({"engine": name}, injected, {"numbers": numbers} if numbers else {})


def leave_out_mounted(sources: "list[Source]", bundle: "Bundle") -> None:
    """Leave out the nodes that an engine mounts, as a rootless one has to: they are there then."""
    if oci_bundle.devices(bundle.spec):
        return
    mounted = {mount["destination"] for mount in oci_bundle.mounts(bundle.spec)}
    for source in sources:
        if "devices" in source.edits:
            nodes: "list[Document]" = source.edits["devices"]
            source.edits["devices"] = [node for node in nodes if node["path"] not in mounted]


def _own(hooks: object) -> "list[Document]":
    """Return those of some hooks that are NVIDIA's."""
    listed = hooks if type(hooks) is list else ()
    return [hook for hook in listed if edit.program_of(hook) in TOOLKIT_HOOKS]


def _file(mount: "Document") -> "Document | None":
    """Return source and destination of what a CDI spec may mount: the same path, or its end."""
    source, path = mount.get("source"), mount["destination"]
    if type(source) is str and path[:1] == "/" and source.endswith(path) and len(path) > 1:
        return {"source": source, "destination": path}
    return None


def _numbers(nodes: "list[Document]", name: str, warnings: list[str]) -> dict[str, tuple[int, int]]:
    """Return the numbers of NVIDIA's nodes whose major is not that of the host's node of this path.

    Another minor is another device's, under a name that a spec may choose.
    Raises `NvidiaRuntimeError` for a node that the host lacks, if its major is no driver's of
    NVIDIA's: it may be anybody's by now.
    """
    numbers: dict[str, tuple[int, int]] = {}
    for node in nodes:
        path: str = node["path"]
        if not path.startswith(NODES) or node.get("type") not in DEVICES:
            continue
        major = node.get("major")
        try:
            status = posix.stat(path)
        except (OSError, ValueError) as error:
            _check_major(path, major, name, error)
            continue
        if specs.KINDS.get(status.st_mode & 0o170000) not in DEVICES:
            _check_major(path, major, name, None)
        elif major != posix.major(status.st_rdev):
            numbers[path] = posix.major(status.st_rdev), posix.minor(status.st_rdev)
            was = f"{major}:{node.get('minor')}"
            now = "{}:{}".format(*numbers[path])
            warnings.append(f"{path} is {now} on this host, {name} injected it as {was}")
    return numbers


def _check_major(path: str, major: object, name: str, error: OSError | ValueError | None) -> None:
    """Raise an error for a node that the host lacks, unless its major is one of NVIDIA's drivers.

    A driver root may have its nodes in a folder of its own.
    """
    text = (files.read_text(MAJORS) or "").partition("Block devices:")[0]
    for line in text.splitlines():
        number, _, driver = line.strip().partition(" ")
        if driver.startswith("nvidia") and number == str(major):
            return
    what = "is not a device node on this host"
    if error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        what = f"cannot be looked up on this host: {os_reason(error)}"
        what = "does not exist on this host" if is_missing else what
    what += f", but {name} injected it, with a number that is no driver's of NVIDIA's: {major}"
    raise NvidiaRuntimeError(what, where=path, hint=specs.NODE_HINT)
