# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts and archives, as engines write them and as nobody should."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images import find, layout
from nvidia_runtime.images.image import Image

from . import written

LAYERS: list[Any] = [{"lib/a": "1", "lib/b": "2"}, {"lib/.wh.a": ""}]


def names(image: Image) -> list[str]:
    assert image.tree is not None
    return sorted(image.tree.names("/lib"))


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("is_packed", [False, True], ids=["folder", "archive"])
def test_layout(compress: bool, is_packed: bool, tmp_path: Path) -> None:
    path = written.layout(
        tmp_path / "l", LAYERS, env=["A=1"], annotations={"b": "c"}, compress=compress
    )
    if is_packed:
        path = written.packed(path, tmp_path / "l.tar")

    image = find.find(os.fspath(path))

    assert (image.environment, image.annotations, image.architecture) == (
        *(["A=1"], {"b": "c"}, "amd64"),
    )
    assert names(image) == ["b"]


def test_image_of_several_is_that_for_this_machine(tmp_path: Path) -> None:
    folder = written.layout(tmp_path / "l", LAYERS, env=["A=theirs"], architecture="s390x")
    other = written.layout(tmp_path / "m", LAYERS, env=["A=ours"])
    indexes = [json.loads((one / "index.json").read_text()) for one in (folder, other)]
    machine = os.uname().machine
    entries = [
        {**index["manifests"][0], "platform": {"architecture": architecture}}
        for index, architecture in zip(
            indexes, ("s390x", layout.ARCHITECTURES.get(machine, machine)), strict=True
        )
    ]
    for blob in (other / "blobs/sha256").iterdir():
        (folder / "blobs/sha256" / blob.name).write_bytes(blob.read_bytes())
    (folder / "index.json").write_text(json.dumps({"manifests": entries}))

    assert layout.read(os.fspath(folder)).environment == ["A=ours"]


def rewrite(folder: Path, change: dict[str, Any]) -> None:
    """Change the manifest of a layout."""
    index = json.loads((folder / "index.json").read_text())
    old = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((folder / "blobs/sha256" / old).read_text()) | change
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(data)
    index["manifests"][0]["digest"] = f"sha256:{digest}"
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": {"digest": "sha256:../../../etc/passwd"}}, "names no digest"),
        ({"config": {"digest": f"sha256:{'0' * 64}"}}, "cannot be read: no such file"),
        ({"config": None}, "names no digest"),
        ({"layers": [{"digest": 1}]}, "names no digest"),
        ({"config": {"digest": f"sha256:{'0' * 63}/"}}, "names no digest"),
    ],
)
def test_hostile_manifest(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = written.layout(tmp_path / "l", LAYERS)
    rewrite(folder, change)

    with pytest.raises(NvidiaRuntimeError, match=says):
        layout.read(os.fspath(folder))


def test_link_leads_to_no_file_of_the_host(tmp_path: Path) -> None:
    folder = written.layout(tmp_path / "l", LAYERS)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    digest = "1" * 64
    (folder / "blobs/sha256" / digest).symlink_to(secret)
    rewrite(folder, {"config": {"digest": f"sha256:{digest}"}})

    with pytest.raises(NvidiaRuntimeError, match="cannot be read"):
        layout.read(os.fspath(folder))


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"manifests": []}', "[" * 100_000])
def test_index_of_nothing(text: str, tmp_path: Path) -> None:
    folder = written.layout(tmp_path / "l", LAYERS)
    (folder / "index.json").write_text(text)

    with pytest.raises(NvidiaRuntimeError):
        layout.read(os.fspath(folder))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, "layer 2 "),
        (b"nonsense", "layer 2 cannot be read as a tar file"),
    ],
    ids=["zstd", "nonsense"],
)
def test_layer_that_cannot_be_read_leaves_the_configuration(
    data: bytes, says: str, tmp_path: Path
) -> None:
    image = layout.read(os.fspath(written.layout(tmp_path / "l", [LAYERS[0], data], env=["A=1"])))

    assert image.environment == ["A=1"]
    assert image.tree is None
    assert image.reason.startswith(says)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x" * 2048)

    with pytest.raises(NvidiaRuntimeError, match="is neither a folder nor a tar file"):
        find.find(os.fspath(tmp_path / "x"))


def test_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")

    with pytest.raises(NvidiaRuntimeError, match="is not a regular file"):
        find.find(os.fspath(tmp_path / "x"))


@pytest.mark.parametrize("begin", [64, 4096])
def test_damaged_compressed_archive(begin: int, tmp_path: Path) -> None:
    """What zlib complains of is an error of its own kind."""
    folder = written.layout(tmp_path / "l", [{"a": os.urandom(8192)}])
    data = bytearray(gzip.compress(written.packed(folder, tmp_path / "tar").read_bytes()))
    data[begin : begin + 64] = b"\xff" * 64
    (tmp_path / "tar.gz").write_bytes(data)

    with pytest.raises(NvidiaRuntimeError):
        layout.read(os.fspath(tmp_path / "tar.gz"))
