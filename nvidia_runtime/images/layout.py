# SPDX-License-Identifier: Apache-2.0
"""Images in files: OCI image layouts, in a folder or an archive, and what ``docker save`` writes.

The archive is hostile, like the image in it: names in it are digests or literal, sizes limited.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.images import image
from nvidia_runtime.images.image import LARGEST, Image, member
from nvidia_runtime.images.tar_layers import DAMAGES, Budget, Member, TarLayer
from nvidia_runtime.images.tree import Layer, Tree
from nvidia_runtime.rootfs import files, resolver

INDEX, LAYOUT, SAVED = "index.json", "oci-layout", "manifest.json"
INDEXES = ("application/vnd.oci.image.index.v1+json", "manifest.list.v2+json")
MOST_LAYERS, DEEPEST, MOST_MEMBERS = 256, 4, 10_000
DIGITS = {"sha256": 64, "sha512": 128}
ZSTD = b"\x28\xb5\x2f\xfd"
# What uname(2) calls the processors that Go calls otherwise.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Files(Protocol):
    """A layout's files, by their literal names, until they are closed."""

    def close(self) -> None:
        """Open nothing more."""

    def open(self, name: str) -> IO[bytes]:
        """Open a regular file; raises `OSError` or `NvidiaRuntimeError`."""


class Folder:
    """The files of a layout in a folder."""

    def __init__(self, path: str) -> None:
        self._root = resolver.open_root(path)

    def close(self) -> None:
        """Close the folder."""
        self._root.__exit__()

    def open(self, name: str) -> IO[bytes]:
        """Open a regular file; links lead nowhere out of the folder."""
        with resolver.walk(self._root, name) as place:
            return os.fdopen(files.open_place(place), "rb")


class Archive:
    """The files of a layout in a tar file."""

    def __init__(self, path: str) -> None:
        """Read its list; raises `NvidiaRuntimeError` for what is no tar file."""
        self._file = os.fdopen(files.open_hosts(path), "rb")
        is_compressed = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=self._file) if is_compressed else self._file
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.open(fileobj=stream, mode="r:", tarinfo=Member, errorlevel=2)
            for entry in self._tar:
                self._members[entry.name.removeprefix("./")] = entry
                if len(self._members) > MOST_MEMBERS:
                    raise NvidiaRuntimeError(f"has more than {MOST_MEMBERS} members", path)
        except DAMAGES as error:
            self._file.close()
            raise NvidiaRuntimeError(f"is neither a folder nor a tar file: {error}", path) from None

    def close(self) -> None:
        """Close the archive."""
        self._tar.close()
        self._file.close()

    def open(self, name: str) -> IO[bytes]:
        """Open a regular member; older archives have links from one layer to an equal one."""
        for _ in range(2):
            entry = self._members.get(name)
            if entry is None or not entry.issym():
                break
            name = os.path.normpath(os.path.join(os.path.dirname(name), entry.linkname))
        stream = self._tar.extractfile(entry) if entry and entry.isreg() else None
        if stream is None:
            raise FileNotFoundError(2, "no such file", name)
        return stream


def is_layout(path: str) -> bool:
    """Whether a folder is an OCI image layout."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (INDEX, LAYOUT))


def read(path: str) -> Image:
    """Read the image of a layout or an archive, of several the one for this machine, or the first.

    Raises `NvidiaRuntimeError` where there is none.
    """
    with opened(path) as stored:
        manifest, config, layers = parts(stored, path)
        configuration = _load(stored, config, path)
        tree, reason = _tree(stored, layers)
    return Image(
        name=path,
        source="OCI image layout" if os.path.isdir(path) else "archive",
        configuration=configuration if isinstance(configuration, dict) else {},
        annotations=member(manifest, "annotations", dict),
        tree=tree,
        reason=reason,
    )


@contextmanager
def opened(path: str) -> Iterator[Files]:
    """Open the files of a layout or an archive."""
    stored: Files = Folder(path) if os.path.isdir(path) else Archive(path)
    try:
        yield stored
    finally:
        stored.close()


def parts(stored: Files, path: str) -> tuple[dict[str, Any], str, list[str]]:
    """Return an image's manifest, and the names of its configuration and of its layers.

    Raises `NvidiaRuntimeError` where there is none.
    """
    if _has(stored, INDEX):
        manifest = _manifest(stored, _load(stored, INDEX, path), path)
        config = _blob(member(manifest, "config", dict).get("digest"), path)
        layers = [
            _blob(one.get("digest"), path)
            for one in member(manifest, "layers", list)
            if isinstance(one, dict)
        ]
        return manifest, config, layers
    if _has(stored, SAVED):
        saved = _load(stored, SAVED, path)
        manifest = saved[0] if isinstance(saved, list) and saved else {}
        names = [str(layer) for layer in member(manifest, "Layers", list)]
        return manifest, member(manifest, "Config", str), names
    raise image.unknown(path, f"has neither {INDEX} nor {SAVED}")


def _manifest(stored: Files, index: Any, path: str) -> Any:
    """Go from an index, through others, to the manifest for this machine."""
    machine = os.uname().machine
    wanted = ARCHITECTURES.get(machine, machine)
    for _ in range(DEEPEST):
        manifests = [one for one in member(index, "manifests", list) if isinstance(one, dict)]
        if not manifests:
            return index
        fitting = [
            one
            for one in manifests
            if member(member(one, "platform", dict), "architecture", str) == wanted
        ]
        index = _load(stored, _blob((fitting or manifests)[0].get("digest"), path), path)
    raise image.unknown(path, "has indexes in indexes")


def _blob(digest: Any, path: str) -> str:
    """Return the file of a digest; raises `NvidiaRuntimeError` for what is none."""
    algorithm, _, digits = str(digest).partition(":")
    if DIGITS.get(algorithm) != len(digits) or set(digits) - set("0123456789abcdef"):
        raise image.unknown(path, f"names no digest, but {digest!r}"[:200])
    return f"blobs/{algorithm}/{digits}"


def _has(stored: Files, name: str) -> bool:
    try:
        stored.open(name).close()
    except (OSError, NvidiaRuntimeError):
        return False
    return True


def _load(stored: Files, name: str, path: str) -> Any:
    try:
        with stored.open(name) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise image.unknown(path, f"{name} is too large: the limit is {LARGEST} bytes")
        return json.loads(data)
    except OSError as error:
        raise image.unknown(path, f"{name} cannot be read: {os_reason(error)}") from None
    except DAMAGES as error:
        raise image.unknown(path, f"{name} is not JSON: {error}") from None


def _tree(stored: Files, names: list[str]) -> tuple[Tree | None, str]:
    """Read all layers, the lowest of which comes first; return why not where one cannot be read."""
    if len(names) > MOST_LAYERS:
        return None, f"it has {len(names)} layers, the limit is {MOST_LAYERS}"
    budget = Budget()
    layers: list[Layer] = []
    for number, name in enumerate(names, 1):
        try:
            with stored.open(name) as stream:
                if stream.read(4) == ZSTD and not hasattr(tarfile.TarFile, "zstopen"):
                    return None, f"layer {number} is compressed by zstd: it takes Python 3.14"
                stream.seek(0)
                layers.append(TarLayer(stream, budget))
        except NvidiaRuntimeError as error:
            return None, f"layer {number} {error.what}"
        except OSError as error:
            return None, f"layer {number} cannot be read: {os_reason(error)}"
        except DAMAGES as error:
            return None, f"layer {number} cannot be read: {error}"
    return Tree(layers[::-1]), ""
