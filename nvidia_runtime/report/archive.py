# SPDX-License-Identifier: Apache-2.0
"""An archive of texts, all masked, with a page that says what is in it."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.report.contents import Part
    from nvidia_runtime.report.masking import Masker

FOLDER = "nvidia-report"
INDEX = "README.txt"
MOST_BYTES = 16 << 20
HEAD = """\
A report of nvidia-ctk, for a maintainer of nvidia-container-runtime.

Names of hosts, users, people, containers and images, addresses, serial numbers, UUIDs, tokens and
the values of environment variables are masked; the same thing has the same mask in all files.
Please look through it before you send it: only you know what else is not to be seen.
"""


@dataclass(slots=True)
class Report:
    """Texts that are masked, by their names; where they come from, and what is not there."""

    masker: Masker
    texts: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def learn(self, parts: Iterable[Part]) -> None:
        """Learn the names of containers and images from their records, before all is masked."""
        for part in parts:
            try:
                labels = json.loads(part.data)["labels"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(labels, dict):
                for key, value in labels.items():
                    self._learn_label(key, str(value))

    def _learn_label(self, key: str, value: str) -> None:
        if key.lower().endswith(("image-name", "imagename")):
            self.masker.learn_image(value)
        elif key != "io.container.manager":
            self.masker.learn("container", value)

    def learn_containers(self, entries: Any) -> None:
        """Learn the names in the list of `explain`, which engines were asked for."""
        for entry in entries if isinstance(entries, list) else ():
            self.masker.learn_image(str(entry.get("image", "")))
            for name in entry.get("names", ()):
                for word in (str(name), *str(name).split("/")):
                    self.masker.learn("container", word)

    def add(self, part: Part) -> None:
        """Add a part, masked; one that would make the whole too large is left out."""
        name = self.masker.text(part.name)
        if part.problem:
            self.left_out[name] = self.masker.text(f"{part.source}: {part.problem}")
            return
        is_json = part.name.endswith(".json")
        text = self.masker.json(part.data) if is_json else self._plain(part.data)
        if self.size + len(text) > MOST_BYTES:
            self.left_out[name] = "the report would be too large"
            return
        self.size += len(text)
        self.texts[name] = text
        self.sources[name] = self.masker.text(part.source) + (", a part" if part.is_cut else "")

    def _plain(self, data: bytes) -> str:
        return self.masker.text(data.decode(errors="replace"))

    def add_document(self, name: str, source: str, document: Any) -> None:
        """Add a document of ours, masked."""
        self.texts[name] = json.dumps(self.masker.document(document), indent=2) + "\n"
        self.sources[name] = source

    def index(self) -> str:
        """Return the page that says what is in the archive."""
        width = max(map(len, [*self.sources, *self.left_out]), default=0) + 2
        lines = [HEAD, "In it:", ""]
        lines += [f"  {name.ljust(width)}{source}" for name, source in sorted(self.sources.items())]
        lines += ["", "Not in it:", ""]
        lines += [f"  {name.ljust(width)}{why}" for name, why in sorted(self.left_out.items())]
        lines += ["", "Masked:", ""]
        lines += [f"  {kind.ljust(width)}{count}" for kind, count in self.masker.counts.items()]
        return "\n".join(lines) + "\n"

    def packed(self) -> bytes:
        """Return the archive: tar, by gzip."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in {INDEX: self.index(), **self.texts}.items():
                data = text.encode(errors="replace")
                entry = tarfile.TarInfo(f"{FOLDER}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def write(path: str, data: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises `NvidiaRuntimeError`, also where there is a file of that name already.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        hint = "--output names another file"
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path, hint) from None
