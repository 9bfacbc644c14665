# SPDX-License-Identifier: Apache-2.0
"""From a report of a machine to one that is simulated, on which its user's problem happens again.

The report is hostile: nothing of it is unpacked, sizes are limited, and what it says of a machine
has to pass the schema of one.  What was masked is made up, the same for the same.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import tarfile
import uuid
import zlib
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.report import archive, replayed_files, replayed_gpus
from nvidia_runtime.simulate import description
from nvidia_runtime.simulate.machine import SimulatedMachine

Texts = dict[str, str]

LARGEST, MOST_FILES = 64 << 20, 4096
GZIP = b"\x1f\x8b"
NEEDED = (archive.INDEX, "info.json")
HINT = "it is an archive of 'nvidia-ctk report', or the folder that is in one"
MASK = re.compile(r"<([a-z-]{1,20}) (\d{1,6})>")
MODULE = re.compile(r"  (\d{1,4}(?:\.\d{1,4}){1,2})  ")
CUDA = re.compile(r"([1-9]\d?)\.(\d)")
# A line of the page that says what is in the archive.
ENTRY = re.compile(r"  (\S+) +(/[^\s,]+)(?:, a part)?")
# Whose files are put where they were.
PLACES = ("settings/config.toml", "specs/", "engines/")
FOLDERS = ("/etc/", "/run/", "/var/run/", "/usr/")


def is_report(path: str) -> bool:
    """Whether a path is a folder, or a file that begins like an archive."""
    try:
        if os.path.isdir(path):
            return True
        if not os.path.isfile(path):
            return False  # of a pipe, nothing could be read again
        with open(path, "rb") as file:
            return file.read(len(GZIP)) == GZIP
    except OSError:
        return False


def read(path: str) -> SimulatedMachine:
    """Return the machine of a report.  Raises `NvidiaRuntimeError` for what is none."""
    try:
        texts = _of_folder(path) if os.path.isdir(path) else _of_archive(path)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path, HINT) from None
    if not all(name in texts for name in NEEDED):
        raise NvidiaRuntimeError("is not a report of nvidia-ctk", path, HINT)
    return of_texts({name: unmasked(text) for name, text in texts.items()}, path)


def _of_archive(path: str) -> Texts:
    try:
        with gzip.open(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise NvidiaRuntimeError("is too large for a report", path, HINT)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as opened:
            return {
                entry.name.removeprefix(f"{archive.FOLDER}/"): _content(opened, entry)
                for entry in opened
                if entry.isreg() and entry.name.startswith(f"{archive.FOLDER}/")
            }
    except (tarfile.TarError, EOFError, zlib.error, ValueError, gzip.BadGzipFile) as error:
        raise NvidiaRuntimeError(f"is damaged: {error}", path, HINT) from None


def _content(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = opened.extractfile(entry)
    return file.read(LARGEST).decode(errors="replace") if file else ""


def _of_folder(path: str) -> Texts:
    texts: Texts = {}
    left = LARGEST
    if not all(os.path.isfile(os.path.join(path, name)) for name in NEEDED):
        return texts
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            if not stat.S_ISREG(os.lstat(file).st_mode):
                continue
            with open(file, "rb") as opened:
                data = opened.read(left + 1)
            left -= len(data)
            if left < 0 or len(texts) == MOST_FILES:
                raise NvidiaRuntimeError("is too large for a report", path, HINT)
            texts[os.path.relpath(file, path)] = data.decode(errors="replace")
    return texts


def unmasked(text: str) -> str:
    """Return a text with something made up for each mask, of the same kind."""

    def value(match: re.Match[str]) -> str:
        kind, number = match[1], int(match[2])
        match kind:
            case "uuid":
                return str(uuid.uuid5(description.SPACE, f"report/{number}"))
            case "address":
                return f"192.0.2.{number % 255}"
            case "mac":
                return f"02:00:00:00:{number // 256 % 256:02x}:{number % 256:02x}"
            case "mail":
                return f"user-{number}@example.com"
            case _:
                return f"{kind}-{number}"

    return MASK.sub(value, text)


def of_texts(texts: Texts, where: str) -> SimulatedMachine:
    """Return the machine of a report's texts.  Raises `NvidiaRuntimeError`."""
    document = _document(texts)
    files = _own_files(texts)
    # Once without its own files: what a driver would leave is compared with what was there.
    usual = description.from_document(document, where)
    document |= replayed_files.differences(usual, texts, files)
    return description.from_document(document, where)


def _document(texts: Texts) -> dict[str, Any]:
    info = _json(texts, "info.json")
    nodes = replayed_files.nodes(texts)
    module = MODULE.search(texts.get("machine/proc-driver-nvidia-version", ""))
    loaded = module[1] if module else ""
    folder, version = replayed_files.driver(texts, loaded)
    kind = "pci"
    if "machine/etc-nv_tegra_release" in texts:
        kind = "tegra"
    elif "/dev/dxg" in nodes:
        kind = "wsl"
    driver = version or loaded
    debians = replayed_files.DEBIANS.fullmatch(folder)
    is_arm = kind == "tegra" or str(info.get("system")).endswith("aarch64")
    document: dict[str, Any] = {
        "name": "report",
        "description": "as a report tells of one",
        "kind": kind,
        "loaded": bool(loaded) or kind != "pci",
        "architecture": debians[1] if debians else "aarch64" if is_arm else "x86_64",
        "libraries": folder if kind == "pci" and not debians else "",
        **({"driver": driver} if driver else {}),
        **({"module": loaded} if loaded not in ("", driver) else {}),
        **replayed_files.extras(nodes),
    }
    asked = _json(texts, "machine/gpus.json")
    if cuda := CUDA.fullmatch(str(asked.get("cuda"))):
        document["cuda"] = int(cuda[1]) * 1000 + int(cuda[2]) * 10
    return document | replayed_gpus.document(asked, _json(texts, "machine/pci.json"), texts)


def _own_files(texts: Texts) -> list[dict[str, Any]]:
    """Return settings, CDI specs and engines' files, where they were."""
    files: dict[str, dict[str, Any]] = {}
    for line in texts.get(archive.INDEX, "").splitlines():
        match = ENTRY.fullmatch(line)
        if not match or not match[1].startswith(PLACES) or match[1] not in texts:
            continue
        path = os.path.normpath(match[2])
        if path.startswith(FOLDERS):
            path = path.replace("/var/run/", "/run/", 1)
            files[path] = {"path": path, "text": texts[match[1]]}
    return list(files.values())


def _json(texts: Texts, name: str) -> dict[str, Any]:
    """Return a document of the report, an empty one for what is not one."""
    try:
        document = json.loads(texts.get(name, ""))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
