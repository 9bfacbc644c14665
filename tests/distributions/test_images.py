# SPDX-License-Identifier: Apache-2.0
"""What containers of each distribution find of the driver, where no hook has run in them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.bundles import Bundles
from engines.installed import require

from . import images, sight
from .boxes import Box, box
from .site import Site

FOLDER = "/usr/lib/x86_64-linux-gnu"
GLIBC = [
    "bookworm",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("bullseye", "trixie", "split")),
    pytest.param("lib64", marks=pytest.mark.long),
]
ALL = [*GLIBC, "musl", "busybox", pytest.param("i386", marks=pytest.mark.long)]
# Links that the driver's own installer makes beside those by soname.
UNVERSIONED = {f"{FOLDER}/libcuda.so": f"{FOLDER}/libcuda.so.580.95.05"}


@pytest.fixture
def container(request: pytest.FixtureRequest, site: Site, runc: Bundles) -> Iterator[Box]:
    """Start a container of the image that the test names, with all GPUs."""
    with box(site, runc, runc.runtime, images.get(request.param)) as started:
        yield started


@pytest.mark.parametrize("container", ALL, indirect=True)
def test_no_hook_runs_and_all_links_lead_to_the_driver(container: Box) -> None:
    wanted = sight.libraries(container.config(), container.site.path("/"))
    links = {f"{FOLDER}/{soname}": path for soname, path in wanted.items()} | UNVERSIONED

    assert container.hooks() == []
    assert len(wanted) > 30
    assert sight.targets(container.tell, links) == links
    assert not [why for why in container.reasons() if "left to a hook" in why]


@pytest.mark.parametrize("container", GLIBC, indirect=True)
def test_ldconfig_lists_the_driver_and_the_loader_loads_it(container: Box) -> None:
    wanted = sight.libraries(container.config(), container.site.path("/"))

    listed = sight.cache(container.tell)

    assert {name: listed.get(name, [""])[0] for name in wanted} == {
        name: f"{FOLDER}/{name}" for name in wanted
    }
    said = sight.loads(container.tell, [*wanted, "libcuda.so"])
    assert len(said) == len(wanted)
    assert set(said.values()) == {"loads"}


def test_without_gpus_there_is_nothing_to_find(site: Site, runc: Bundles) -> None:
    """The questions of these tests have another answer, too."""
    with box(site, runc, runc.runtime, images.get("bookworm"), gpus="void") as container:
        said = sight.loads(container.tell, ["libcuda.so.1", "libcrypt.so.1"])

        assert "cannot open shared object file" in said["libcuda.so.1"]
        assert said["libcrypt.so.1"] == "loads"
        assert not [name for name in sight.cache(container.tell) if "nvidia" in name]
        assert not [name for name in container.written() if "nvidia" in name]


@pytest.mark.parametrize("container", GLIBC, indirect=True)
def test_the_images_own_libraries_are_listed_as_before(container: Box) -> None:
    original = sight.cache(lambda *words: container.site.succeed("chroot", container.image, *words))

    listed = sight.cache(container.tell)

    assert len(original) > 50
    assert {name: listed[name] for name in original} == original


@pytest.mark.parametrize("container", GLIBC, indirect=True)
def test_a_later_ldconfig_keeps_the_driver(container: Box) -> None:
    """The image's own ldconfig is the judge: it comes to the same rows, and loads as before."""
    before = sight.cache(container.tell)
    wanted = sight.libraries(container.config(), container.site.path("/"))

    container.tell("ldconfig")

    after = sight.cache(container.tell)
    assert after.keys() == before.keys()
    files = {paths[0] for paths in [*before.values(), *after.values()]}
    leads = sight.targets(container.tell, files)
    assert {name: leads[paths[0]] for name, paths in after.items()} == {
        name: leads[paths[0]] for name, paths in before.items()
    }
    assert set(sight.loads(container.tell, wanted).values()) == {"loads"}


@pytest.mark.parametrize("container", ALL, indirect=True)
def test_ten_starts_leave_what_one_left(container: Box) -> None:
    """Not even an inode is another one: what is right already is not written again."""
    once = container.written()

    for _ in range(9):
        container.stop()
        container.start()

    assert container.running, container.failure
    assert container.written() == once
    assert any(what.startswith("-> ") for what in once.values())


def test_musl_loads_the_driver_and_all_that_it_found_before(site: Site, runc: Bundles) -> None:
    """A path file replaces musl's own folders, so it has to name them too."""
    image = images.get("musl")
    with box(site, runc, runc.runtime, image) as container:
        wanted = sight.libraries(container.config(), site.path("/"))

        said = sight.loads(container.tell, wanted, musl=True)

        assert len(said) > 30
        assert set(said.values()) == {"loads"}
        path = container.tell("cat", f"/etc/ld-musl-{os.uname().machine}.path")
        assert path.split() == [FOLDER, f"{FOLDER}/vdpau", "/lib", "/usr/local/lib", "/usr/lib"]


def test_a_driver_library_of_the_images_gives_way(site: Site, runc: Bundles) -> None:
    """An image that was made by committing a container with another driver starts as any other."""
    older, newer = "libcuda.so.570.1.1", "libcuda.so.590.1.1"

    def leave(root: Path) -> None:
        folder = root / FOLDER.lstrip("/")
        for name in (older, newer):
            (folder / name).write_bytes(b"")
        (folder / "libcuda.so.1").symlink_to(newer)

    with box(site, runc, runc.runtime, images.get("bookworm"), prepare=leave) as container:
        said = sight.loads(container.tell, ["libcuda.so.1", "libcuda.so"])

        assert said == {"libcuda.so": "loads", "libcuda.so.1": "loads"}
        leads = sight.targets(container.tell, [f"{FOLDER}/libcuda.so.1"])
        assert leads == {f"{FOLDER}/libcuda.so.1": f"{FOLDER}/libcuda.so.580.95.05"}


@pytest.mark.long
def test_installing_a_library_package_keeps_the_driver(
    site: Site, runc: Bundles, tmp_path: Path
) -> None:
    """dpkg's trigger of libc-bin runs ldconfig."""
    package = images.package(tmp_path)

    def leave(root: Path) -> None:
        shutil.copy(package, root / "package.deb")

    with box(site, runc, runc.runtime, images.get("bookworm"), prepare=leave) as container:
        wanted = sight.libraries(container.config(), site.path("/"))

        said = container.tell("dpkg", "--install", "/package.deb")

        assert "Processing triggers for libc-bin" in said
        listed = sight.cache(container.tell)
        assert "libnvcrstub.so.1" in listed
        assert wanted.keys() <= listed.keys()
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}


@pytest.mark.long
def test_a_32_bit_image_loads_a_32_bit_library(site: Site, runc: Bundles) -> None:
    """Its loader takes rows of its own kind only, and its own libraries load as before."""
    folder, place = site.scratch / "i386", "/usr/lib/i386-linux-gnu"
    folder.mkdir()
    library = images.stub(folder, "-m32")
    hook = {
        "hookName": "createContainer",
        "path": "/usr/bin/nvidia-cdi-hook",
        "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", place],
    }
    mount = {
        "hostPath": os.fspath(library),
        "containerPath": f"{place}/{library.name}",
        "options": ["ro", "rbind", "rprivate"],
    }
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "all", "containerEdits": {"mounts": [mount]}}],
        "containerEdits": {"hooks": [hook]},
    }
    (folder / "nvidia.json").write_text(json.dumps(spec))
    runtime = site.runtime_of_specs("i386", require("runc"), folder)
    names = ["libnvcrstub.so.1", "libcrypt.so.1"]

    with box(site, runc, runtime, images.get("i386")) as container:
        assert container.hooks() == []
        before = sight.cache(container.tell)
        assert before["libnvcrstub.so.1"] == [f"{place}/libnvcrstub.so.1"]
        assert sight.loads(container.tell, names) == dict.fromkeys(names, "loads")

        container.tell("ldconfig")

        assert sight.cache(container.tell).keys() == before.keys()
        assert sight.loads(container.tell, names) == dict.fromkeys(names, "loads")
