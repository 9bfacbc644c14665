# SPDX-License-Identifier: Apache-2.0
"""Let a container's loader find libraries: ld.so.cache, and the files that name folders.

What ldconfig would do, without running it; what the image's own cache says is kept.  An ldconfig
that is run in the container later comes to the same result, for it finds the folders named.
"""

import errno

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import files, loader_cache, loader_config, resolver
from nvidia_runtime.rootfs.loader_config import CACHE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nvidia_runtime.rootfs.ldcache import Row
    from nvidia_runtime.rootfs.libraries import Budget
    from nvidia_runtime.rootfs.loader_cache import Others


class Loader:
    """A container's loader, with what was done for it, and what could not be.

    In the folder ``state`` merged caches are remembered, "" for nowhere.
    """

    __slots__ = ("_cached", "_state", "done", "root", "warnings")

    def __init__(
        self, root: resolver.Place, done: list[str], warnings: list[str], state: str = ""
    ) -> None:
        self.root = root
        self.done = done
        self.warnings = warnings
        self._state = state
        self._cached: loader_cache.ImageCache | None = None
        try:
            self._cached = loader_cache.read(root)
        except loader_cache.UnknownFormatError as error:
            warnings.append(f"{CACHE} is left as it is: {error}")

    def paths(self) -> frozenset[bytes]:
        """Return the paths of the libraries in the cache."""
        return self._cached.paths() if self._cached else frozenset()

    def is_new(self) -> bool:
        """Whether the image has no cache that says what its ld.so.conf names; musl has none.

        Without an ld.so.conf no cache says what is in ld.so.conf.d, which ours will include.
        """
        if self._cached is None:
            return False
        if self._cached.data:
            if loader_config.has_main(self.root):
                return False
            if not loader_config.read(self.root, (loader_config.OURS, loader_config.SYSTEM)):
                return False
        return not loader_config.has_musl(self.root)

    def update(
        self,
        folders: list[str],
        rows: "list[Row]",
        gone: "Sequence[bytes]" = (),
        *,
        others: "Others | None" = None,
        system: bool = False,
    ) -> None:
        """Add rows to the cache, take the paths ``gone`` out, and name the folders.

        One of both is enough for the loader, and none for folders that it searches by itself;
        raises `NvidiaRuntimeError` where neither can be had.
        """
        reason = self._add(rows, gone, others)
        try:
            self._name(folders, rows, system=system)
        except (OSError, ValueError) as error:
            own = loader_config.system_folders(self.root)
            new = [folder for folder in folders if folder not in own]
            if reason and new:
                raise _untold(f"{reason}; {loader_config.FOLDER}: {os_reason(error)}") from None
            self.warnings.append(f"{loader_config.FOLDER} cannot be written: {os_reason(error)}")

    def _add(self, rows: "list[Row]", gone: "Sequence[bytes]", others: "Others | None") -> str:
        """Write the cache; return the reason where that is impossible."""
        if self._cached is None:
            return "its format is unknown"
        try:
            if loader_cache.add(
                self.root, self._cached, rows, gone, others=others, state=self._state
            ):
                self.done.append(f"added {len(rows)} libraries to {CACHE}")
        except OSError as error:
            self.warnings.append(f"{CACHE} cannot be written: {os_reason(error)}")
            return os_reason(error)
        if self._cached.trouble:
            self.warnings.append(f"{CACHE} was made anew: {self._cached.trouble}")
        return ""

    def _name(self, folders: list[str], rows: "list[Row]", *, system: bool) -> None:
        """Name the folders that the image's own ldconfig would not look at, and musl's loader.

        With ``system``, those that the image's searches by itself too, as the toolkit's hook does.
        """
        own = loader_config.system_folders(self.root)
        new = [folder for folder in folders if folder not in own]
        if new:
            ours = loader_config.OURS, loader_config.SYSTEM
            named = loader_config.read(self.root, skipped=ours)
            new = [folder for folder in new if folder not in named]
        if new and loader_config.extend(self.root, loader_config.OURS, new):
            self.done.append(f"wrote {loader_config.FOLDER}/{loader_config.OURS}")
        if system:
            loader_config.write(self.root, loader_config.SYSTEM, own)
        if (new or system) and loader_config.include(self.root):
            self.done.append(f"wrote {loader_config.MAIN}")
        elsewhere = [folder for folder in folders if folder not in loader_config.MUSL_FOLDERS]
        if not elsewhere or not loader_config.has_musl(self.root):
            return
        elsewhere = _native(elsewhere, rows)
        if loader_config.write_musl(self.root, elsewhere, own if system else ()):
            self.done.append("named the folders to musl's loader")

    def scan(self, folders: list[str]) -> "list[Row]":
        """Return the rows of folders' libraries; CUDA's compatibility libraries come first.

        Libraries of the image's that its cache has are left alone, but for those in front.
        """
        from nvidia_runtime.rootfs.libraries import Budget

        budget = Budget()
        compat = loader_config.read_compat(self.root)
        paths = self.paths()
        rows: list[Row] = []
        for folder in folders:
            if folder not in compat:
                rows += self.scan_folder(folder, paths, budget)
        first: list[Row] = []
        for folder in compat:
            first += self.scan_folder(folder, frozenset(), budget)
        return first + rows

    def scan_folder(
        self,
        folder: str,
        cached: frozenset[bytes] = frozenset(),
        budget: "Budget | None" = None,
    ) -> "list[Row]":
        """Return the rows of a folder's libraries, after making their links.

        Libraries of which ``cached`` has the path are left alone, and those beyond the budget.
        """
        from nvidia_runtime.rootfs import libraries  # a create seldom looks into folders

        budget = budget or libraries.Budget()
        left = budget.files
        try:
            rows, links = libraries.scan(self.root, folder, cached, budget)
        except (FileNotFoundError, NotADirectoryError):
            return []
        linked: list[tuple[str, str]] = []
        if links:
            with resolver.walk(self.root, folder) as place:
                linked = [link for link in links if self.link(place, folder, *link)]
        # libcuda.so led nowhere before libcuda.so.1 was there.
        again = min(left - budget.files + len(linked), libraries.MOST_FILES)
        if linked and again <= budget.files:
            rows = libraries.scan(self.root, folder, cached, budget)[0]
        return rows

    def others(self, view: resolver.Place, suspects: list[str], rows: "list[Row]") -> "Others":
        """Return what mounts change besides; ``view`` is the root with all of them."""
        from nvidia_runtime.rootfs import mounted_libraries  # few containers have volumes

        image = mounted_libraries.Image(view, self.paths, self._link_in, is_new=self.is_new())
        return mounted_libraries.find(image, suspects, {path for _, _, path in rows})

    def _link_in(self, folder: str, name: str, target: str) -> None:
        with resolver.walk(self.root, folder, make=True) as place:
            self.link(place, folder, name, target)

    def link(self, place: resolver.Place, folder: str, name: str, target: str) -> bool:
        """Make a link of the loader's; say whether it is new.  A read-only volume stays so."""
        try:
            if not (files.is_free(place, name) and files.link(place, name, target)):
                return False
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            self.warnings.append(
                f"{folder}/{name} cannot be linked to {target}: {os_reason(error)}"
            )
            return False
        self.done.append(f"linked {folder}/{name} to {target}")
        return True


def _native(folders: list[str], rows: "list[Row]") -> list[str]:
    """Leave out the folders whose libraries are all for i386.

    musl's loader takes the first file of a name, and fails if it is for another processor.
    """
    from nvidia_runtime.rootfs import elf  # few images have musl

    flags: dict[bytes, set[int]] = {}
    for _, kind, path in rows:
        flags.setdefault(path.rpartition(b"/")[0], set()).add(kind)
    return [folder for folder in folders if flags.get(resolver.encode(folder)) != {elf.I386}]


def update(root: resolver.Place, folders: list[str], warnings: list[str]) -> list[str]:
    """Do for folders of a container what ldconfig would; say what was done."""
    from nvidia_runtime.rootfs import mounted_libraries  # for a hook

    done: list[str] = []
    folders = loader_config.clean_all(folders)
    try:
        loader = Loader(root, done, warnings)
        rows = loader.scan(folders)
        suspects = mounted_libraries.suspects_of_hook(root, folders)
        others = loader.others(root, suspects, rows)
        if loader.is_new():  # the image's own rows are among those of our folders
            rows, others.rows = others.in_order(rows), []
        loader.update(folders, rows, others=others, system=True)
    except (OSError, ValueError) as error:
        raise _untold(os_reason(error)) from None
    return done


def _untold(reason: str) -> NvidiaRuntimeError:
    what = f"the loader's cache cannot be updated: {reason}"
    hint = f"let it be written in the container, or {loader_config.FOLDER}"
    return NvidiaRuntimeError(what, where=CACHE, hint=hint)
