# SPDX-License-Identifier: Apache-2.0
"""A container's root as it will be: what the mounts of its spec and of its edits will change."""

from nvidia_runtime.errors import os_reason
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.oci import edit
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.rootfs.coming_mounts import EMPTY, ComingMounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document


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
    source, options = mount.get("source"), mount.get("options")
    words = options if type(options) is list else []
    is_bind = mount.get("type") in ("bind", "rbind") or "bind" in words or "rbind" in words
    # Documents of ours do not say the type.
    is_bind = is_bind or (mount.get("type") is None and type(source) is str and source[:1] == "/")
    if not is_bind or type(source) is not str or not source or "\0" in source:
        return EMPTY
    return source if source[:1] == "/" else f"{bundle}/{source}"


def _is_read_only(mount: "Document") -> bool:
    options = mount.get("options")
    return type(options) is list and ("ro" in options or "rro" in options)
