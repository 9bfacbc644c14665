# SPDX-License-Identifier: Apache-2.0
"""What the host's libraries say of themselves, remembered: sonames are read once for each file.

A library's line in our state folder is believed while the file's stamp is the same.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files as regular
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.store import files, lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fact = tuple[bytes, int]

NAME = "libraries"
# A driver has some 60; more than these are of drivers that are gone.
MOST, FEW = 1000, 100
LARGEST = 512 << 10
_NONE = -1


class Facts:
    """The libraries that are remembered, and those that were read now."""

    __slots__ = ("_lines", "_new", "_state")

    def __init__(self, state: str) -> None:
        self._state = state
        self._new = False
        self._lines: "dict[str, list[Any]]" = {}
        if state:
            try:
                data = document.loads(lines.opened(files.read_own(f"{state}/{NAME}")), NAME)
                self._lines = data if type(data) is dict else {}
            except (OSError, ValueError, NvidiaRuntimeError):
                pass

    def identify(self, path: str) -> "Fact | None":
        """Return a library's soname, b"" without one, and its flags; ``None`` for another file."""
        stamp = files.stamp(path)
        if stamp is None:
            return None  # the low-level runtime will say so
        line = self._lines.get(path)
        if not line or line[:5] != stamp:
            line = self._lines[path] = [*stamp, *_read(path)]
            self._new = True
        return (resolver.encode(line[5]), line[6]) if line[6] != _NONE else None

    def write(self) -> None:
        """Remember what was read; it is only for speed, so a failure is ignored."""
        if not (self._new and self._state):
            return
        last = list(self._lines.items())
        for most in (MOST, FEW):  # an image's paths may be as long as it likes
            data = document.dumps(dict(last[-most:]))
            if len(data) <= LARGEST:
                break
        try:
            files.replace(f"{self._state}/{NAME}", lines.seal(data.decode()).encode())
        except OSError:
            pass


def _read(path: str) -> tuple[str, int]:
    from nvidia_runtime.rootfs import elf  # the first time

    try:
        # A user's own mount may be meant, and be anything: see `open_place`.
        with resolver.Place(posix.open(resolver.encode(path), posix.O_PATH), path) as place:
            descriptor = regular.open_place(place)
    except (OSError, ValueError):
        return "", _NONE
    try:
        library = elf.identify(descriptor)
    finally:
        posix.close(descriptor)
    if library is None:
        return "", _NONE
    return library.soname.decode("utf-8", "surrogateescape"), library.flags
