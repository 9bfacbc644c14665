# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk explain --image: images of all kinds, on a machine with a GPU and on one without."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
from builders import asking, cdi_spec, device
from images import written
from images.written import Files
from shim import Site

from nvidia_runtime.admission.policy import UNPRIVILEGED

from . import ctk

LIBRARIES = "usr/lib/x86_64-linux-gnu"
PLAIN: Files = {
    "bin/sh": written.program(written.GLIBC),
    "lib64/ld-linux-x86-64.so.2": "x",
    f"{LIBRARIES}/libc.so.6": "x",
}
ALL = "NVIDIA_VISIBLE_DEVICES=all"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        mount = {"hostPath": "/usr", "containerPath": f"/{LIBRARIES}/libcuda.so.580.95.05"}
        edits = {"mounts": [mount], "env": ["GPU=all"]}
        machine.write_specs(gpus=cdi_spec(device("all", **edits), device("0")))
        yield machine


def explain(site: Site, image: str | Path, *words: str) -> list[str]:
    """Return what is said, less the image's own line."""
    env = {**site.environment, "PYTHONPATH": str(shim.TREE), "DOCKER_HOST": "unix:///nowhere"}
    line = [sys.executable, "-c", ctk.PROGRAM, "explain", "--image", os.fspath(image), *words]
    got = shim.end(site.execute(line, env=env))
    assert (got.code, got.err) == (0, "")
    return got.out.decode().splitlines()[1:]


CASES: dict[str, tuple[list[str], Files, dict[str, str], list[str]]] = {
    "says nothing": (
        [],
        PLAIN,
        {},
        [
            "says       nothing of GPUs",
            "asks for   nothing by itself: it gets what its user asks for",
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
        ],
    ),
    "asks for all": (
        [ALL, "PASSWORD=secret"],
        PLAIN,
        {},
        [
            f"says       {ALL}",
            "asks for   all by environment",
            "gets       0 device nodes, 1 mount, 1 variable in mode cdi",
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
        ],
    ),
    "may not ask": (
        [ALL],
        PLAIN,
        {"image_requests": "deny"},
        [
            f"says       {ALL}",
            "asks for   nothing by itself: it gets what its user asks for",
            "refused    ignoring NVIDIA_VISIBLE_DEVICES of the image (all);"
            ' nvidia-container-runtime.image-requests is "deny"',
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
        ],
    ),
    "asks for what there is not": (
        ["NVIDIA_VISIBLE_DEVICES=7"],
        {},
        {},
        [
            "says       NVIDIA_VISIBLE_DEVICES=7",
            "asks for   7 by environment",
            "fails      unresolvable CDI devices nvidia.com/gpu=7; …",
            "libc       none: it has no loader: only static programs run, which load no library of"
            " the driver's",
        ],
    ),
    "musl": (
        [],
        {"bin/sh": written.program(written.MUSL), "lib/ld-musl-x86_64.so.1": "x"},
        {},
        [
            "says       nothing of GPUs",
            "asks for   nothing by itself: it gets what its user asks for",
            "libc       musl (/lib/ld-musl-x86_64.so.1): its programs cannot load the driver's"
            " libraries, which need glibc; nvidia-smi, CUDA and all else of the driver's will not"
            " start",
        ],
    ),
    "files of a driver": (
        [ALL],
        {**PLAIN, f"{LIBRARIES}/libcuda.so.1": "", f"{LIBRARIES}/libcuda.so.550.54.14": "x"},
        {},
        [
            f"says       {ALL}",
            "asks for   all by environment",
            "gets       0 device nodes, 1 mount, 1 variable in mode cdi",
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
            f"baked in   /{LIBRARIES}/libcuda.so.1: empty, hidden by the file of this driver",
            f"baked in   /{LIBRARIES}/libcuda.so.550.54.14: of driver 550.54.14",
            "           a build or a commit with a GPU has left them: remove them from the image",
        ],
    ),
    "stubs before the driver": (
        ["LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs:/x"],
        PLAIN,
        {},
        [
            "says       LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs:/x",
            "asks for   nothing by itself: it gets what its user asks for",
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
            "warning    LD_LIBRARY_PATH has /usr/local/cuda/lib64/stubs, whose libraries are for"
            " linking alone and hide the driver's",
        ],
    ),
    "shows no escapes": (
        ["NVIDIA_VISIBLE_DEVICES=void\x1b[2J"],
        PLAIN,
        {"image_requests": "deny"},
        [
            "says       NVIDIA_VISIBLE_DEVICES=void\\x1b[2J",
            "asks for   nothing by itself: it gets what its user asks for",
            "refused    ignoring NVIDIA_VISIBLE_DEVICES of the image (void\\x1b[2J);"
            ' nvidia-container-runtime.image-requests is "deny"',
            "libc       glibc (/lib64/ld-linux-x86-64.so.2)",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_image(name: str, site: Site, tmp_path: Path) -> None:
    env, files, settings, expected = CASES[name]
    if settings:
        site.write_config(**settings)

    lines = explain(site, written.layout(tmp_path / "image", [files], env=env))

    # Where it was looked up is the site's.
    lines = [line.partition(";")[0] + "; …" if line.startswith("fails") else line for line in lines]
    assert [line for line in lines if not line.startswith("hint ")] == expected


@pytest.mark.parametrize(
    ("env", "is_trusted"),
    [
        ([ALL], True),
        (["NVIDIA_VISIBLE_DEVICES=0,all"], True),
        (["NVIDIA_VISIBLE_DEVICES=7"], True),
        (["CUDA_VERSION=12.4.1"], True),
        (["NVIDIA_VISIBLE_DEVICES=void", "CUDA_VERSION=12.4.1"], True),
        (["NVIDIA_VISIBLE_DEVICES=0", ALL], True),
        ([ALL], False),
    ],
)
def test_answer_is_what_a_create_does(
    env: list[str], is_trusted: bool, site: Site, tmp_path: Path
) -> None:
    """Of a container that docker would make of it."""
    if not is_trusted:
        site.write_config(f"{UNPRIVILEGED} = false\n{site.config.read_text()}")
    document = asking()
    document["process"]["env"] = env
    site.write_bundle(document)
    got = site.create("c1")

    text = "\n".join(explain(site, written.layout(tmp_path / "i", [], env=env), "--json"))
    said = json.loads("{\n" + text)

    folder = "failed" if got.code else "containers"
    file = site.state / folder / "c1.json"
    record: dict[str, Any] = {"requested": [], "by": ""}
    record |= json.loads(file.read_text()) if file.exists() else {}
    assert bool(said["failure"]) == bool(got.code)
    if got.code:
        assert said["failure"]["error"] == record["failure"]["error"]
        return
    assert [said["requested"], said["by"]] == [record["requested"], record["by"]]
    assert said["refused"] == record.get("refused", [])
    added = site.read_bundle()["process"]["env"]
    assert all(entry in added for entry in said["env"])


def on_machine(image: Path, *words: str, name: str = "t4x1") -> dict[str, Any]:
    """Return what is said of an image on a simulated machine."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(simulated.TREE), **ctk.HOOK}
    argv = [sys.executable, "-c", ctk.PROGRAM, "explain", "--json", "--image", str(image), *words]
    got = simulated.run(name, argv, env=env)
    assert (got.returncode, got.stderr) == (0, "")
    said: dict[str, Any] = json.loads(got.stdout)
    return said


def test_requirement_that_is_not_met(tmp_path: Path) -> None:
    env = [ALL, "NVIDIA_REQUIRE_CUDA=cuda>=99.1"]

    said = on_machine(written.layout(tmp_path / "i", [PLAIN], env=env))

    assert said["requirements"]["verdict"] == "unmet"
    assert said["requirements"]["sentence"].startswith("the image needs CUDA >= 99.1, driver ")
    assert said["mode"] == "jit-cdi"
    assert "/dev/nvidia0" in said["devices"]
    assert said["warnings"] == []  # it is not said twice


def test_requirement_that_is_met(tmp_path: Path) -> None:
    said = on_machine(written.layout(tmp_path / "i", [], env=["NVIDIA_REQUIRE_CUDA=cuda>=11.0"]))

    assert said["requirements"]["verdict"] == "met"
    assert said["requested"] == []


@pytest.mark.parametrize(
    ("env", "is_used"), [([ALL], True), ([], False)], ids=["asking", "asking for nothing"]
)
def test_compatibility_libraries(env: list[str], is_used: bool, tmp_path: Path) -> None:
    """What nobody looks at is not used, however new."""
    files = {**PLAIN, "usr/local/cuda/compat/libcuda.so.999.1.1": "x"}

    said = on_machine(written.layout(tmp_path / "i", [files], env=env))

    assert said["compat"]["used"] == is_used
    assert said["compat"]["reason"].startswith("the image's libcuda 999.1.1 against driver ")


def test_files_that_the_driver_hides(tmp_path: Path) -> None:
    """An image that was committed on the very same machine is none the worse here."""
    mounts = on_machine(written.layout(tmp_path / "i", [], env=[ALL]))["mounts"]
    libraries = {path.lstrip("/"): "" for path in mounts if "/lib" in path and ".so." in path}

    said = on_machine(written.layout(tmp_path / "j", [libraries], env=[ALL]))

    assert said["baked"]
    assert all(one["hidden"] for one in said["baked"])


def test_image_of_another_processor(tmp_path: Path) -> None:
    image = written.layout(tmp_path / "i", [PLAIN], architecture="s390x")

    got = ctk.run("explain", "--image", image)

    assert any(
        line.startswith("warning    the image is for s390x, this machine is ")
        for line in got.lines()
    )


def test_annotation_of_an_image(tmp_path: Path) -> None:
    annotations = {"cdi.k8s.io/x": "nvidia.com/gpu=0", "other": "x"}
    image = written.layout(tmp_path / "i", [PLAIN], annotations=annotations)

    assert ctk.run("explain", "--image", image).lines()[-1] == (
        "warning    the annotation cdi.k8s.io/x asks for nvidia.com/gpu=0: podman before 5 copies it"
    )


def test_only_the_configuration_can_be_read(tmp_path: Path) -> None:
    image = written.layout(tmp_path / "i", [b"nonsense"], env=["NVIDIA_VISIBLE_DEVICES=void"])

    lines = ctk.run("explain", "--image", image).lines()

    assert lines[1] == "says       NVIDIA_VISIBLE_DEVICES=void"
    assert lines[-1].startswith("files      not looked at: layer 1 cannot be read as a tar file")


def test_endless_environment(tmp_path: Path) -> None:
    """What an image says is not repeated without end, but counts."""
    many = [f"NVIDIA_{number}={'x' * 10_000}" for number in range(500)]
    image = written.layout(tmp_path / "i", [], env=[*many, "NVIDIA_REQUIRE_CUDA=cuda>=99"])

    said = on_machine(image)

    assert len(said["says"]) == 64
    assert len(json.dumps(said)) < 100_000
    assert said["requirements"]["verdict"] == "unmet"


def test_root_folder_with_links_out(tmp_path: Path) -> None:
    """What is the host's is not the image's."""
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "bin").symlink_to("/bin")
    (root / "lib").symlink_to("../../../../../../../lib")
    (root / "usr/lib/libcuda.so.1").symlink_to("/etc/passwd")

    lines = ctk.run("explain", "--image", root).lines()

    assert lines[3].startswith("libc       none")
    assert "baked in   /usr/lib/libcuda.so.1: a link to nothing" in lines


def test_deep_trees_and_many_files(tmp_path: Path) -> None:
    """Only what is looked for is shown, and not all of it."""
    root = tmp_path / "root"
    folder = root / "usr/lib"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"libnvidia-{number}.so.1").touch()
    deep = root
    for _ in range(200):
        deep /= "d"
    deep.mkdir(parents=True)

    lines = ctk.run("explain", "--image", root).lines()

    assert "baked in   and 295 more (--all lists them)" in lines
    assert len(ctk.run("explain", "--image", root, "--all").lines()) == len(lines) + 294


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--image", "nothing/of:this"], "there is no image 'nothing/of:this'"),
        (["--image", "/nowhere"], "/nowhere: no such file or directory"),
        (["--image", "/tmp", "c1"], "--image is in the place of a container"),
    ],
)
def test_errors(words: list[str], says: str) -> None:
    got = ctk.run("explain", *words, DOCKER_HOST="unix:///nowhere")

    assert (got.code, got.out) == (1, "")
    assert got.err.startswith(f"nvidia-ctk: {says}\n")
