# SPDX-License-Identifier: Apache-2.0
"""Libraries that mounts bring, or hide, in the folders that a container's loader is told of.

The cache then has what an ldconfig that is run after the mounts would find: the folders that the
mounts change are looked through, the image's cache is believed for all others.  An image without a
cache is looked through as a whole.
"""

from nvidia_runtime.rootfs import coming_mounts, libraries, loader_config, resolver
from nvidia_runtime.rootfs.loader_cache import Others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.rootfs.ldcache import Row

_TYPE, _DIRECTORY = 0o170000, 0o040000


class Image:
    """An image with all that is mounted in it.

    ``paths`` returns those in its cache, which takes a while; ``link`` makes a link in a folder of
    its own.
    """

    __slots__ = ("is_new", "link", "paths", "view")

    def __init__(
        self,
        view: resolver.Place,
        paths: "Callable[[], frozenset[bytes]]",
        link: "Callable[[str, str, str], object]",
        *,
        is_new: bool,
    ) -> None:
        self.view = view
        self.paths = paths
        self.link = link
        self.is_new = is_new


def suspects_of_hook(root: resolver.Place, folders: list[str]) -> list[str]:
    """List the mounts that may change a folder of libraries, where they are made already.

    But for libraries in ``folders``, in which the hook looks anyway.
    """
    from nvidia_runtime.rootfs import mounts  # in a hook

    return [
        path
        for path in mounts.below(root)
        if coming_mounts.may_change(path, folders)
        and (coming_mounts.is_library(path) or _has_folder(root, path))
    ]


def _has_folder(root: resolver.Place, path: str) -> bool:
    try:
        with resolver.walk(root, path) as place:
            return place.status().st_mode & _TYPE == _DIRECTORY
    except (OSError, ValueError):
        return False


def find(image: Image, suspects: list[str], present: set[bytes]) -> Others:
    """Look through the folders that mounts change; ``present`` are paths that need nothing.

    The links that ldconfig would make are made, but not in a volume: there the row names the file.
    """
    others = Others()
    if not (suspects or image.is_new):
        return others
    view = image.view
    budget = libraries.Budget()
    seen: set[str] = set()
    paths: frozenset[bytes] | None = None
    order = loader_config.read(view) + loader_config.system_folders(view)
    for rank, folder in enumerate(dict.fromkeys(order)):
        others.ranks[resolver.encode(folder)] = rank
        try:
            with resolver.walk(view, folder) as place:
                real = place.path
                is_changed = image.is_new or _is_changed(real, suspects)
        except (OSError, ValueError):  # what was there before is hidden, or nothing was
            real, is_changed = folder, _was_there(view, folder)
        if real in seen or not is_changed:
            continue
        seen.add(real)
        rows = _scan(image, folder, budget, is_covered=_is_covered(real, suspects))
        others.rows += [row for row in rows if row[2] not in present]
        paths = image.paths() if paths is None else paths
        kept = present | {path for _, _, path in rows}
        start = resolver.encode(folder) + b"/"
        others.gone += [
            path
            for path in paths
            if path.startswith(start) and b"/" not in path[len(start) :] and path not in kept
        ]
    # The row of what has no rank, for it is named in a file of ours, comes behind these.
    others.ranks |= {resolver.encode(folder): -2 for folder in loader_config.read_compat(view)}
    return others


def _was_there(view: resolver.Place, folder: str) -> bool:
    """Whether the image has a folder itself; where its mounts are made already, nobody can tell."""
    if not view.mounts:
        return True
    try:
        with resolver.walk(resolver.Place(view.descriptor, "/"), folder):
            return True
    except (OSError, ValueError):
        return False


def _is_changed(folder: str, suspects: list[str]) -> bool:
    """Whether a mount is, lies above, or is a library in a folder."""
    return any(
        f"{folder}/".startswith(f"{path}/") or path.rpartition("/")[0] == folder
        for path in suspects
    )


def _is_covered(folder: str, suspects: list[str]) -> bool:
    return any(f"{folder}/".startswith(f"{path}/") for path in suspects)


def _scan(image: Image, folder: str, budget: libraries.Budget, *, is_covered: bool) -> "list[Row]":
    """Return the rows of a folder's libraries; make the links by soname that it lacks."""
    try:
        rows, links = libraries.scan(image.view, folder, frozenset(), budget)
    except (OSError, ValueError):
        return []
    if is_covered:
        targets = {resolver.encode(soname): target for soname, target in links}
        start = resolver.encode(folder) + b"/"
        return [
            (name, flags, start + resolver.encode(targets[name]) if name in targets else path)
            for name, flags, path in rows
        ]
    for soname, target in links:
        image.link(folder, soname, target)
    return rows
