# SPDX-License-Identifier: Apache-2.0
"""The record of an injection: what a container got, why, and from which file.

One JSON file a container, ``containers/ID.json`` in the state folder, for people;
nothing decides by it, so a container does not fail where one cannot be written.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.store.lines import Source

MOST = 1000
# The ids that runc accepts; anything else names no file.
ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def write(
    invocation: "Invocation", decision: "Document", sources: "list[Source]", prepared: list[str]
) -> None:
    """Write the record of one create, in place of an older one of the same id.

    ``decision`` says what was asked for and admitted; ``prepared`` are sentences about what was
    done on the host in the place of hooks.
    """
    container = invocation.container
    folder = files.state_folder(make=True)
    if not folder or not container or container[0] == "." or not ID_LETTERS.issuperset(container):
        return
    folder += "/containers"
    data = _text(invocation, decision, sources, prepared)
    path = f"{folder}/{container}.json"
    try:
        try:
            files.replace(path, data)
        except FileNotFoundError:
            _make(folder)
            files.replace(path, data)
        if posix.getpid() % 64 == 0:
            prune(folder)
    except OSError:
        return


def _make(folder: str) -> None:
    try:
        posix.mkdir(folder, 0o700)
    except FileExistsError:  # of a create beside us
        return


def _text(
    invocation: "Invocation", decision: "Document", sources: "list[Source]", prepared: list[str]
) -> bytes:
    head = {
        "container": invocation.container,
        "bundle": invocation.bundle or posix.getcwd(),
        **decision,
        "prepared": prepared,
    }
    # The edits are in the snapshot as JSON text: repeated, not encoded again.
    parts = [
        f'{{"device":"{source.name}","from":{source.origin},"edits":{source.text}}}'
        for source in sources
    ]
    return document.dumps(head)[:-1] + f',"injected":[{",".join(parts)}]}}\n'.encode()


def prune(folder: str) -> None:
    """Keep the youngest records; engines make new ids without end."""
    entries = sorted(posix.scandir(folder), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[:-MOST]:
        posix.unlink(entry.path)
