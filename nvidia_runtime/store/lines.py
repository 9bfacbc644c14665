# SPDX-License-Identifier: Apache-2.0
"""The lines of snapshots and machine files, and what one of them says.

Each line ends with a digest of the rest: a bit that a disk or a memory has turned over must not get
into a container.
"""

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


def seal(line: str) -> str:
    """Return a line with its digest at the end."""
    return f"{line}\t{document.digest(line.encode())}"


def opened(line: bytes) -> bytes:
    """Return a line without its digest; raises `ValueError` if that is not the line's."""
    text, _, end = line.rpartition(b"\t")
    if document.digest(text).encode() != end:
        raise ValueError("a damaged line")
    return text


def find_line(data: bytes, key: str) -> list[bytes] | None:
    """Find the line after the first that begins with ``key``; return its other fields.

    Raises `ValueError` for a damaged line.
    """
    if not key.isascii() or "\t" in key or "\n" in key:
        return None  # no name of CDI's
    wanted = key.encode()
    start = data.find(b"\n" + wanted + b"\t")
    if start < 0:
        return None
    return opened(data[start + 1 : data.index(b"\n", start + 1)]).split(b"\t")[1:]
