# SPDX-License-Identifier: Apache-2.0
"""A container's root before it is one: where paths lead, and what mounts will cover."""

from nvidia_runtime.rootfs import resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document


class Survey:
    """A container's root as it will be: what of it the mounts of its spec are going to cover."""

    __slots__ = ("_missing", "_resolved", "covered", "root")

    def __init__(self, root: resolver.Place, spec: "Document", edits: "list[Document]") -> None:
        self.root = root
        self._resolved = {"": ""}
        self._missing: set[str] = set()
        mounts = [mount for mount in spec.get("mounts") or () if type(mount) is dict]
        paths = [mount.get("destination") for mount in mounts]
        self.covered = {self._follow(path) or "/" for path in paths if type(path) is str}
        for mount in mounts_of(edits):  # files, most of them: many in few folders
            self.covered.add(self.resolve(mount["destination"]))

    def resolve(self, path: str) -> str:
        """Return a path as the container sees it, with the links of its folder followed."""
        folder, _, name = path.rstrip("/").rpartition("/")
        return f"{self._follow(folder)}/{name}"

    def cover(self, path: str) -> str:
        """Return the mount that will hide what is written to a path, "" for none."""
        place = self.resolve(path)
        while len(place) > 1:
            if place in self.covered:
                return place
            place = place.rpartition("/")[0]
        return ""

    def _follow(self, path: str) -> str:
        """Follow all links of a path, as far as it exists; the root is ""."""
        path = path.rstrip("/")
        resolved = self._resolved.get(path)
        if resolved is not None:
            return resolved
        parent, _, name = path.rpartition("/")
        if parent not in self._missing:
            try:
                with resolver.walk(self.root, path) as place:
                    resolved = place.path.rstrip("/")
            except (OSError, ValueError):
                pass
        if resolved is None:
            self._missing.add(path)
            resolved = f"{self._follow(parent)}/{name}"
        self._resolved[path] = resolved
        return resolved


def mounts_of(edits: "list[Document]") -> "list[Document]":
    """List the mounts among edits."""
    return [mount for edit in edits for mount in edit.get("mounts", ())]
