# SPDX-License-Identifier: Apache-2.0
"""Images as files: layers as tar files, OCI image layouts, and programs of a few bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GLIBC, MUSL = "/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"
Files = Mapping[str, str | bytes]


def program(interpreter: str = "") -> bytes:
    """Make a program that names a loader, or a static one."""
    text = interpreter.encode() + b"\0"
    count = 1 if interpreter else 0
    head = struct.pack(
        "<4s4B8xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,
        1,
        1,
        0,
        3,
        62,
        1,
        0,
        64,
        0,
        0,
        64,
        56,
        count,
        0,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 120, 120, len(text), len(text), 1)
    return head + segment + text


def layer(files: Files) -> bytes:
    """Make a tar file: ``-> TARGET`` is a link, ``=> NAME`` a hard one, NAME/ a folder."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            text = content.encode() if isinstance(content, str) else content
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif text.startswith((b"-> ", b"=> ")):
                member.type = tarfile.SYMTYPE if text[:1] == b"-" else tarfile.LNKTYPE
                member.linkname = text[3:].decode()
            else:
                member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return data.getvalue()


def layout(
    folder: Path,
    layers: Sequence[bytes | Files],
    *,
    env: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    architecture: str = "amd64",
    compress: bool = False,
) -> Path:
    """Write an OCI image layout."""
    (folder / "blobs/sha256").mkdir(parents=True)

    def blob(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    tars = [one if isinstance(one, bytes) else layer(one) for one in layers]
    config = {"architecture": architecture, "os": "linux", "config": {"Env": list(env)}}
    config["rootfs"] = {"type": "layers", "diff_ids": []}
    manifest = {
        "schemaVersion": 2,
        "config": blob(json.dumps(config).encode()),
        "layers": [blob(gzip.compress(tar) if compress else tar) for tar in tars],
        "annotations": dict(annotations or {}),
    }
    index = {"schemaVersion": 2, "manifests": [blob(json.dumps(manifest).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def packed(folder: Path, file: Path) -> Path:
    """Write a layout as an archive, as `ctr images export` does."""
    with tarfile.open(file, "w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=path.relative_to(folder), recursive=False)
    return file
