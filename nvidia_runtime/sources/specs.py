# SPDX-License-Identifier: Apache-2.0
"""From names to edits: the devices of CDI specs, with device nodes as this host has them now."""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import SPEC_DIRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document
    from nvidia_runtime.store.snapshot import Snapshot

# More devices than that are not looked for one after the other: an index is a module more to load.
MANY = 64
KINDS = {0o020000: "c", 0o060000: "b", 0o010000: "p"}


def sources(devices: tuple[str, ...], registry: "Snapshot") -> list[Source]:
    """Look every device up; a spec's own edits come before its first device's.

    Raises one `NvidiaRuntimeError` for all devices that cannot be resolved, and `ValueError` for a
    damaged snapshot.
    """
    parts: list[Source] = []
    origins: dict[bytes, str] = {}
    missing: list[str] = []
    find: "Callable[[str], list[bytes] | None]" = registry.line
    if len(devices) > MANY:
        from nvidia_runtime.store import index  # a look for each goes through the whole snapshot

        find = index.of(registry.data)
    for name in devices:
        fields = find(name)
        if fields is None:
            missing.append(name)
            continue
        number, text = fields
        if number not in origins:
            header = find("@" + number.decode())
            if header is None:
                raise ValueError("the snapshot lacks a spec")  # it is compiled anew
            origins[number] = header[0].decode()
            parts.append(Source("", origins[number], header[1].decode()))
        parts.append(Source(name, origins[number], text.decode()))
    if missing:
        from nvidia_runtime.sources import unresolvable  # the way to a helpful error may be slow

        raise unresolvable.explain(missing, registry.settings[SPEC_DIRS])
    return parts


def doubts(sources: list[Source]) -> list[str]:
    """Say which specs other users may change: what containers get is theirs to say then."""
    origins = dict.fromkeys(source.origin for source in sources if '"doubt":' in source.origin)
    said: list[str] = [document.loads(one.encode(), "snapshot")["doubt"] for one in origins]
    return [f"the CDI spec {text}" for text in said]


def misfit(sources: list[Source]) -> tuple[str, str]:
    """Return the spec file that no longer fits this machine, and a sentence why; or "" twice.

    A file that mounts a driver's libraries names its version; another one may be loaded by now,
    and what it lists may be gone.  Other vendors' files are theirs to keep.
    """
    loaded = ""
    for source in sources:
        if '"driver":' not in source.origin:
            continue
        origin = document.loads(source.origin.encode(), "snapshot")
        file: str = origin["file"]
        loaded = loaded or files.loaded_driver() or origin["driver"]
        if loaded != origin["driver"]:
            reason = f"is for driver {origin['driver']}, but {loaded} is loaded"
            return file, reason
        if origin.get("ours") and _exists(origin["lacks"]):
            return file, f"lacks {origin['lacks']}"  # written in the middle of an installation
        paths: list[str] = [mount["source"] for mount in source.edits.get("mounts", ())]
        for node in source.edits.get("devices", ()):
            path: str = node.get("hostPath", node["path"])
            if path.startswith("/dev/nvidia"):
                paths.append(path)
        for path in paths:
            try:
                posix.stat(path)
            except FileNotFoundError:
                return file, f"asks for {path}, which does not exist on this host"
            except (OSError, ValueError):
                continue  # the error comes where it is used
    return "", ""


def judge(sources: list[Source], warnings: list[str]) -> list[Source]:
    """Return the sources without the mounts that are not safe; say in ``warnings`` what is odd."""
    files_told = set()
    for source in sources:
        if '"lacks":' in source.origin and source.origin not in files_told:
            files_told.add(source.origin)
            origin = document.loads(source.origin.encode(), "snapshot")
            what = f"the CDI spec {origin['file']} lacks {origin['lacks']}"
            warnings.append(f"{what}: {files.NO_CUDA}")
    if any('"shared":' in source.origin for source in sources):
        from nvidia_runtime.sources import shared_mounts  # few specs have any

        return shared_mounts.check(sources, warnings)
    return sources


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def fill_nodes(edits: "Document", origin: str = "null") -> None:
    """Complete device nodes in place, with type, numbers and mode as they are on the host now.

    ``origin`` is a `Source`'s, for messages.

    Whatever a file says of majors may be of yesterday's driver.  A link is resolved.  A node that
    the host lacks is an error, unless the spec describes it fully.
    """
    nodes: "list[Document]" = edits.get("devices", ())
    for node in nodes:
        path: str = node.pop("hostPath", node["path"])
        try:
            status = posix.stat(path)
        except (OSError, ValueError) as error:
            # Numbers of NVIDIA's drivers are handed out anew at each boot: these may be another's.
            if not _is_complete(node) or path.startswith("/dev/nvidia"):
                raise _no_node(path, error, origin) from None
            node.setdefault("minor", 0)
            continue
        kind = KINDS.get(status.st_mode & 0o170000)
        if kind is None:
            if not _is_complete(node):
                raise NvidiaRuntimeError("is not a device node", where=path, hint=NODE_HINT)
            node.setdefault("minor", 0)
            continue
        said = node.setdefault("type", kind)
        if said != kind and not (said == "u" and kind == "c"):
            what = f"is a device node of type {kind}, not {said} as its CDI spec says"
            raise NvidiaRuntimeError(what, where=path, hint=NODE_HINT)
        if kind != "p":
            node["major"] = posix.major(status.st_rdev)
            node["minor"] = posix.minor(status.st_rdev)
        node.setdefault("fileMode", status.st_mode & 0o777)


NODE_HINT = "generate the CDI spec anew, or load the driver that makes the node"


def _is_complete(node: "Document") -> bool:
    """Whether a spec describes a node so fully that the host need not have it (CDI SPEC.md)."""
    kind = node.get("type")
    return kind == "p" or (kind is not None and bool(node.get("major")))


def _no_node(path: str, error: OSError | ValueError, origin: str) -> NvidiaRuntimeError:
    """Say that the host lacks a node, not in the C library's words.

    podman takes an error with "no such file or directory" in it for its own, and shows no more.
    """
    what = f"cannot be looked up on this host: {os_reason(error)}"
    hint = "" if isinstance(error, OSError) else NODE_HINT
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        what, hint = "does not exist on this host", NODE_HINT
    elif isinstance(error, PermissionError):
        hint = f"let user {posix.geteuid()} see it, and the folders above it"
    said = document.loads(origin.encode(), "snapshot")
    if said and "file" in said:
        what += f", but {said['file']} asks for it"
    return NvidiaRuntimeError(what, path, hint)
