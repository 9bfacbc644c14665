# SPDX-License-Identifier: Apache-2.0
"""The record of an injection: what a container got, why, and from which file.

One JSON file a container, ``containers/ID.json`` in the state folder, for people;
nothing decides by it, so a container does not fail where one cannot be written.
Creates that failed have theirs in ``failed``: however many, they displace no other record.
"""

import posix
import time

from nvidia_runtime import document, start
from nvidia_runtime.errors import short
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.store.lines import Source

MOST = 1000
MOST_BYTES = 16 << 20
# The folders of records.
CREATED, FAILED = "containers", "failed"
OLDEST = 90 * 24 * 3600
# Eight GPUs with all files of a driver are 50 kB.
LARGEST = 512 << 10
# What a container says is repeated up to there: it may say anything, as often as it likes.
MOST_SAID, LONGEST_SAID = 64, 1000
# A record of this size is always counted; of smaller ones, one of so many, by chance.
LARGE, SOME = 64 << 10, 64
# Annotations that name a container and its image: of podman, nerdctl, containerd's CRI, and cri-o.
MANAGER, PODMAN, NAME = "io.container.manager", "libpod", "name"
LABELS = (
    MANAGER,
    "nerdctl/name",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.Name",
    "io.kubernetes.cri-o.ImageName",
)
# The ids that runc accepts; anything else names no file.
ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def write(
    invocation: "Invocation", spec: "Document", decision: "Document", sources: "list[Source]"
) -> None:
    """Write the record of one create, in place of an older one of the same id.

    ``decision`` says what was asked for and admitted, and what was done in the place of hooks.
    """
    path = path_of(invocation.container, CREATED)
    if not path:
        return
    data = text(invocation, spec, decision, sources)
    try:
        replace(path, data)
        if len(data) > LARGE or posix.urandom(1)[0] < 256 // SOME:
            prune(path.rpartition("/")[0])
    except OSError:
        return


def path_of(container: str, kind: str) -> str:
    """Return the file of a container's record in one of the folders, "" where there can be none."""
    folder = files.state_folder(make=True)
    if not folder or not container or container[0] == "." or not ID_LETTERS.issuperset(container):
        return ""
    return f"{folder}/{kind}/{container}.json"


def replace(path: str, data: bytes) -> None:
    """Write a record, in the place of an older one.  Raises `OSError`."""
    try:
        files.replace(path, data, tidy=False)
    except FileNotFoundError:
        _make(path.rpartition("/")[0])
        files.replace(path, data, tidy=False)


def _make(folder: str) -> None:
    try:
        posix.mkdir(folder, 0o700)
    except FileExistsError:  # of a create beside us
        return


def text(
    invocation: "Invocation", spec: "Document", decision: "Document", sources: "list[Source]"
) -> bytes:
    """Return a record as it is written."""
    head: "Document" = {
        "container": invocation.container,
        "bundle": invocation.bundle or posix.getcwd(),
        "root": invocation.root,
        "labels": _labels(spec),
        **limited(decision),
        "laps": start.LAPS,
    }
    # The edits are in the snapshot as JSON text: repeated, not encoded again.
    parts: list[str] = []
    room = LARGEST
    for source in sources:
        room -= len(source.text)
        if room < 0:
            head["cut"] = f"{len(sources) - len(parts)} of {len(sources)} sources of edits"
            break
        parts.append(f'{{"device":"{source.name}","from":{source.origin},"edits":{source.text}}}')
    return document.dumps(head)[:-1] + f',"injected":[{",".join(parts)}]}}\n'.encode()


def _labels(spec: "Document") -> dict[str, str]:
    """Return what config.json tells of the container's name and image: their bundle may go."""
    annotations = spec.get("annotations")
    if not annotations or type(annotations) is not dict:
        return {}
    labels = {
        name: short(value)
        for name in LABELS
        if name in annotations and type(value := annotations[name]) is str
    }
    if labels.get(MANAGER) == PODMAN and (name := _monitored()):
        labels[NAME] = name
    return labels


def _monitored() -> str:
    """Return the name that podman gave the container, as its monitor, which calls us, knows it."""
    words = (files.read_text(f"/proc/{posix.getppid()}/cmdline") or "").split("\0")
    if words[0].rpartition("/")[2] != "conmon" or "-n" not in words[:-1]:
        return ""
    return short(words[words.index("-n") + 1])


def limited(decision: "Document") -> "Document":
    """Return a decision whose lists and sentences are not endless; what is cut says so."""
    result: "Document" = {}
    for name, value in decision.items():
        if type(value) is list:
            kept = [short(text, LONGEST_SAID) for text in value[:MOST_SAID]]
            if len(value) > MOST_SAID:
                kept.append(f"and {len(value) - MOST_SAID} more")
            result[name] = kept
        else:
            result[name] = value
    return result


def prune(folder: str, most: int = 0, most_bytes: int = 0) -> None:
    """Keep the youngest records; engines make new ids without end, and tell us of no deletion."""
    most, most_bytes = most or MOST, most_bytes or MOST_BYTES
    entries: list[tuple[float, int, str]] = []
    now, total = time.time(), 0
    for entry in posix.scandir(folder):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # pruned by a create beside us
            continue
        # A killed process left it; one that is being written is young.
        if entry.name[0] != "." or files.is_left(status):
            age = OLDEST + 1.0 if entry.name[0] == "." else now - status.st_mtime
            entries.append((age, status.st_size, entry.path))
    for number, (age, size, path) in enumerate(sorted(entries)):
        total += size
        if number >= most or total > most_bytes or age > OLDEST:
            try:
                posix.unlink(path)
            except FileNotFoundError:
                continue
