# SPDX-License-Identifier: Apache-2.0
"""What is done for each verb of NVIDIA's hooks, and what is left to a hook, with its reason."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import processes
from engines.bundles import Bundles
from engines.installed import require

from . import images, sight
from .boxes import Change, box
from .site import Site

FOLDER = "/usr/lib/x86_64-linux-gnu"
PARAMETERS = "/proc/driver/nvidia/params"
HOOK = "nvidia-cdi-hook"


@pytest.fixture
def busy_driver(cluster: Site) -> Iterator[None]:
    """Let the driver make nodes, as most do: simulated ones do not."""
    file = cluster.path(PARAMETERS)
    before = file.read_text()
    file.write_text(before.replace("ModifyDeviceFiles: 0", "ModifyDeviceFiles: 1"))
    yield
    file.write_text(before)


def volume(folder: Path, path: str) -> Change:
    """Return a change that mounts a copy of a folder of the image's over it, as a user's volume."""
    source = folder / path.strip("/").replace("/", "-")
    shutil.copytree(images.get("bookworm") / path.lstrip("/"), source, symlinks=True)

    def change(spec: dict[str, Any]) -> None:
        mount = {"destination": path, "type": "bind", "source": os.fspath(source)}
        spec["mounts"].append({**mount, "options": ["rbind", "rw"]})

    return change


def test_by_every_setting_programs_find_the_same(site: Site, runc: Bundles) -> None:
    """What the hooks do in the container is what is done without them on the host."""
    seen, hooks = {}, {}
    for setting in ("auto", "never", "always", "toolkit"):
        program = os.fspath(site.shim.parent / HOOK)
        runtime = site.runtime(f"set-{setting}", require("runc"), in_container_hooks=setting)
        with (runtime.path.parent / "config.toml").open("a") as file:
            file.write(f"[nvidia-ctk]\npath = {json.dumps(program)}\n")
        with box(site, runc, runtime, images.get("bookworm")) as container:
            hooks[setting] = [hook["args"][:2] for hook in container.hooks()]
            listed = sight.cache(container.tell)
            leads = sight.targets(container.tell, {paths[0] for paths in listed.values()})
            seen[setting] = {name: leads[paths[0]] for name, paths in listed.items()}

    assert hooks["auto"] == hooks["never"] == []
    assert hooks["always"] == [[HOOK, "create-symlinks"]]
    assert len(hooks["toolkit"]) > 3
    assert seen["auto"] == seen["never"] == seen["always"] == seen["toolkit"]


@pytest.mark.parametrize("path", ["/etc", FOLDER, "/etc/ld.so.conf.d"])
def test_below_a_volume_a_hook_does_it(
    site: Site, runc: Bundles, tmp_path: Path, path: str
) -> None:
    change = volume(tmp_path, path)
    with box(site, runc, runc.runtime, images.get("bookworm"), change=change) as container:
        hooks = container.hooks()
        assert [hook["args"][0] for hook in hooks] == [HOOK], container.failure
        assert hooks[0]["path"] == os.fspath(site.shim.parent / HOOK)
        assert hooks[0]["env"]
        assert f"the mount {path}" in "\n".join(container.reasons())
        assert f"the mount {path}" in site.explain(container.id)
        wanted = sight.libraries(container.config(), site.path("/"))
        assert wanted.keys() <= sight.cache(container.tell).keys()
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}


def test_where_hooks_are_forbidden_a_volume_is_an_error(
    site: Site, runc: Bundles, tmp_path: Path
) -> None:
    """A container that could not find its driver does not start, and nothing was written for it."""
    runtime = site.runtime("forbidden", require("runc"), in_container_hooks="never")
    change = volume(tmp_path, "/etc")
    with box(site, runc, runtime, images.get("bookworm"), change=change) as container:
        assert container.running is None
        assert "is below the mount /etc" in container.failure
        assert 'in-container-hooks to "auto" to allow a hook for it' in container.failure
        assert container.written() == {}


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(["etc/ld.so.cache"], id="no cache"),
        pytest.param(["etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d"], id="no settings"),
    ],
)
def test_an_image_may_lack_what_is_added_to(site: Site, runc: Bundles, missing: list[str]) -> None:
    def without(root: Path) -> None:
        for name in missing:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    with box(site, runc, runc.runtime, images.get("bookworm"), prepare=without) as container:
        wanted = sight.libraries(container.config(), site.path("/"))
        assert container.hooks() == []
        assert wanted.keys() <= sight.cache(container.tell).keys()
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}

        container.tell("ldconfig")

        assert wanted.keys() <= sight.cache(container.tell).keys()


def test_a_broken_cache_is_made_anew_and_the_record_says_so(site: Site, runc: Bundles) -> None:
    def spoil(root: Path) -> None:
        cache = root / "etc/ld.so.cache"
        data = cache.read_bytes()[:200]
        cache.unlink()
        cache.write_bytes(data)

    with box(site, runc, runc.runtime, images.get("bookworm"), prepare=spoil) as container:
        wanted = sight.libraries(container.config(), site.path("/"))
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}
        assert any("was made anew" in reason for reason in container.reasons())
        assert "was made anew" in site.explain(container.id)


def test_a_read_only_root_is_an_error_that_says_so(site: Site, runc: Bundles) -> None:
    image = images.get("bookworm")
    with box(site, runc, runc.runtime, image, options="ro") as container:
        assert container.running is None
        assert "read-only file system" in container.failure
        assert "hint: " in container.failure
        assert "Traceback" not in container.failure
        assert container.written() == {}


def test_a_read_only_root_that_is_prepared_already_needs_nothing(site: Site, runc: Bundles) -> None:
    """It is not written to where all is right: an image may be made by committing a container."""
    with box(site, runc, runc.runtime, images.get("bookworm")) as container:
        container.stop()
        site.succeed("mount", "-o", "remount,ro", container.bundle / "rootfs")

        container.start()

        wanted = sight.libraries(container.config(), site.path("/"))
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}


def test_drm_nodes_are_found_by_path(site: Site, runc: Bundles) -> None:
    """As in /dev/dri/by-path of the host, and nothing can be written there."""
    host = site.path("/dev/dri/by-path")
    with box(site, runc, runc.runtime, images.get("bookworm")) as container:
        links = {name: os.readlink(host / name) for name in sorted(os.listdir(host))}
        names = container.tell("ls", "/dev/dri/by-path").split()
        targets = {
            name: container.tell("readlink", f"/dev/dri/by-path/{name}").strip() for name in names
        }
        assert targets == links
        for name in names:
            container.tell("test", "-c", f"/dev/dri/by-path/{name}")
        assert container.run("touch", "/dev/dri/by-path/x").returncode != 0


@pytest.mark.parametrize("gpus", ["0", "1,3", "all"])
def test_the_application_profile_names_the_containers_gpus(
    cluster: Site, cluster_runc: Bundles, gpus: str
) -> None:
    image = images.get("busybox")
    with box(
        cluster, cluster_runc, cluster_runc.runtime, image, gpus=gpus, change=without_mknod
    ) as container:
        folder = "/etc/nvidia/nvidia-application-profiles-rc.d"
        said = container.tell("cat", f"{folder}/10-container.conf")
        nodes = re.findall(r"^nvidia(\d+)$", container.tell("ls", "/dev"), re.MULTILINE)
        mask = sum(1 << int(minor) for minor in nodes)
        assert len(nodes) == (8 if gpus == "all" else len(gpus.split(",")))
        assert f'"settings":["EGLVisibleDGPUDevices",{mask:#x}]' in said


def without_mknod(spec: dict[str, Any]) -> None:
    """Take away the capability to make device nodes."""
    for names in spec["process"]["capabilities"].values():
        names[:] = [name for name in names if name != "CAP_MKNOD"]


def with_user_namespace(spec: dict[str, Any]) -> None:
    """Return a user namespace, as userns-remap and rootless engines do."""
    mapping = [{"containerID": 0, "hostID": 0, "size": 65536}]
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}


def unchanged(spec: dict[str, Any]) -> None:
    """Leave it."""
    del spec


@pytest.mark.usefixtures("busy_driver")
@pytest.mark.parametrize(
    ("gpus", "change", "why"),
    [
        pytest.param(
            "0", without_mknod, "the container may not make device nodes", id="no CAP_MKNOD"
        ),
        pytest.param(
            "0", with_user_namespace, "the container may not make device nodes", id="user namespace"
        ),
        pytest.param("all", unchanged, "the container has all GPUs", id="all GPUs"),
    ],
)
def test_runc_gets_no_hook_where_nodes_cannot_be_made(
    cluster: Site, cluster_runc: Bundles, gpus: str, change: Change, why: str
) -> None:
    image = images.get("busybox")
    with box(
        cluster, cluster_runc, cluster_runc.runtime, image, gpus=gpus, change=change
    ) as container:
        assert container.running, container.failure
        assert container.hooks() == []
        assert f"disable-device-node-modification is not needed: {why}" in "\n".join(
            container.reasons()
        )


@pytest.mark.usefixtures("busy_driver")
def test_runc_gets_a_hook_for_the_drivers_parameters_alone(
    cluster: Site, cluster_runc: Bundles
) -> None:
    """It mounts nothing below /proc; where the file is, the hook covers it."""
    image = images.get("busybox")
    with box(cluster, cluster_runc, cluster_runc.runtime, image, gpus="0") as container:
        hooks = [hook["args"] for hook in container.hooks()]
        assert hooks == [[HOOK, "disable-device-node-modification"]]
        # Simulated entries of /proc are mounts, which a container's own /proc does not have.
        assert f"{HOOK}: {PARAMETERS}: cannot be covered" in container.failure


@pytest.mark.usefixtures("busy_driver")
def test_crun_mounts_the_drivers_parameters(cluster: Site, cluster_crun: Bundles) -> None:
    """Simulated entries of /proc are not in a container's: crun is shown another file of it."""
    image = images.get("busybox")
    with box(cluster, cluster_crun, cluster_crun.runtime, image, gpus="0") as container:
        assert container.hooks() == []
        spec = container.config()
        mounts = [mount for mount in spec["mounts"] if mount["destination"] == PARAMETERS]
        assert len(mounts) == 1
        mounts[0]["destination"] = "/proc/version"
        spec["process"]["args"] = ["cat", "/proc/version"]
        (container.bundle / "config.json").write_text(json.dumps(spec))
        where = ("--root", os.fspath(cluster_crun.state()), "run")

        said = processes.succeed(
            [*cluster_crun.enter, require("crun"), *where, "--bundle", str(container.bundle), "p"]
        )

        assert "ModifyDeviceFiles: 0\n" in said
        assert said.replace("Files: 0", "Files: 1") == cluster.path(PARAMETERS).read_text()


@pytest.mark.parametrize("name", ["runc_v2", "crun"])
def test_other_low_level_runtimes_do_as_runc(
    request: pytest.FixtureRequest, site: Site, name: str
) -> None:
    live: Bundles = request.getfixturevalue(name)
    with box(site, live, live.runtime, images.get("bookworm")) as container:
        wanted = sight.libraries(container.config(), site.path("/"))
        assert container.hooks() == []
        assert wanted.keys() <= sight.cache(container.tell).keys()
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}
