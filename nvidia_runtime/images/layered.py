# SPDX-License-Identifier: Apache-2.0
"""An image with one layer more, as an archive: an OCI layout, and what `docker load` looks for.

The same image and layer make the same archive: no time and no order of a disk is in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.images import layout
from nvidia_runtime.images.image import Image, member

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
KINDS = {b"\x1f\x8b": f"{LAYER}+gzip", b"\x28\xb5": f"{LAYER}+zstd"}
CHUNK = 1 << 20
Open = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a layout that is named by its digest: its size, its kind, and how it is opened."""

    digest: str
    size: int
    kind: str
    open: Open

    @property
    def descriptor(self) -> dict[str, Any]:
        """What refers to it, in the image-spec's words."""
        return {"mediaType": self.kind, "digest": f"sha256:{self.digest}", "size": self.size}

    @property
    def path(self) -> str:
        """Its name in the layout."""
        return f"blobs/sha256/{self.digest}"


def write(
    path: str, base: Image, layer: str, *, settings: Mapping[str, Any], name: str, by: str
) -> None:
    """Write the archive: an image of a file, the layer (a tar in a file), and new settings.

    ``name`` is that of the new image with its tag, ``by`` what its history says of the layer.
    """
    new = f"{path}.{os.getpid()}"
    try:
        with layout.opened(base.name) as stored, open(new, "xb") as file:
            _, _, names = layout.parts(stored, base.name)
            own = _blob(lambda: open(layer, "rb"))
            layers = [_blob(_opener(stored, one)) for one in names] + [own]
            config = _config(base, own, settings, by)
            _pack(file, layers, config, name)
        os.rename(new, path)
    except OSError as error:
        hint = "name a file in a folder of your own, with room for the image"
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path, hint) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)


def _opener(stored: layout.Files, name: str) -> Open:
    return lambda: stored.open(name)


def _blob(opener: Open, kind: str = "") -> Blob:
    """Measure what can be opened."""
    digest, size = hashlib.sha256(), 0
    with opener() as file:
        start = data = file.read(CHUNK)
        while data:
            digest.update(data)
            size += len(data)
            data = file.read(CHUNK)
    return Blob(digest.hexdigest(), size, kind or KINDS.get(start[:2], LAYER), opener)


def _config(base: Image, own: Blob, settings: Mapping[str, Any], by: str) -> Blob:
    """Return the configuration, which has the layer and the settings."""
    old = base.configuration
    root = member(old, "rootfs", dict)
    ids = [*member(root, "diff_ids", list), f"sha256:{own.digest}"]
    created = {"created": old["created"]} if "created" in old else {}
    config = {
        **old,
        "config": {**member(old, "config", dict), **settings},
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [*member(old, "history", list), {**created, "created_by": by}],
    }
    return _document(config, CONFIG)


def _document(document: Any, kind: str) -> Blob:
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return _blob(lambda: io.BytesIO(data), kind)


def _pack(file: IO[bytes], layers: list[Blob], config: Blob, name: str) -> None:
    manifest = _document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor,
            "layers": [layer.descriptor for layer in layers],
        },
        MANIFEST,
    )
    tag = name.rpartition(":")[2]
    names = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [{**manifest.descriptor, "annotations": names}]}
    saved = {"Config": config.path, "RepoTags": [name], "Layers": [one.path for one in layers]}
    documents = {
        layout.LAYOUT: {"imageLayoutVersion": "1.0.0"},
        layout.INDEX: index,
        layout.SAVED: [saved],
    }
    blobs = {blob.path: blob for blob in (*layers, config, manifest)}
    blobs |= {path: _document(document, "") for path, document in documents.items()}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, blob in sorted(blobs.items()):
            entry = tarfile.TarInfo(path)
            entry.size = blob.size
            with blob.open() as opened:
                archive.addfile(entry, opened)
