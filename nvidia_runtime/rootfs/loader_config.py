# SPDX-License-Identifier: Apache-2.0
"""Where a container's loader looks: ld.so.conf with what it includes, and musl's path file."""

import posix

from nvidia_runtime.rootfs import files, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CACHE = "/etc/ld.so.cache"
MAIN = "/etc/ld.so.conf"
FOLDER = "/etc/ld.so.conf.d"
INCLUDE = b"include /etc/ld.so.conf.d/*.conf\n"
OURS = "00-nvcr.conf"
COMPAT = "00-compat.conf"
# The toolkit's hooks give theirs random names; both come before ours.
COMPAT_PREFIX = "00-compat"
SYSTEM = "zz-nvcr.conf"
# Deeper, more and larger than any distribution's: an image may include itself.
DEEPEST = 8
MOST_FILES = 256
LARGEST = 64 << 10
# Over all files together, for each has room for thousands: patterns of which a folder is listed,
# the names in these, folders, and bytes.
MOST_PATTERNS = 256
MOST_NAMES = 64 << 10
MOST_FOLDERS = 1000
MOST_BYTES = 1 << 20
# Each is scanned; the toolkit's hook names one.
MOST_COMPAT = 4
# What musl searches without a path file, which replaces these.
MUSL_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib")
MULTIARCH = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
MUSL = {"x86_64": "x86_64", "aarch64": "aarch64", "i686": "i386", "armv7l": "armhf"}
# glibc's loader, as the ABI of each machine names it.
GLIBC = {
    "x86_64": "/lib64/ld-linux-x86-64.so.2",
    "aarch64": "/lib/ld-linux-aarch64.so.1",
    "i686": "/lib/ld-linux.so.2",
    "armv7l": "/lib/ld-linux-armhf.so.3",
}


def system_folders(root: resolver.Place) -> list[str]:
    """List the folders that the container's glibc searches by itself."""
    machine = posix.uname().machine
    if _is_file(root, "/etc/debian_version"):
        name = MULTIARCH.get(machine, f"{machine}-linux-gnu")
        return [f"/lib/{name}", f"/usr/lib/{name}", "/lib", "/usr/lib"]
    folders = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]
    return folders + (["/libx32", "/usr/libx32"] if machine == "x86_64" else [])


def read(root: resolver.Place, skipped: tuple[str, ...] = ()) -> list[str]:
    """List the folders that ld.so.conf names, with those of the files that it includes.

    Files of the names in ``skipped`` are left out.
    """
    reading = _Reading(root, skipped)
    if not reading.read(MAIN, DEEPEST) and not has_main(root):  # one will be made, including them
        reading.include(f"{FOLDER}/*.conf", DEEPEST)
    return list(reading.folders)


def has_main(root: resolver.Place) -> bool:
    """Whether there is an ld.so.conf."""
    return _type(root, MAIN) != 0


def read_compat(root: resolver.Place) -> list[str]:
    """List the folders of CUDA's compatibility libraries that were put in front of all."""
    reading = _Reading(root, (), MOST_COMPAT)
    reading.include(f"{FOLDER}/{COMPAT_PREFIX}*.conf", 0)
    return list(reading.folders)


class _Reading:
    """What was read so far, and how much may still be."""

    __slots__ = ("bytes", "files", "folders", "most", "names", "patterns", "root", "skipped")

    def __init__(
        self, root: resolver.Place, skipped: tuple[str, ...], most: int = MOST_FOLDERS
    ) -> None:
        self.root = root
        self.skipped = skipped
        self.most = most
        self.files = MOST_FILES
        self.patterns = MOST_PATTERNS
        self.names = MOST_NAMES
        self.bytes = MOST_BYTES
        self.folders: dict[str, None] = {}

    def read(self, path: str, depth: int) -> bool:
        """Collect the folders of one file; what cannot be read is empty, as for ldconfig.

        Says whether it was read.
        """
        self.files -= 1
        folder, _, name = path.rpartition("/")
        if self.files < 0 or self.bytes <= 0 or name in self.skipped:
            return False
        try:
            with resolver.walk(self.root, path) as place:
                data = files.read_place(place, LARGEST)
        except (OSError, ValueError):
            return False
        self.bytes -= len(data)
        for line in data.decode("utf-8", "surrogateescape").split("\n"):
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                for pattern in words[1:] if depth else ():
                    below = pattern if pattern[:1] == "/" else f"{folder}/{pattern}"
                    self.include(below, depth - 1)
            elif words and words[0] != "hwcap":
                named = clean(" ".join(words).partition("=")[0])
                if named and len(self.folders) < self.most:
                    self.folders[named] = None
        return True

    def include(self, pattern: str, depth: int) -> None:
        """Read the files that a pattern matches, in the order of names."""
        self.patterns -= 1
        if self.patterns < 0:
            return
        folder, _, name = pattern.rpartition("/")
        for file in self.matching(folder, name) if "*" in name else (name,):
            self.read(f"{folder}/{file}", depth)

    def matching(self, folder: str, pattern: str) -> list[str]:
        """List the names in a folder that match a pattern, of which only ``*`` is understood."""
        if self.names <= 0:
            return []
        try:
            with resolver.walk(self.root, folder) as place:
                names = place.names()
        except (OSError, ValueError):
            return []
        self.names -= len(names)
        return _matching(names, pattern)


def _matching(names: list[str], pattern: str) -> list[str]:
    first, _, last = pattern.partition("*")
    return [
        name
        for name in names[: 16 * MOST_FILES]
        if name[:1] != "."
        and name.startswith(first)
        and name.endswith(last)
        and len(name) >= len(pattern) - 1
    ][:MOST_FILES]


def clean(folder: str) -> str:
    """Return a folder without doubled or trailing slashes, "" for anything but an absolute path."""
    if folder[:1] != "/" or any(letter in folder for letter in "\0\n"):
        return ""
    return "/" + "/".join(part for part in folder.split("/") if part not in ("", "."))


def clean_all(folders: "Iterable[str]") -> list[str]:
    """Return cleaned folders, each once, without those that are not absolute paths."""
    return list(dict.fromkeys(filter(None, map(clean, folders))))


def write(
    root: resolver.Place, name: str, folders: list[str], mode: int = resolver.FOLDER_MODE
) -> bool:
    """Write a file of folders into ld.so.conf.d, which is made; say whether anything changed."""
    with resolver.walk(root, FOLDER, make=True, mode=mode) as place:
        return files.replace(place, name, _lines(folders))


def extend(root: resolver.Place, name: str, folders: list[str]) -> bool:
    """Add folders to a file of ours in ld.so.conf.d, which an earlier hook may have written."""
    reading = _Reading(root, ())
    reading.read(f"{FOLDER}/{name}", 0)
    return write(root, name, list(dict.fromkeys([*reading.folders, *folders])))


def remove(root: resolver.Place, name: str) -> list[str]:
    """Take a file of ours out of ld.so.conf.d; return the folders that it named, a few at most."""
    reading = _Reading(root, (), MOST_COMPAT)
    reading.read(f"{FOLDER}/{name}", 0)
    if reading.folders:
        with resolver.walk(root, FOLDER) as place:
            posix.unlink(name, dir_fd=place.descriptor)
    return list(reading.folders)


def include(root: resolver.Place) -> bool:
    """Write an ld.so.conf that includes ld.so.conf.d, if there is no ld.so.conf."""
    with resolver.walk(root, "/etc", make=True) as etc:
        if _exists(etc, "ld.so.conf"):
            return False
        return files.replace(etc, "ld.so.conf", INCLUDE)


def has_musl(root: resolver.Place) -> bool:
    """Whether musl is the container's C library: an Alpine Linux, or its loader without glibc's.

    Beside glibc, as Debian's package brings it, musl's programs would find glibc's libraries.
    """
    if _is_file(root, "/etc/alpine-release"):
        return True
    glibc = GLIBC.get(posix.uname().machine, "")
    return _is_file(root, f"/lib/{_musl()}.so.1") and not (glibc and _is_file(root, glibc))


def write_musl(root: resolver.Place, folders: list[str], more: "Sequence[str]") -> bool:
    """Name folders in musl's path file; say whether anything changed.

    What the image's file names stays in front.  A new one replaces the folders that musl searches
    by itself, so these are named too.  ``more`` are for a hook to do as the toolkit's does: it
    adds glibc's folders, and /usr/local/lib only where it exists.
    """
    name = f"{_musl()}.path"
    own = [name for name in MUSL_FOLDERS if not more or name in more or _type(root, name)]
    with resolver.walk(root, "/etc", make=True) as etc:
        try:
            present = files.read(etc, name, LARGEST).decode("utf-8", "surrogateescape")
        except OSError:
            present = ""
        old = [folder for folder in present.replace(":", "\n").split("\n") if folder]
        wanted = list(dict.fromkeys(old or [*folders, *own, *more]))
        wanted += [folder for folder in folders if folder not in wanted]
        return wanted != old and files.replace(etc, name, _lines(wanted))


def _musl() -> str:
    """Return the name of musl's loader for this machine, without its suffix."""
    machine = posix.uname().machine
    return f"ld-musl-{MUSL.get(machine, machine)}"


def _lines(folders: list[str]) -> bytes:
    return resolver.encode("".join(f"{folder}\n" for folder in folders))


def _is_file(root: resolver.Place, path: str) -> bool:
    """Whether a path leads to anything but a folder."""
    return _type(root, path) not in (0, 0o040000)


def _type(root: resolver.Place, path: str) -> int:
    """Return the type of what a path leads to, as in its mode, 0 where that is nothing."""
    try:
        with resolver.walk(root, path) as place:
            return place.status().st_mode & 0o170000
    except (OSError, ValueError):
        return 0


def _exists(folder: resolver.Place, name: str) -> bool:
    try:
        posix.stat(resolver.encode(name), dir_fd=folder.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
