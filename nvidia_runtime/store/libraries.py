# SPDX-License-Identifier: Apache-2.0
"""What the host's libraries say of themselves, remembered: sonames are read once for each file.

A line a file in our state folder, which is believed while the file's stamp is the same.  Ring:
create, for specs with hooks.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fact = tuple[bytes, int]

NAME = "libraries.json"
# A driver has some 60; more than these are of drivers that are gone.
MOST = 1000
_NONE = -1


class Facts:
    """The libraries that are known, and those that were read now."""

    __slots__ = ("_known", "_new", "_state")

    def __init__(self, state: str) -> None:
        self._state = state
        self._new = False
        self._known: "dict[str, list[Any]]" = {}
        if state:
            try:
                data = document.loads(files.read_own(f"{state}/{NAME}"), NAME)
                self._known = data if type(data) is dict else {}
            except (OSError, ValueError, NvidiaRuntimeError):
                pass

    def identify(self, path: str) -> "Fact | None":
        """Return a library's soname, b"" for none, and its flags; ``None`` for no library."""
        stamp = files.stamp(path)
        if stamp is None:
            return None  # the low-level runtime will say so
        known = self._known.get(path)
        if not known or known[:5] != stamp:
            known = self._known[path] = [*stamp, *_read(path)]
            self._new = True
        return (resolver.encode(known[5]), known[6]) if known[6] != _NONE else None

    def write(self) -> None:
        """Remember what was read; it is only for speed, so nothing comes of a failure."""
        if not (self._new and self._state):
            return
        from nvidia_runtime.rootfs import files  # the first time

        known = dict(list(self._known.items())[-MOST:])
        try:
            with resolver.open_root(self._state) as folder:
                files.replace(folder, NAME, document.dumps(known))
        except OSError:
            pass


def _read(path: str) -> tuple[str, int]:
    from nvidia_runtime.rootfs import elf  # the first time

    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK)
    except (OSError, ValueError):
        return "", _NONE
    try:
        found = elf.identify(descriptor)
    finally:
        posix.close(descriptor)
    return (found.soname.decode("utf-8", "surrogateescape"), found.flags) if found else ("", _NONE)
