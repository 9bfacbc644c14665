# SPDX-License-Identifier: Apache-2.0
"""What an image itself asks for: found in the engine's files, and limited by the settings."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime.admission import image as image_env
from nvidia_runtime.admission import image_policy, request
from nvidia_runtime.admission.image import Image
from nvidia_runtime.admission.request import Request
from nvidia_runtime.compile import config
from nvidia_runtime.store import snapshot

CONTAINER = "c9b20a006c6e65129122bd9f6bed64e1bc0eba6916e72c52f01de318c66ccbf2"
IMAGE = "b3340b9aa99a212e7cfc662a3031c6972fdb529df2bd15344d55896a7a9a81ec"
DIGEST = f"sha256:{IMAGE}"
ALL = "NVIDIA_VISIBLE_DEVICES=all"
CONFIG = {"config": {"Env": ["PATH=/bin", ALL]}, "rootfs": {}}
GPUS = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]]}


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, (str, bytes)) else json.dumps(document)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def docker(root: Path, driver: str = "overlay2", **others: Any) -> None:
    """Write what dockerd has of a container when it calls us; ``others`` replace its fields."""
    own = root / "containers" / CONTAINER
    write(own / "config.v2.json", {"ID": CONTAINER, "Driver": driver, "Image": DIGEST, **others})
    write(own / "hostconfig.json", {"DeviceRequests": None})
    write(root / "image" / driver / "imagedb/content/sha256" / IMAGE, CONFIG)


def storage(root: Path, driver: str = "overlay", **others: Any) -> None:
    """Write what containers/storage has of a container; ``others`` are files in its folders."""
    blob = f"={base64.b64encode(DIGEST.encode()).decode()}"
    annotations = {"cdi.k8s.io/gpu": "nvidia.com/gpu=all"}
    files = {
        "containers.json": [{"id": "other", "image": "x"}, {"id": CONTAINER, "image": IMAGE}],
        "manifest": {"config": {"digest": DIGEST}, "annotations": annotations},
        "config": CONFIG,
        **others,
    }
    for name, document in files.items():
        if name.endswith("containers.json"):
            write(root / f"{driver}-containers" / name, document)
        else:
            file = blob if name == "config" else name
            write(root / f"{driver}-images" / IMAGE / file, document)


def read(path: str, container: str = CONTAINER) -> Image | None:
    return image_env.read({"root": {"path": path}}, container)


def environment(image: Image | None) -> set[str] | None:
    return set(image.environment) if image else None


@pytest.mark.parametrize(
    ("driver", "rootfs"),
    [
        ("overlay2", "overlay2/7848a1/merged"),
        ("vfs", "vfs/dir/1dabaf"),
        ("btrfs", "btrfs/subvolumes/1dabaf"),
        ("fuse-overlayfs", "fuse-overlayfs/7848a1/merged/"),
    ],
)
def test_docker(driver: str, rootfs: str, tmp_path: Path) -> None:
    docker(tmp_path, driver)

    assert environment(read(f"{tmp_path}/{rootfs}")) == {"PATH=/bin", ALL}


def test_docker_with_user_namespaces(tmp_path: Path) -> None:
    docker(tmp_path / "165536.165536")

    image = read(f"{tmp_path}/165536.165536/overlay2/7848a1/merged")

    assert environment(image) == {"PATH=/bin", ALL}


@pytest.mark.parametrize(
    "asked", [GPUS, {"Driver": "nvidia"}, {"Capabilities": [["utility"], ["compute", "gpu"]]}]
)
def test_gpus_of_docker_are_the_users(asked: object, tmp_path: Path) -> None:
    """The daemon adds NVIDIA_VISIBLE_DEVICES for --gpus, maybe with the value of the image."""
    docker(tmp_path)
    write(tmp_path / "containers" / CONTAINER / "hostconfig.json", {"DeviceRequests": [asked]})

    assert environment(read(f"{tmp_path}/overlay2/7848a1/merged")) == {"PATH=/bin"}


@pytest.mark.parametrize("requests", [None, [], [{"Driver": "cdi"}], [None], {}, [{"x": 1}]])
def test_other_device_requests_of_docker_change_nothing(requests: object, tmp_path: Path) -> None:
    docker(tmp_path)
    write(tmp_path / "containers" / CONTAINER / "hostconfig.json", {"DeviceRequests": requests})

    assert environment(read(f"{tmp_path}/overlay2/7848a1/merged")) == {"PATH=/bin", ALL}


@pytest.mark.parametrize(
    ("driver", "rootfs"), [("overlay", "overlay/faeb3f/merged"), ("vfs", "vfs/dir/faeb3f")]
)
def test_podman(driver: str, rootfs: str, tmp_path: Path) -> None:
    storage(tmp_path, driver)

    image = read(f"{tmp_path}/{rootfs}")

    assert environment(image) == {"PATH=/bin", ALL}
    assert image
    assert image.annotations == {"cdi.k8s.io/gpu": "nvidia.com/gpu=all"}


def test_podman_lists_volatile_containers_apart(tmp_path: Path) -> None:
    lists: dict[str, Any] = {
        "containers.json": [],
        "volatile-containers.json": [{"id": CONTAINER, "image": IMAGE}],
    }
    storage(tmp_path, **lists)

    assert read(f"{tmp_path}/overlay/faeb3f/merged")


@pytest.mark.parametrize("document", [[], {}, [None, {"id": "another"}]])
def test_podman_does_not_know_the_container(document: Any, tmp_path: Path) -> None:
    storage(tmp_path, **{"containers.json": document})

    assert read(f"{tmp_path}/overlay/faeb3f/merged") is None


def test_podman_without_an_image(tmp_path: Path) -> None:
    """All that `podman run --rootfs` is given comes from its user."""
    containers: Any = [{"id": CONTAINER, "image": ""}]
    storage(tmp_path, **{"containers.json": containers})

    image = read(f"{tmp_path}/overlay/faeb3f/merged")
    assert environment(image) == set()
    assert image and image.is_readable


DEEP = '{"config": {"Env": []}, "x": ' + "[" * 200_000 + "]" * 200_000 + "}"


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("containers.json", [{"id": CONTAINER, "image": "../../etc"}]),
        ("containers.json", "[{"),
        ("manifest", {}),
        ("manifest", []),
        ("manifest", {"config": {"digest": "sha256:../../../etc/passwd"}}),
        ("config", []),
        ("config", {}),
        ("config", {"config": []}),
        ("config", {"config": {"Env": {}}}),
        # Go takes a key in any case, folds letters, merges repeated keys, reads deeper than Python.
        ("config", {"config": {"env": [ALL]}}),
        ("config", {"Config": {"Env": [ALL]}, "config": {}}),
        ("config", {"confıg": {}, "CONFIG": {"Env": [ALL]}}),
        ("config", '{"config": {}, "config": {"Env": []}}'),
        ("config", DEEP),
        ("config", '{"config": {}, "x": ' + "9" * 5000 + "}"),
        ("manifest", {"config": {"digest": "sha256:" + "0" * 64}, "Annotations": {"a": "b"}}),
        # Of half a character Go makes another one, so that the container's is not the image's.
        ("config", {"config": {"Env": [f"{ALL},\ud800"]}}),
        ("config", r'{"config": {"Env": ["NVIDIA_VISIBLE_DEVICES=all,\uDfff"]}}'),
        ("config", f'{{"config": {{"Env": ["{ALL},\ud800"]}}}}'.encode("utf-8", "surrogatepass")),
        ("manifest", {"config": {"digest": DIGEST}, "annotations": {"cdi.k8s.io/\ud800": "x"}}),
    ],
)
def test_podman_files_that_do_not_tell(name: str, document: Any, tmp_path: Path) -> None:
    storage(tmp_path, **{name: document})

    assert read(f"{tmp_path}/overlay/faeb3f/merged") is image_env.UNREADABLE


def test_whole_characters_are_read(tmp_path: Path) -> None:
    """An emoji in escapes of JSON, say, as Java and Python write it."""
    storage(tmp_path, config={"config": {"Env": ["A=\U0001f4a5", ALL]}})

    assert environment(read(f"{tmp_path}/overlay/faeb3f/merged")) == {"A=\U0001f4a5", ALL}


@pytest.mark.parametrize(
    ("entry", "engine", "is_images"),
    [
        (f" {ALL}", storage, True),
        (f"\t {ALL}", storage, True),
        ("NVIDIA_VISIBLE_DEVICES =all", storage, True),
        ("NVIDIA_VISIBLE_DEVICES", storage, True),
        (" NVIDIA_VISIBLE_DEVICES", storage, True),
        ("NVIDIA_*", storage, True),
        ("*", storage, True),
        (" NV*", storage, True),
        ("NVIDIA_VISIBLE_DEVICES=1", storage, False),
        ("NVIDIA_VISIBLE", storage, False),
        ("", storage, False),
        # dockerd takes a name as it is, and completes nothing.
        (f" {ALL}", docker, False),
        ("NVIDIA_VISIBLE_DEVICES", docker, False),
        ("NVIDIA_*", docker, False),
    ],
)
def test_names_are_read_as_the_engine_reads_them(
    entry: str, engine: Any, is_images: bool, tmp_path: Path
) -> None:
    config = {"config": {"Env": [entry]}}
    if engine is storage:
        storage(tmp_path, "overlay2", config=config)
    else:
        docker(tmp_path)
        write(tmp_path / "image/overlay2/imagedb/content/sha256" / IMAGE, config)

    image = read(f"{tmp_path}/overlay2/7848a1/merged")

    assert image
    assert image.says("NVIDIA_VISIBLE_DEVICES", "all") is is_images


@pytest.mark.parametrize(
    "others",
    [{"Driver": "../x"}, {"Driver": 1}, {"Image": "sha256:../x"}, {"Image": "x"}, {"Image": None}],
)
def test_docker_files_that_do_not_tell(others: dict[str, Any], tmp_path: Path) -> None:
    docker(tmp_path, **others)

    assert read(f"{tmp_path}/overlay2/7848a1/merged") is None


@pytest.mark.parametrize("env", [None, []])
def test_image_without_environment(env: object, tmp_path: Path) -> None:
    docker(tmp_path)
    file = tmp_path / "image/overlay2/imagedb/content/sha256" / IMAGE
    write(file, {"config": {"Env": env}})
    assert environment(read(f"{tmp_path}/overlay2/7848a1/merged")) == set()

    write(file, {"config": None, "rootfs": {}})
    assert environment(read(f"{tmp_path}/overlay2/7848a1/merged")) == set()


@pytest.mark.parametrize(
    "spec",
    [{}, {"root": None}, {"root": []}, {"root": {"path": 1}}, {"root": {"path": "rootfs"}}],
)
def test_root_that_is_not_in_an_engines_folder(spec: dict[str, Any]) -> None:
    """containerd's is relative, or in the bundle."""
    assert image_env.read(spec, CONTAINER) is None


@pytest.mark.parametrize("container", ["", "..", "../x", "other"])
def test_container_that_the_engine_does_not_know(container: str, tmp_path: Path) -> None:
    docker(tmp_path)

    assert read(f"{tmp_path}/overlay2/7848a1/merged", container) is None


def test_only_files_of_a_moderate_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker(tmp_path)
    path = f"{tmp_path}/overlay2/7848a1/merged"
    file = tmp_path / "containers" / CONTAINER / "config.v2.json"

    monkeypatch.setattr(image_env, "LARGEST", file.stat().st_size)
    assert read(path)
    monkeypatch.setattr(image_env, "LARGEST", file.stat().st_size - 1)
    assert read(path) is None


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    docker(tmp_path)
    file = tmp_path / "containers" / CONTAINER / "config.v2.json"
    file.rename(file.with_name("elsewhere"))

    file.symlink_to("elsewhere")
    assert read(f"{tmp_path}/overlay2/7848a1/merged") is None
    file.unlink()
    os.mkfifo(file)
    assert read(f"{tmp_path}/overlay2/7848a1/merged") is None


# What of it counts.

KNOWN = Image(frozenset({ALL}))
DENY = 'nvidia-container-runtime.image-requests is "deny"'
LISTED = "not in nvidia-container-runtime.image-devices"
UNSURE = "which may be the image's: the engine does not tell"


def limit(
    document: builders.Document, image: Image | None, *listed: str, **settings: Any
) -> Request:
    """Limit the request of a container; without a list, images are denied."""
    values = {
        **config.defaults(),
        snapshot.IMAGE_REQUESTS: "listed" if listed else "deny",
        image_policy.DEVICES: list(listed),
        **settings,
    }
    return image_policy.limit(request.read(document, values, "/b/config.json"), values, image)


@pytest.mark.parametrize(
    ("env", "image_says", "listed", "devices", "refused"),
    [
        pytest.param("all", "all", (), (), f"of the image (all); {DENY}", id="denied"),
        pytest.param("0", "all", (), ("0",), "", id="the user's own"),
        pytest.param("0,1", None, (), (), f"(0, 1), {UNSURE}; {DENY}", id="unknown is denied"),
        pytest.param("void", "void", (), (), "", id="nothing"),
        pytest.param("0,1", "0,1", ("1",), ("1",), f"of the image (0); {LISTED}", id="listed"),
        pytest.param("0", "0", ("nvidia.com/gpu=0",), ("0",), "", id="listed by its full name"),
        pytest.param("nvidia.com/gpu=0", "nvidia.com/gpu=0", ("0",), ("nvidia.com/gpu=0",), "",
                     id="listed by its short name"),
        pytest.param("all", "all", ("0",), (), f"of the image (all); {LISTED}", id="all is a name"),
        pytest.param("all", "all", ("all",), ("all",), "", id="all is listed"),
        pytest.param("none", "none", ("0",), (), f"of the image (none); {LISTED}", id="none"),
        pytest.param("0", None, ("0",), ("0",), "", id="unknown is listed"),
        pytest.param("2", None, ("0",), (), f"(2), {UNSURE}; {LISTED}", id="unknown, not listed"),
    ],
)  # fmt: skip
def test_devices(
    env: str,
    image_says: str | None,
    listed: tuple[str, ...],
    devices: tuple[str, ...],
    refused: str,
) -> None:
    image = (
        Image(frozenset({f"NVIDIA_VISIBLE_DEVICES={image_says}"}))
        if image_says is not None
        else None
    )

    limited = limit(builders.asking(env), image, *listed)

    assert limited.by_env == devices
    expected = (f"ignoring NVIDIA_VISIBLE_DEVICES {refused}",) if refused else ()
    assert limited.refused == expected
    hidden = {"NVIDIA_VISIBLE_DEVICES": ",".join(devices) or "void"} if refused else {}
    assert limited.overrides == hidden


def test_legacy_image_asks_by_being_one() -> None:
    limited = limit(builders.spec("CUDA_VERSION=10.2"), Image(frozenset({"CUDA_VERSION=10.2"})))

    assert limited.by_env == ()
    assert limited.refused == (f"ignoring CUDA_VERSION of the image (all); {DENY}",)
    assert limited.overrides == {"NVIDIA_VISIBLE_DEVICES": "void"}


def test_one_swarm_variable_of_the_image_makes_all_of_them_the_images() -> None:
    document = builders.spec("A=0", "B=1", ALL)
    settings: dict[str, Any] = {"swarm-resource": "A,B"}

    limited = limit(document, Image(frozenset({"B=1"})), "0", **settings)

    assert limited.by_env == ("0",)
    assert limited.refused == (f"ignoring A and B of the image (1); {LISTED}",)
    assert limited.overrides == {"A": "0", "B": ""}


def test_gates_and_imex_channels() -> None:
    env = ("NVIDIA_GDS=enabled", "NVIDIA_MOFED=enabled", "NVIDIA_IMEX_CHANNELS=0,1")
    document = builders.spec("NVIDIA_VISIBLE_DEVICES=0", *env)

    limited = limit(document, Image(frozenset(env)), "gds", "imex/1")

    assert (limited.by_env, limited.gates, limited.imex_by_env) == (("0",), ("gds",), ("1",))
    assert limited.refused == (
        f"ignoring NVIDIA_MOFED of the image (mofed); {LISTED}",
        f"ignoring NVIDIA_IMEX_CHANNELS of the image (0); {LISTED}",
    )
    assert limited.overrides == {"NVIDIA_IMEX_CHANNELS": "1"}


def test_annotations_of_an_image() -> None:
    """Podman copies them from the image's manifest to config.json."""
    annotations = {
        "cdi.k8s.io/a": "nvidia.com/gpu=0,nvidia.com/gpu=1",
        "cdi.k8s.io/b": "nvidia.com/gpu=2",
        "cdi.k8s.io/c": "nvidia.com/gpu=3",
    }
    image = Image(frozenset(), {**annotations, "cdi.k8s.io/b": "nvidia.com/gpu=7"})
    document = builders.spec(annotations=annotations)

    limited = limit(document, image, "1")

    assert limited.by_annotation == ("nvidia.com/gpu=1", "nvidia.com/gpu=2")
    assert limited.refused == (
        f"ignoring the annotation cdi.k8s.io/a of the image (nvidia.com/gpu=0); {LISTED}",
        f"ignoring the annotation cdi.k8s.io/c of the image (nvidia.com/gpu=3); {LISTED}",
    )
    assert limit(document, None).by_annotation == tuple(f"nvidia.com/gpu={n}" for n in range(4))
    assert limit(builders.spec(annotations={"cdi.k8s.io/a": "x"}), image).by_annotation == ("x",)


def test_request_itself_stays_as_it_was() -> None:
    settings = {**config.defaults(), snapshot.IMAGE_REQUESTS: "deny"}
    asked = request.read(builders.asking("all"), settings, "/b/config.json")

    image_policy.limit(asked, settings, KNOWN)

    assert (asked.by_env, asked.refused) == (("all",), ())


# Whole runs.

REFUSED = f"ignoring NVIDIA_VISIBLE_DEVICES of the image (0); {DENY}"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with docker's files, of an image that asks for device 0."""
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        docker(machine.folder / "docker")
        image = machine.folder / "docker/image/overlay2/imagedb/content/sha256" / IMAGE
        write(image, {"config": {"Env": ["NVIDIA_VISIBLE_DEVICES=0"]}})
        root = {"path": f"{machine.folder}/docker/overlay2/7848a1/merged"}
        machine.write_bundle(builders.asking("0", root=root))
        yield machine


def create(site: Site) -> list[str]:
    """Create the container; return the warnings in the log."""
    log = site.folder / "log"
    words = ("--log", log, "--log-format", "json", "create", "--bundle", site.bundle, CONTAINER)
    got = site.run(*words)
    assert got.code == 0, got.err
    return [entry["msg"] for entry in shim.logged(log) if entry["level"] == "warning"]


def record(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((site.state / f"containers/{CONTAINER}.json").read_text())
    return document


def test_images_are_trusted_by_default(site: Site) -> None:
    assert create(site) == []
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


def test_denied_request_changes_nothing_and_is_recorded(site: Site) -> None:
    before = (site.bundle / "config.json").read_bytes()
    site.write_config(image_requests="deny")

    assert create(site) == [REFUSED]
    assert (site.bundle / "config.json").read_bytes() == before
    assert (record(site)["refused"], record(site)["injected"]) == ([REFUSED], [])


def test_listed_request_is_granted(site: Site) -> None:
    site.write_config(image_requests="listed", image_devices=["0"])

    assert create(site) == []
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


def test_prestart_hook_is_told(site: Site) -> None:
    """It reads the variable again, after us."""
    site.write_config(image_requests="deny", mode="legacy")

    assert create(site) == [REFUSED]
    document = site.read_bundle()
    assert document["hooks"]["prestart"][0]["args"][1:] == ["prestart"]
    assert builders.environment(document)[1:] == ["NVIDIA_VISIBLE_DEVICES=void"]
    assert [part["from"] for part in record(site)["injected"]][-1] == {
        "setting": "nvidia-container-runtime.image-requests"
    }
