# SPDX-License-Identifier: Apache-2.0
"""The lines of snapshots and machine files, and what one of them says."""

from nvidia_runtime import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document


class Source:
    """A part of an injection: the edits and whose they are.

    ``name`` is the device's, "" for what belongs to all devices of a spec.  ``origin`` (the file,
    or what else says so) and ``text`` (the edits) are JSON, which the record repeats.
    """

    __slots__ = ("edits", "name", "origin", "text")

    def __init__(self, name: str, origin: str, text: str) -> None:
        self.name = name
        self.origin = origin
        self.text = text
        self.edits: Document = document.loads(text.encode(), "snapshot")


def find_line(data: bytes, key: str) -> list[bytes] | None:
    """Find the line after the first that begins with ``key``; return its other fields."""
    if not key.isascii() or "\t" in key or "\n" in key:
        return None  # no name of CDI's
    wanted = key.encode()
    start = data.find(b"\n" + wanted + b"\t")
    if start < 0:
        return None
    start += len(wanted) + 2
    return data[start : data.index(b"\n", start)].split(b"\t")
