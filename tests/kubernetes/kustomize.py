# SPDX-License-Identifier: Apache-2.0
"""kustomize, as far as packaging/kubernetes needs it, for machines without kubectl.

Resources, components, strategic merge patches, and images; anything else is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KEYS = {"apiVersion", "kind", "resources", "components", "patches", "images"}
# By what the items of a list are told apart; other lists are replaced as a whole.
ITEMS = {"containers": "name", "env": "name", "volumeMounts": "mountPath", "volumes": "name"}
ORDER = "$patch"


def build(folder: Path, base: list[Document] | None = None) -> list[Document]:
    """Return the documents of a folder; a component's come to those of what it is added to."""
    chosen = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert not chosen.keys() - KEYS, chosen.keys() - KEYS
    documents = list(base or [])
    for name in chosen.get("resources", []):
        path = folder / name
        documents += build(path) if path.is_dir() else read(path.read_text())
    for name in chosen.get("components", []):
        documents = build(folder / name, documents)
    for entry in chosen.get("patches", []):
        text = entry["patch"] if "patch" in entry else (folder / entry["path"]).read_text()
        for patch in read(text):
            documents = patched(documents, patch)
    for image in chosen.get("images", []):
        for container in containers(documents):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return documents


def read(text: str) -> list[Document]:
    """Read the documents of a text."""
    return [document for document in yaml.safe_load_all(text) if document]


def containers(documents: list[Document]) -> list[Document]:
    """List the containers of all workloads."""
    specs = [document["spec"]["template"]["spec"] for document in documents if "spec" in document]
    return [container for spec in specs for container in spec["containers"]]


def identity(document: Document) -> tuple[str, str]:
    """Return what a document is told by."""
    return document["kind"], document["metadata"]["name"]


def patched(documents: list[Document], patch: Document) -> list[Document]:
    """Return documents with one of them patched, or deleted."""
    assert [identity(document) for document in documents].count(identity(patch)) == 1
    is_deletion = patch.get(ORDER) == "delete"
    return [
        merged(document, patch) if identity(document) == identity(patch) else document
        for document in documents
        if not (is_deletion and identity(document) == identity(patch))
    ]


def merged(document: Document, patch: Document) -> Document:
    """Return a mapping with another one put over it; null takes away."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name, {}), value)
        elif name in ITEMS:
            result[name] = merged_items(result.get(name, []), value, ITEMS[name])
        else:
            result[name] = value
    return result


def merged_items(items: list[Document], patches: list[Document], key: str) -> list[Document]:
    """Return a list with the items of another one put over it, which come first, or taken away."""
    there = {item[key]: item for item in items}
    first = {}
    for patch in patches:
        item = there.pop(patch[key], {})
        if patch.get(ORDER) != "delete":
            first[patch[key]] = merged(item, patch)
    return [*first.values(), *there.values()]
