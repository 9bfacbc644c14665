# SPDX-License-Identifier: Apache-2.0
"""A container as it will be: all mounts, its own and ours, and where in it they will lie."""

import posix

from nvidia_runtime.errors import os_reason
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.oci import edit
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.rootfs.coming_mounts import EMPTY, ComingMounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nvidia_runtime.document import Document

_TYPE, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000
# Folders that are open at once, of the thousand descriptors that a process has.
MOST_OPEN = 128


class Survey:
    """The ``mounts`` in the order in which they will be made, and what is ``coming`` by them.

    Folders stay open while it is entered: most mounts lie in few.
    """

    __slots__ = ("_folders", "_missing", "_read_only", "_resolved", "_root", "coming", "mounts")

    def __init__(
        self, root: resolver.Place, spec: "Document", edits: "list[Document]", bundle: str = ""
    ) -> None:
        self.coming = ComingMounts()
        self._root = resolver.Place(root.descriptor, "/", self.coming)
        self._resolved = {"": ""}
        # By the paths without links: descriptors, and what is not there.
        self._folders = {"": root.descriptor}
        self._missing: set[str] = set()
        self._read_only: set[str] = set()
        added = [mount for change in edits for mount in change.get("mounts", ())]
        self.mounts = _in_order(oci_bundle.mounts(spec), added)
        files = {id(mount) for mount in added}  # most of them: many in few folders
        for mount in self.mounts:
            options = mount.get("options")
            words = options if type(options) is list else ()
            if "tmpcopyup" in words:
                continue  # what is there is copied into it
            path: str = mount["destination"]
            place = self._resolve(path) if id(mount) in files else self.follow(path) or "/"
            self._add(place, _source(mount, words, bundle))
            if "ro" in words or "rro" in words:
                self._read_only.add(place)

    def __enter__(self) -> "Survey":
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self._folders)[1:]:
            self._close(path)

    def _close(self, path: str) -> None:
        descriptor = self._folders.pop(path)
        if descriptor >= 0:
            posix.close(descriptor)

    def _add(self, place: str, source: str) -> None:
        """Let something be mounted; from now on it is what is there."""
        self.coming.add(place, source)
        self._missing.discard(place)
        if place in self._folders:
            for path in list(self._folders)[1:]:
                if f"{path}/".startswith(f"{place}/"):
                    self._close(path)

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
        above = self.follow(parent)
        resolved = f"{above}/{name}"
        if above in self._missing:
            self._missing.add(resolved)
        else:
            try:
                resolved = self._enter(above, name)
            except (OSError, ValueError):
                self._missing.add(resolved)
        self._resolved[path] = resolved
        return resolved

    def _enter(self, folder: str, name: str) -> str:
        """Follow a name in a folder that has no links; raises `OSError` where it is not there."""
        path = f"{folder}/{name}"
        above = self._folders.get(folder)
        if above is not None and name not in (".", ".."):
            opened = resolver.open_below(self.coming, above, path, resolver.encode(name))
            kind = posix.fstat(opened).st_mode & _TYPE if opened >= 0 else _DIRECTORY
            if kind == _DIRECTORY:
                return self._keep(path, opened)
            posix.close(opened)
            if kind != _LINK:
                return path
        place = resolver.walk(self._root, path)
        return self._keep(place.path.rstrip("/"), place.descriptor)

    def _keep(self, path: str, descriptor: int) -> str:
        """Keep a folder open if the one above it is, so that a mount on that ends both."""
        is_below = path.rpartition("/")[0] in self._folders
        if is_below and path not in self._folders and len(self._folders) < MOST_OPEN:
            self._folders[path] = descriptor
        elif descriptor >= 0:
            posix.close(descriptor)
        return path


def _in_order(present: "list[Document]", added: "list[Document]") -> "list[Document]":
    """Return all mounts as `edit.apply` will leave them, but for those that will be replaced."""
    if not added:
        return present
    return sorted(present + added, key=edit.depth)


def _source(mount: "Document", words: "Sequence[object]", bundle: str) -> str:
    """Return what a mount will show, `EMPTY` for all but files and folders of the host's."""
    source, kind = mount.get("source"), mount.get("type")
    if type(source) is not str or not source or "\0" in source:
        return EMPTY
    is_absolute = source[:1] == "/"
    # Documents of ours do not say the type.
    is_ours = kind is None and is_absolute
    if is_ours or kind in ("bind", "rbind") or "bind" in words or "rbind" in words:
        return source if is_absolute else f"{bundle}/{source}"
    return EMPTY
