# SPDX-License-Identifier: Apache-2.0
"""The image that is meant by a word: a path, or a name in an engine."""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.images import layout, stores
from nvidia_runtime.images.image import Image
from nvidia_runtime.images.layers import FolderLayer
from nvidia_runtime.images.tree import Tree

HINT = (
    "docker's and podman's are known by name; of another engine export it ('ctr images export "
    "FILE NAME'), and name the file"
)


def find(word: str) -> Image:
    """Return the image; a word that begins like a path is one, any other a name before a path.

    Raises `NvidiaRuntimeError` where there is none.
    """
    if not word.startswith(("/", "./", "../")) and word not in (".", ".."):
        if image := stores.find(word):
            return image
        if not os.path.exists(word):
            raise NvidiaRuntimeError(f"there is no image {word!r}", hint=HINT)
    try:
        return _at(word)
    except OSError as error:
        raise NvidiaRuntimeError(os_reason(error), where=word) from None


def _at(path: str) -> Image:
    if not os.path.isdir(path) or layout.is_layout(path):
        return layout.read(path)
    tree = Tree([FolderLayer(path, is_upper=False)])
    return Image(name=path, source="root folder, without a configuration", tree=tree)
