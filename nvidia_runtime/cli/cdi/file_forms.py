# SPDX-License-Identifier: Apache-2.0
"""The forms of a list of files: for scripts, for programs, for Apptainer's command line."""

from __future__ import annotations

import json
import os
import platform
import re
from collections import defaultdict

from nvidia_runtime.cli.cdi.file_list import LIBRARIES, NODES
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.cli.cdi.file_list import Entry, FileList

# Where Apptainer's containers, and Singularity's, find libraries of the host.
APPTAINER = "/.singularity.d/libs"
# Apptainer has the host's, links included.
NODES_FOLDER = "/dev/"
# What neither a shell, which splits words, nor Apptainer, which splits values, takes for its own.
PLAIN_WORD = re.compile(r"[A-Za-z0-9_/.+@%=-]*")
# e_machine of the kernel's names.
MACHINES = {"x86_64": 62, "aarch64": 183, "ppc64le": 21}
OTHER_FORM = "--format=json can say it"


def text(files: FileList) -> list[str]:
    """Return a line for each thing: a word that says what to do, and its values between tabs."""
    rows: list[tuple[str, ...]] = []
    for entry in files.entries:
        word = "node" if entry.kind == NODES else "bind"
        rows.append((word, entry.source, entry.target, ",".join(entry.options)))
    rows += [("link", path, target) for path, target in files.links]
    rows += [("cache", folder) for folder in files.folders]
    rows += [("env", entry) for entry in files.env]
    rows += [("group", str(gid)) for gid in files.groups]
    rows += [("hook", words) for words in files.hooks]
    return ["\t".join(map(_line, row)).rstrip("\t") for row in rows]


def plain(files: FileList) -> list[str]:
    """Return the paths on the host, one a line."""
    return list(dict.fromkeys(_line(entry.source) for entry in files.entries))


def document(files: FileList) -> dict[str, Any]:
    """Return the list as JSON."""
    entries = [_object(entry) for entry in files.entries]
    return {
        "nodes": [entry for entry in entries if entry["kind"] == NODES],
        "binds": [entry for entry in entries if entry["kind"] != NODES],
        "links": [{"path": path, "target": target} for path, target in files.links],
        "libraryFolders": list(files.folders),
        "env": list(files.env),
        "groups": list(files.groups),
        "hooks": list(files.hooks),
    }


def apptainer(files: FileList) -> list[str]:
    """Return options of `apptainer exec`: a link is the bind of its target at another place.

    Libraries lie in the one folder where Apptainer lets containers find the host's, as with --nv:
    it makes no links, and there is no cache to be changed.
    """
    native = elf.KINDS.get((MACHINES.get(platform.machine(), 0), 2))
    names = _names(files)
    binds: dict[str, str] = {}
    for entry in files.entries:
        readable = ":ro" if "ro" in entry.options else ""
        is_native = entry.kind == LIBRARIES and entry.flags == native
        for target in names[entry.target]:
            path = target
            if is_native and os.path.dirname(target) in files.folders:
                path = f"{APPTAINER}/{os.path.basename(target)}"
            binds[path] = f"{_word(entry.source)}:{_word(path)}{readable}"
    words = ["--bind", ",".join(binds.values())] if binds else []
    for variable in files.env:
        words += ["--env", _word(variable)]
    return [" ".join(words)] if words else []


FORMS = {"text": text, "plain": plain, "apptainer": apptainer}


def dumps(files: FileList) -> str:
    """Return the list as JSON, in text."""
    return json.dumps(document(files), indent=2) + "\n"


def _names(files: FileList) -> dict[str, list[str]]:
    """Return the paths by which each target is to be found: its own, and those of links to it."""
    own = {entry.target for entry in files.entries}
    links = {
        path: os.path.normpath(os.path.join(os.path.dirname(path), target))
        for path, target in files.links
        if path not in own
    }
    names = defaultdict(list, {target: [target] for target in own})
    for path, first in links.items():
        target = first
        for _ in links:  # a link to a link
            target = links.get(target, target)
        if target in own and not target.startswith(NODES_FOLDER):
            names[target].append(path)
    return names


def _object(entry: Entry) -> dict[str, Any]:
    words: dict[str, Any] = {"kind": entry.kind, "source": entry.source, "target": entry.target}
    if entry.numbers:
        words["type"], words["major"], words["minor"] = entry.numbers
    if entry.options:
        words["options"] = list(entry.options)
    return words


def _line(value: str) -> str:
    if not value.isprintable():
        raise NvidiaRuntimeError(f"{value!r} cannot be said on a line", hint=OTHER_FORM)
    return value


def _word(value: str) -> str:
    if not PLAIN_WORD.fullmatch(value):
        what = f"{value!r} cannot be said in options of Apptainer"
        raise NvidiaRuntimeError(what, hint=OTHER_FORM)
    return value
