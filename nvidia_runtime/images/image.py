# SPDX-License-Identifier: Apache-2.0
"""An image: what its configuration says, and its files as far as they can be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images.tree import Tree

LARGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is known of an image.

    ``source`` is where it was found.  ``configuration`` is the image's as the OCI image-spec has
    it, {} where it has none; ``annotations`` are its manifest's.  ``tree`` is None where its files
    cannot be read, and ``reason`` says why.
    """

    name: str
    source: str
    configuration: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    tree: Tree | None = None
    reason: str = ""

    @property
    def environment(self) -> list[str]:
        """The entries of the image's environment."""
        entries = member(self.configuration, "config", dict).get("Env")
        listed = entries if isinstance(entries, list) else []
        return [entry for entry in listed if isinstance(entry, str)]

    @property
    def architecture(self) -> str:
        """The processor that it is for, in Go's words, "" where it does not say."""
        return str(self.configuration.get("architecture") or "")


def member(document: Any, key: str, kind: type) -> Any:
    """Return a field of a document if it is of a kind, else an empty one."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, kind) else kind()


def unknown(name: str, what: str, hint: str = "") -> NvidiaRuntimeError:
    """Return the error for what is not an image."""
    return NvidiaRuntimeError(what, where=name, hint=hint)
