# SPDX-License-Identifier: Apache-2.0
"""Images by their names: in docker as its Engine API tells, in containers/storage as files do."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest
from rootfs import images

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images import find, stores

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose engines are the only ones that are found."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", f"{tmp_path}/storage.conf")
    monkeypatch.setattr(stores, "GRAPH_ROOT", f"{tmp_path}/none")
    monkeypatch.setenv("XDG_DATA_HOME", f"{tmp_path}/none")
    return tmp_path


@contextmanager
def docker(place: Path, answers: Mapping[str, Any]) -> Iterator[list[str]]:
    """Answer as dockerd does, 404 to any other question; the list has what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "here"

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingUnixStreamServer(f"{place}/d.sock", Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def of_docker(**driver: Any) -> dict[str, Any]:
    config = {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}
    layers = {"Layers": ["sha256:" + "1" * 64, "sha256:" + "2" * 64]}
    return {"Config": config, "Architecture": "amd64", "RootFS": layers, **driver}


def names(name: str) -> tuple[list[str], str]:
    """Return the libraries of an image, and why they are not known."""
    image = find.find(name)
    return sorted(image.tree.names("/lib")) if image.tree else [], image.reason


def test_overlay2_of_docker(place: Path) -> None:
    for folder, file in (("top", "lib/b"), ("middle", "lib/a"), ("bottom", "lib/z")):
        images.make(place / folder, {file: "x"})
    lower = f"{place}/middle:{place}/bottom"
    driver = {"Name": "overlay2", "Data": {"UpperDir": f"{place}/top", "LowerDir": lower}}

    with docker(place, {"/images/team/web:1/json": of_docker(GraphDriver=driver)}):
        image = find.find("team/web:1")
        assert (image.source, image.environment) == ("docker", ["NVIDIA_VISIBLE_DEVICES=all"])
        assert image.architecture == "amd64"
        assert names("team/web:1") == (["a", "b", "z"], "")


def test_vfs_of_docker(place: Path) -> None:
    """The chain's identifier, by which docker finds its folder, is made of all layers'."""
    chain = hashlib.sha256(f"sha256:{'1' * 64} sha256:{'2' * 64}".encode()).hexdigest()
    images.make(
        place / "data",
        {f"image/vfs/layerdb/sha256/{chain}/cache-id": "abc", "vfs/dir/abc/lib/a": "x"},
    )
    answers = {
        "/images/web/json": of_docker(GraphDriver={"Name": "vfs", "Data": None}),
        "/info": {"DockerRootDir": f"{place}/data"},
    }

    with docker(place, answers):
        assert names("web") == (["a"], "")


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ({}, "it is in containerd's image store"),
        ({"GraphDriver": {"Name": "btrfs", "Data": {}}}, "its storage driver is btrfs"),
        ({"GraphDriver": {"Name": "vfs", "Data": None}}, "its storage driver is vfs"),
        (
            {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/nowhere/diff"}}},
            "its files are where they cannot be read from here: /nowhere/diff",
        ),
        ({"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "relative"}}}, "its files are"),
        ({"GraphDriver": {"Name": "overlay2", "Data": "odd"}}, "its files are"),
        ({"GraphDriver": [], "Config": [], "RootFS": 1}, "it is in containerd's image store"),
    ],
)
def test_files_of_docker_that_cannot_be_read(driver: Any, says: str, place: Path) -> None:
    with docker(place, {"/images/web/json": of_docker(**driver)}):
        assert names("web")[0] == []
        assert names("web")[1].startswith(says)


def storage(place: Path, driver: str = "overlay", names: tuple[str, ...] = ()) -> Path:
    """Write what podman stores of an image with two layers."""
    root = place / "storage"
    identifier, top, bottom = "c" * 64, "d" * 64, "e" * 64
    listed = [{"id": identifier, "names": list(names), "layer": top}]
    layers = [{"id": bottom}, {"id": top, "parent": bottom}]
    encoded = base64.b64encode(DIGEST.encode()).decode()
    folder = f"{driver}-images/{identifier}"
    of_vfs = {f"vfs/dir/{top}/lib/a": "x", f"vfs/dir/{top}/lib/b": "x"}
    of_overlay = {f"overlay/{bottom}/diff/lib/a": "x", f"overlay/{top}/diff/lib/b": "x"}
    images.make(
        root,
        {
            f"{driver}-images/images.json": json.dumps(listed),
            f"{driver}-layers/layers.json": json.dumps(layers),
            f"{folder}/manifest": json.dumps(
                {"config": {"digest": DIGEST}, "annotations": {"x": "y"}}
            ),
            f"{folder}/={encoded}": json.dumps({"config": {"Env": ["A=1"]}}),
            **(of_vfs if driver == "vfs" else of_overlay),
        },
    )
    (place / "storage.conf").write_text(f'[storage]\ngraphroot = "{root}"\n')
    return root


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_storage(driver: str, place: Path) -> None:
    storage(place, driver, names=("localhost/web:latest",))

    image = find.find("web")

    assert (image.environment, image.annotations) == (["A=1"], {"x": "y"})
    assert names("web") == (["a", "b"], "")


@pytest.mark.parametrize(
    ("stored", "name", "is_called"),
    [
        ("localhost/web:latest", "web", True),
        ("localhost/web:latest", "localhost/web", True),
        ("localhost/web:latest", "web:1", False),
        ("docker.io/library/ubuntu:24.04", "ubuntu:24.04", True),
        ("docker.io/team/app:1", "team/app:1", True),
        ("registry:5000/app:latest", "registry:5000/app", True),
        ("registry:5000/app:latest", "app", False),
        ("localhost/web:latest", "cccc", True),
        ("localhost/web:latest", "c", False),
    ],
)
def test_names(stored: str, name: str, is_called: bool, place: Path) -> None:
    storage(place, names=(stored,))

    if is_called:
        assert find.find(name).environment == ["A=1"]
    else:
        with pytest.raises(NvidiaRuntimeError, match="there is no image"):
            find.find(name)


@pytest.mark.parametrize("damage", ["", "[", "{}", "[1]", '[{"id": 1, "names": 1}]'])
def test_damaged_list(damage: str, place: Path) -> None:
    root = storage(place, names=("localhost/web:latest",))
    (root / "overlay-images/images.json").write_text(damage)

    with pytest.raises(NvidiaRuntimeError, match="there is no image 'web'"):
        find.find("web")


def test_layers_in_a_circle(place: Path) -> None:
    root = storage(place, names=("localhost/web:latest",))
    layers = [{"id": "d" * 64, "parent": "d" * 64}]
    (root / "overlay-layers/layers.json").write_text(json.dumps(layers))

    assert names("web") == (["b"], "")


def test_name_goes_before_a_folder_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path says that it is one."""
    storage(place, names=("localhost/web:latest",))
    monkeypatch.chdir(place)
    images.make(place / "web", {"lib/own": "x"})
    images.make(place / "other", {"lib/own": "x"})

    assert names("web")[0] == ["a", "b"]
    assert names("./web")[0] == ["own"]
    assert names("other")[0] == ["own"]
    assert names(os.fspath(place / "web"))[0] == ["own"]
