# SPDX-License-Identifier: Apache-2.0
"""An image with docker becomes one with a machine: what its layer has, and that it is the same twice."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import simulated as machines
from cli import ctk
from engines import rootfs

from nvidia_runtime.images import find, layout
from nvidia_runtime.images import simulated as images
from nvidia_runtime.simulate import description, in_place

HOME = images.HOME[1:]
LOADER = b"\x7fELF" + b"/" * 200 + b"x/lib/ld-linux-x86-64.so.2\0"
SETTINGS = {"bridge": "none", "runtimes": {"mine": {"path": "/mine"}}, "features": {"cdi": False}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that is as much of a bundle as counts here."""
    folder = tmp_path_factory.mktemp("bundle")
    package = folder / "lib/python3.11/site-packages/nvidia_runtime"
    package.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python3").write_bytes(LOADER)
    (folder / "bin/sh").symlink_to("busybox")
    (package / "runtime.py").write_text("")
    for name in ("nvidia-container-runtime", "busybox"):
        (folder / "bin" / name).write_text("#!/bin/sh\n")
        (folder / "bin" / name).chmod(0o755)
    os.utime(package / "runtime.py", (1000, 1000))
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return an image with a dockerd, in which /lib is a link and /usr/bin is another's."""
    root = tmp_path / "root"
    for name in ("usr/lib", "usr/sbin", "usr/bin", "etc/docker"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/bin").chmod(0o711)
    (root / "usr/sbin/dockerd").write_text("dockerd")
    (root / "etc/docker/daemon.json").write_text(json.dumps(SETTINGS))
    file = tmp_path / "base.tar"
    rootfs.archive(root, file, command=("dockerd", "--debug"), env=("A=b", "PATH=/bin"))
    return file


def write(file: Path, base: Path, bundle: Path, *words: str) -> ctk.Ended:
    machines.need_nvml()
    options = [f"--image={file}", f"--base={base}", f"--toolkit={bundle}"]
    return ctk.run("simulate", *options, *(words or ("t4x1",)))


def unpacked(file: Path) -> tuple[Any, list[dict[str, tuple[tarfile.TarInfo, bytes]]]]:
    """Return an archive's configuration, and its layers' entries with what is in them."""
    with tarfile.open(file) as archive:
        blobs = {
            entry.name: opened.read() for entry in archive if (opened := archive.extractfile(entry))
        }
    for name, data in blobs.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    (saved,) = json.loads(blobs["manifest.json"])
    layers = []
    for name in saved["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(blobs[name])) as layer:
            layers.append({entry.name: (entry, _data(layer, entry)) for entry in layer})
    return json.loads(blobs[saved["Config"]]), layers


def _data(layer: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    opened = layer.extractfile(entry) if entry.isreg() else None
    return opened.read() if opened else b""


def test_image_has_the_machine_and_what_it_had(base: Path, bundle: Path, tmp_path: Path) -> None:
    got = write(tmp_path / "new.tar", base, bundle, "t4x1", "--lose=0")

    config, (below, layer) = unpacked(tmp_path / "new.tar")
    assert (got.code, got.out) == (0, "")
    assert "./usr/sbin/dockerd" in below
    assert config["config"]["Entrypoint"] == [images.ENTRY]
    assert config["config"]["Cmd"] == ["dockerd", "--debug"]
    assert config["config"]["Env"] == [
        "A=b",
        f"PATH=/bin:{images.HOME}/bin",
        "NVIDIA_SIMULATED_MACHINE=/run/nvidia-simulated-machine",
    ]
    assert len(config["rootfs"]["diff_ids"]) == 2
    text = layer[in_place.MACHINE[1:]][1].decode()
    assert description.read(str(ctk.write(tmp_path / "m.toml", text))).gpus[0].lost
    assert json.loads(layer["etc/docker/daemon.json"][1]) == {
        "bridge": "none",
        "default-runtime": "nvidia",
        "runtimes": {
            "mine": {"path": "/mine"},
            "nvidia": {"path": f"/{HOME}/bin/nvidia-container-runtime"},
        },
        "features": {"cdi": False},
    }


def test_layer_keeps_the_folders_of_the_image(base: Path, bundle: Path, tmp_path: Path) -> None:
    """A link that became a folder would take away what is behind it; a mode would change."""
    write(tmp_path / "new.tar", base, bundle)

    _, (_, layer) = unpacked(tmp_path / "new.tar")
    assert "usr/lib/firmware/nvidia/580.95.05/gsp_ga10x.bin" in layer
    assert "usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05" in layer
    assert not {name for name in layer if name.startswith("lib/")}
    assert not {"lib", "usr", "usr/bin", "usr/lib", "etc", "etc/docker"} & layer.keys()
    assert not {name for name in layer if name.startswith(("dev", "run", "proc", "sys"))}
    assert layer[f"{HOME}/bin/sh"][0].linkname == "busybox"
    assert layer[f"{HOME}/bin/busybox"][0].mode == 0o755
    assert layer[f"{HOME}/lib/python3.11/site-packages/nvidia_runtime/runtime.py"][0].mtime == 1000
    program = layer[f"{HOME}/bin/nvidia-container-runtime"][1]
    assert program == f"#!/{HOME}/bin/busybox sh\n".encode()
    assert layer[f"{HOME}/bin/python3"][1].endswith(f"/{HOME}/lib/ld-linux-x86-64.so.2\0".encode())
    assert layer[images.ENTRY[1:]][0].mode == 0o755


def test_image_is_the_same_twice_and_an_image_itself(
    base: Path, bundle: Path, tmp_path: Path
) -> None:
    for name in ("one.tar", "two.tar"):
        write(tmp_path / name, base, bundle)
    again = write(tmp_path / "three.tar", tmp_path / "one.tar", bundle, "a100x8")

    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert again.code == 0
    image = find.find(str(tmp_path / "three.tar"))
    assert image.tree is not None
    assert image.tree.resolve("/lib/x86_64-linux-gnu/libcuda.so.1") is not None
    assert layout.read(str(tmp_path / "one.tar")).architecture == "amd64"
    assert len(unpacked(tmp_path / "three.tar")[1]) == 3


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--image={tmp}/x"], "--image needs --base"),
        (["--image={tmp}/x", "--base={tmp}/absent"], "{tmp}/absent: no such file or directory"),
        (
            ["--image={tmp}/x", "--base={tmp}/root"],
            "{tmp}/root: cannot be built on: is a folder of files, not an image",
        ),
        (["--image={tmp}/x", "--base={tmp}/empty.tar"], "{tmp}/empty.tar: has no dockerd"),
        (
            ["--image={tmp}/x", "--base={tmp}/base.tar", "--toolkit={tmp}"],
            "{tmp}: is no bundle to install from",
        ),
        (
            ["--image={tmp}/no/x", "--base={tmp}/base.tar", "--toolkit={bundle}"],
            "{tmp}/no/x: cannot be written: no such file or directory",
        ),
        (["--in-place"], "this is no container of an image that 'nvidia-ctk simulate --image'"),
    ],
)
def test_misuse_and_what_its_hint_says(
    words: list[str], what: str, base: Path, bundle: Path, tmp_path: Path
) -> None:
    machines.need_nvml()
    (tmp_path / "nothing").mkdir()
    rootfs.archive(tmp_path / "nothing", tmp_path / "empty.tar", command=("sh",))

    given = [word.format(tmp=tmp_path, bundle=bundle) for word in words]
    got = ctk.run("simulate", *given, *(() if "--in-place" in given else ("t4x1",)))

    assert base.exists()
    assert (got.code, got.out) == (1, "")
    assert got.err.startswith(f"nvidia-ctk: {what.format(tmp=tmp_path)}")
    assert "\nhint: " in got.err or "absent" in got.err
    assert not (tmp_path / "x").exists()
    if "--in-place" in given:
        assert ctk.run("simulate", "t4x1", f"--write={tmp_path}/machine").code == 0
    else:
        assert write(tmp_path / "y", base, bundle).code == 0
