# SPDX-License-Identifier: Apache-2.0
"""Let a container's loader find libraries: links by soname, ld.so.cache, and the folders by name.

What ldconfig would do for folders, without running it; what the image's own cache says is kept.
Ring: create, where it is used.
"""

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import files, libraries, loader_cache, loader_config, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.rootfs.ldcache import Row


def update(root: resolver.Place, folders: list[str], warnings: list[str]) -> list[str]:
    """Do for folders of a container what ldconfig would; say what was done.

    An ldconfig that is run in the container later comes to the same result: the folders are
    named in ld.so.conf.d, and those that the container's own searches as well, in case the
    host's is run.
    """
    try:
        return _update(root, folders, warnings)
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        raise NvidiaRuntimeError(f"the loader's cache cannot be updated: {reason}") from None


def _update(root: resolver.Place, folders: list[str], warnings: list[str]) -> list[str]:
    done: list[str] = []
    system = loader_config.system_folders(root)
    wanted = list(dict.fromkeys(filter(None, map(loader_config.clean, folders))))
    compat = loader_config.read_compat(root)
    named = _read_others(root)
    new = [folder for folder in wanted if folder not in system and folder not in named]
    try:
        known: loader_cache.Known | None = loader_cache.read(root)
    except loader_cache.UnknownFormatError as error:
        warnings.append(f"/etc/ld.so.cache is left as it is: {error}")
        known = None
    rows: list[Row] = []
    paths = known.paths() if known else frozenset()
    budget = libraries.Budget()
    for folder in wanted:
        if folder not in compat:
            rows += scan(root, folder, paths, done, budget)
    first: list[Row] = []
    for folder in compat:  # the image's cache may have it, but not in front
        first += scan(root, folder, frozenset(), done, budget)
    rows = first + rows
    if loader_config.include(root):
        done.append("wrote /etc/ld.so.conf")
    if new and loader_config.extend(root, loader_config.OURS, new):
        done.append(f"wrote {loader_config.FOLDER}/{loader_config.OURS}")
    loader_config.write(root, loader_config.SYSTEM, system)
    if loader_config.is_alpine(root):
        loader_config.write_musl(root, wanted, [*system, *_local(root)])
    if known and loader_cache.add(root, known, rows):
        done.append(f"added {len(rows)} libraries to /etc/ld.so.cache")
    if known and known.trouble:
        warnings.append(f"/etc/ld.so.cache was made anew: {known.trouble}")
    return done


def _read_others(root: resolver.Place) -> list[str]:
    """List the folders that the image names, besides those that we have written."""
    return loader_config.read(root, skipped=(loader_config.OURS, loader_config.SYSTEM))


def _local(root: resolver.Place) -> list[str]:
    """Return /usr/local/lib, which musl searches too, where the image has one."""
    try:
        with resolver.walk(root, "/usr/local/lib"):
            return ["/usr/local/lib"]
    except (OSError, ValueError):
        return []


def scan(
    root: resolver.Place,
    folder: str,
    known: frozenset[bytes],
    done: list[str],
    budget: libraries.Budget | None = None,
) -> "list[Row]":
    """Return the rows of a folder's libraries, after making their links; a missing one has none.

    Libraries of which ``known`` has the path are left alone, and those beyond the budget.
    """
    budget = budget or libraries.Budget()
    left = budget.files
    try:
        rows, links = libraries.scan(root, folder, known, budget)
    except (FileNotFoundError, NotADirectoryError):
        return []
    made = []
    if links:
        with resolver.walk(root, folder) as place:
            made = [
                f"linked {folder}/{soname} to {target}"
                for soname, target in links
                if files.is_free(place, soname) and files.link(place, soname, target)
            ]
    # libcuda.so led nowhere before libcuda.so.1 was there.
    again = min(left - budget.files + len(made), libraries.MOST_FILES)
    if made and again <= budget.files:
        rows = libraries.scan(root, folder, known, budget)[0]
    done += made
    return rows
