# SPDX-License-Identifier: Apache-2.0
"""A container's root as it will be: what the mounts of its spec and of its edits will change."""

import posix

from nvidia_runtime.errors import os_reason
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.oci import edit
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.rootfs.coming_mounts import EMPTY, ComingMounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

_TYPE, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000


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
    elif resolver.is_hosts(root):
        reason = "is the host's own"
    if reason:
        posix.close(root.descriptor)
        raise NotContainersError(reason)
    return root


class Survey:
    """The ``mounts`` in the order in which they will be made, and what is ``coming`` by them."""

    __slots__ = ("_missing", "_read_only", "_resolved", "_root", "coming", "mounts")

    def __init__(
        self, root: resolver.Place, spec: "Document", edits: "list[Document]", bundle: str = ""
    ) -> None:
        self.coming = ComingMounts()
        self._root = resolver.Place(root.descriptor, "/", self.coming)
        self._resolved = {"": ""}
        self._missing: set[str] = set()
        self._read_only: set[str] = set()
        added = [mount for change in edits for mount in change.get("mounts", ())]
        self.mounts = _in_order(oci_bundle.mounts(spec), added)
        files = {id(mount) for mount in added}  # most of them: many in few folders
        for mount in self.mounts:
            if "tmpcopyup" in _options(mount):
                continue  # what is there is copied into it
            path: str = mount["destination"]
            place = self._resolve(path) if id(mount) in files else self.follow(path) or "/"
            self.coming.add(place, _source(mount, bundle))
            if _is_read_only(mount):
                self._read_only.add(place)

    def _resolve(self, path: str) -> str:
        """Return a path as the container sees it, with the links of its folder followed."""
        folder, _, name = path.rstrip("/").rpartition("/")
        return f"{self.follow(folder)}/{name}"

    def cover(self, path: str) -> str:
        """Return the mount that will hide what is written to a path, "" for none."""
        place = self._resolve(path)
        while len(place) > 1:
            if place in self.coming.sources:
                return place
            place = place.rpartition("/")[0]
        return ""

    def is_given(self, path: str) -> bool:
        """Whether a folder has something of the host's: it, a folder above or a name in it."""
        place = self._resolve(path)
        if any(self.coming.names(place)):
            return True
        return bool(self.coming.sources.get(self.cover(path)))

    def refusal(self, path: str) -> str:
        """Say why no file of ours can be mounted at a path, "" if it can, or a volume decides."""
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

    def follow(self, path: str) -> str:
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
            resolved = f"{self.follow(parent)}/{name}"
        self._resolved[path] = resolved
        return resolved


def _in_order(present: "list[Document]", added: "list[Document]") -> "list[Document]":
    """Return all mounts as `edit.apply` will leave them, but for those that will be replaced."""
    if not added:
        return present
    return sorted(present + added, key=edit.depth)


def _source(mount: "Document", bundle: str) -> str:
    """Return what a mount will show, `EMPTY` for all but files and folders of the host's."""
    source, words = mount.get("source"), _options(mount)
    is_bind = mount.get("type") in ("bind", "rbind") or "bind" in words or "rbind" in words
    # Documents of ours do not say the type.
    is_bind = is_bind or (mount.get("type") is None and type(source) is str and source[:1] == "/")
    if not is_bind or type(source) is not str or not source or "\0" in source:
        return EMPTY
    return source if source[:1] == "/" else f"{bundle}/{source}"


def _is_read_only(mount: "Document") -> bool:
    words = _options(mount)
    return "ro" in words or "rro" in words


def _options(mount: "Document") -> list[object]:
    options = mount.get("options")
    return options if type(options) is list else []
