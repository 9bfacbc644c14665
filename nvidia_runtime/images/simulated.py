# SPDX-License-Identifier: Apache-2.0
"""An image with a docker becomes one with a simulated machine, for CI: one layer, and its start.

The layer has the driver's files, a bundle of ours, and a daemon.json that knows our runtime.  A
container of it becomes the machine first (`simulate.in_place`), and then does what it did before.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images import find, layered
from nvidia_runtime.images.image import LARGEST, Image, member
from nvidia_runtime.images.layers import FOLDER
from nvidia_runtime.images.tree import Tree as ImageTree
from nvidia_runtime.installer import relocation
from nvidia_runtime.installer import tree as bundles
from nvidia_runtime.simulate import build, description, in_place
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File, Folder, Symlink, Tree, text

HOME = "/opt/nvidia-container-runtime"
ENTRY = f"{HOME}/bin/simulated-machine"
DAEMON_JSON = "/etc/docker/daemon.json"
NAME = "nvidia-simulated"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("/usr/local/bin/dockerd", "/usr/sbin/dockerd", "/usr/bin/dockerd")
START = f"""\
#!{HOME}/bin/busybox sh
# Become the machine, and do what the image does without it.
set -e
{HOME}/bin/nvidia-ctk simulate --in-place
{HOME}/bin/nvidia-ctk --quiet cdi generate --output=/etc/cdi/nvidia.yaml || :
exec "$@"
"""


def write(path: str, machine: SimulatedMachine, base: str, toolkit: str) -> str:
    """Write the image into a file; return its name.  Raises `NvidiaRuntimeError`.

    ``base`` is an image with a docker in a file or folder, ``toolkit`` a bundle of ours.
    """
    image = find.find(os.path.abspath(base))
    if image.tree is None or not image.configuration:
        what = image.reason or "is a folder of files, not an image"
        raise NvidiaRuntimeError(f"cannot be built on: {what}", base, BASE_HINT)
    words = _words(image)
    files = _files(machine, image)
    name = f"{NAME}:{machine.name}"
    with _moved(toolkit) as bundle, tempfile.TemporaryDirectory() as scratch:
        layer = os.path.join(scratch, "layer.tar")
        with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as archive:
            _Layer(archive, image.tree).add(files, bundle)
        settings = {"Entrypoint": [ENTRY], "Cmd": words, "Env": _environment(image)}
        by = f"nvidia-ctk simulate --image, {machine.name}"
        layered.write(path, image, layer, settings=settings, name=name, by=by)
    return name


BASE_HINT = "an image with dockerd is needed: 'docker save --output FILE docker:dind' writes one"


def _words(image: Image) -> list[str]:
    """Return what a container of the image runs, dockerd if it says nothing."""
    config = member(image.configuration, "config", dict)
    words = [*member(config, "Entrypoint", list), *member(config, "Cmd", list)]
    if image.tree and not any(image.tree.resolve(program) for program in PROGRAMS):
        raise NvidiaRuntimeError("has no dockerd", image.name, BASE_HINT)
    is_shell = [os.path.basename(word) for word in words] in ([], ["sh"], ["bash"])
    return ["dockerd"] if is_shell else words


def _environment(image: Image) -> list[str]:
    variables = dict(entry.partition("=")[::2] for entry in image.environment)
    variables["PATH"] = f"{variables.get('PATH') or PATH}:{HOME}/bin"
    variables["NVIDIA_SIMULATED_MACHINE"] = build.HERE
    return [f"{name}={value}" for name, value in variables.items()]


def _files(machine: SimulatedMachine, image: Image) -> Tree:
    """Return the files of the layer but the bundle's."""
    files = in_place.of_image(build.driver_root(machine))
    document = {} if DAEMON_JSON in files else _daemon(image)
    files |= {DAEMON_JSON: text(json.dumps(document, indent=4) + "\n")} if document else {}
    return files | {
        in_place.MACHINE: text(description.text(machine)),
        ENTRY: text(START, 0o755),
    }


def _daemon(image: Image) -> dict[str, Any]:
    """Return the image's own daemon.json, with our runtime in it."""
    assert image.tree is not None
    try:
        with os.fdopen(image.tree.open(DAEMON_JSON), "rb") as file:
            file.seek(0)
            document = json.loads(file.read(LARGEST))
    except FileNotFoundError:
        document = {}
    except (OSError, ValueError, RecursionError) as error:
        what = f"{DAEMON_JSON} in it cannot be read: {error}"
        raise NvidiaRuntimeError(what, image.name, BASE_HINT) from None
    runtime = {"path": f"{HOME}/bin/nvidia-container-runtime"}
    return {
        "default-runtime": "nvidia",
        **(document if isinstance(document, dict) else {}),
        "runtimes": {**member(document, "runtimes", dict), "nvidia": runtime},
        "features": {"cdi": True, **member(document, "features", dict)},
    }


@contextmanager
def _moved(toolkit: str) -> Iterator[Path]:
    """Copy a bundle, and tell the copy that it is at its home."""
    try:
        bundle = bundles.read(toolkit)
    except NvidiaRuntimeError as error:
        hint = "'make bundle' makes one, which --toolkit names"
        raise NvidiaRuntimeError(error.what, error.where, hint) from None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "bundle")
        shutil.copytree(bundle.folder, folder, symlinks=True)
        relocation.relocate(folder, HOME)
        yield folder


class _Layer:
    """A layer over an image; folders that are links there are gone through, as in a container."""

    def __init__(self, archive: tarfile.TarFile, base: ImageTree) -> None:
        self._archive = archive
        self._base = base
        self._folders: dict[str, str] = {"/": "/"}

    def add(self, files: Tree, bundle: Path) -> None:
        """Add files, and a bundle at its home."""
        for path, entry in sorted(files.items()):
            self._add(path, entry)
        for where, folders, names in os.walk(bundle):
            folders.sort()
            inner = os.path.relpath(where, bundle)
            place = HOME if inner == "." else f"{HOME}/{inner}"
            links = [name for name in folders if os.path.islink(os.path.join(where, name))]
            for name in sorted((*names, *links)):
                self._add_own(f"{place}/{name}", os.path.join(where, name))

    def _add(self, path: str, entry: object) -> None:
        match entry:
            case File():
                self._file(path, entry.data, entry.mode, 0)
            case Symlink():
                self._link(path, entry.target)
            case Folder():
                self._folder(path, entry.mode)

    def _add_own(self, path: str, source: str) -> None:
        status = os.lstat(source)
        if os.path.islink(source):
            self._link(path, os.readlink(source))
        else:  # a compiled module is valid by the time of its source
            data = Path(source).read_bytes()
            self._file(path, data, status.st_mode & 0o777, int(status.st_mtime))

    def _file(self, path: str, data: bytes, mode: int, mtime: int) -> None:
        entry = self._entry(path, mode)
        entry.size, entry.mtime = len(data), mtime
        self._archive.addfile(entry, BytesIO(data))

    def _link(self, path: str, target: str) -> None:
        entry = self._entry(path, 0o777)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._archive.addfile(entry)

    def _entry(self, path: str, mode: int) -> tarfile.TarInfo:
        folder, _, name = path.rpartition("/")
        entry = tarfile.TarInfo(f"{self._folder(folder or '/').rstrip('/')}/{name}"[1:])
        entry.mode = mode
        return entry

    def _folder(self, path: str, mode: int = 0o755) -> str:
        """Return where a folder is in the image; one that it lacks is made."""
        if path not in self._folders:
            parent, _, name = path.rpartition("/")
            place = f"{self._folder(parent or '/').rstrip('/')}/{name}"
            resolved = self._base.resolve(place)
            if resolved and resolved[1].kind == FOLDER:
                place = resolved[0]
            else:
                entry = tarfile.TarInfo(place[1:])
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                self._archive.addfile(entry)
            self._folders[path] = place
        return self._folders[path]
