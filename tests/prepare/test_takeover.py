# SPDX-License-Identifier: Apache-2.0
"""Hooks done on the host: what is taken over, what is left, and what the container then finds."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from rootfs import images
from rootfs.images import FOLDER
from shim import BIN, needs_root

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import edit
from nvidia_runtime.prepare import carry_out, node_filter, takeover, work
from nvidia_runtime.rootfs import loader, resolver
from nvidia_runtime.store import files as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nvidia_runtime.prepare.work import Work

Document = dict[str, Any]
HOOK = "/usr/bin/nvidia-cdi-hook"
PROGRAM = "/opt/ours/nvidia-cdi-hook"
V = "580.95.05"
LIBRARIES = {f"libcuda.so.{V}": "libcuda.so.1", f"libnvidia-ml.so.{V}": "libnvidia-ml.so.1"}
LINK = ("create-symlinks", "--link", f"libcuda.so.1::{FOLDER}/libcuda.so")
CARD = "pci-0000:3b:00.0-card"
BY_PATH = ("create-symlinks", "--link", f"../card1::/dev/dri/by-path/{CARD}")
LDCACHE = ("update-ldcache", "--folder", FOLDER)
COMPAT = ("enable-cuda-compat", f"--host-driver-version={V}")
PROFILE = ("update-application-profile",)
PARAMETERS = ("disable-device-node-modification",)
ENGINE_MOUNTS = ["/proc", "/dev", "/dev/pts", "/sys", "/etc/hosts", "/etc/resolv.conf"]
DEBIAN: dict[str, str | bytes] = {
    "etc/debian_version": "12",
    "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
    f"{FOLDER}/libz.so.1": images.library("libz.so.1"),
    "lib": "-> usr/lib",
    "dev/": "",
    "proc/": "",
}
COMPATIBLE = {"usr/local/cuda/compat/libcuda.so.590.1.1": images.library("libcuda.so.1")}


def hook(*words: str, path: str = HOOK) -> Document:
    name = path.rpartition("/")[2]
    first = [name, "hook"] if name == "nvidia-ctk" else [name]
    return {"path": path, "args": [*first, *words], "env": ["NVIDIA_CTK_DEBUG=false"]}


class Machine:
    """A host with a driver, an image, and a container that is about to be made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "bundle/rootfs"
        self.state = folder / "state"
        self.state.mkdir()
        uid_map = {"proc/self/uid_map": "         0          0 4294967295\n"}
        self.host = images.make(folder / "host", uid_map)
        self.spec: Document = {
            "root": {"path": "rootfs"},
            "mounts": [{"destination": path} for path in ENGINE_MOUNTS],
            "process": {"capabilities": {"bounding": ["CAP_CHOWN"]}},
            "linux": {},
        }
        self.runtime = "/usr/sbin/runc"
        self.by_filter = False
        self.program = PROGRAM
        self.made: Document = {}
        self.use_driver(FOLDER)

    def use_driver(self, folder: str) -> None:
        for name, soname in LIBRARIES.items():
            images.make(self.folder / "driver", {name: images.library(soname)})
        self.mounts: list[Document] = [
            {"destination": f"{folder}/{name}", "source": f"{self.folder}/driver/{name}"}
            for name in LIBRARIES
        ]

    def cover(self, *paths: str) -> None:
        self.spec["mounts"] += [{"destination": path, "source": "/tmp"} for path in paths]

    def plan(
        self,
        *hooks: Document | tuple[str, ...],
        setting: str = "auto",
        bundle: str = "bundle",
        nodes: Sequence[str] = (),
    ) -> Work:
        """Plan for an injection of the driver, GPUs 0 and 3, and nodes, with these hooks."""
        entries = [hook(*one) if isinstance(one, tuple) else one for one in hooks]
        gpus: list[Document] = [
            {"path": f"/dev/nvidia{n}", "type": "c", "minor": n} for n in (0, 3)
        ]
        gpus += [{"path": f"/dev/{name}", "type": "c", "minor": 1} for name in nodes]
        edits = [{"devices": gpus, "mounts": self.mounts, "hooks": {"createContainer": entries}}]
        before = copy.deepcopy(edits)
        how = work.Conditions(setting, self.runtime, self.program, f"{self.state}", f"{self.host}")
        how.by_filter = self.by_filter
        planned = takeover.plan(edits, self.spec, f"{self.folder}/{bundle}", "config.json", how)
        assert edits == before
        return planned

    def start(self, *hooks: Document | tuple[str, ...], setting: str = "auto") -> list[str]:
        """Prepare a container; everything must be done on the host. Return what is said."""
        planned = self.plan(*hooks, setting=setting)
        assert takeover.hooks_of(planned.edits) == [], planned.reasons
        return planned.reasons + carry_out.carry_out(planned)

    def names(self) -> list[tuple[str, str]]:
        """Return name and path of each entry of the container's cache."""
        return [row[:2] for row in images.rows(self.root)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    host = Machine(tmp_path)
    images.make(host.root, DEBIAN)
    images.run_ldconfig(host.root)
    return host


pytestmark = pytest.mark.skipif(
    not shutil.which(images.LDCONFIG), reason="needs ldconfig of glibc to make an image"
)


def left(planned: Work) -> list[list[str]]:
    """Return the words of the hooks that remain."""
    return [entry["args"][1:] for entry in takeover.hooks_of(planned.edits)]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(hook(*LINK, path="/usr/bin/other-hook"), id="another program"),
        pytest.param(hook("new-verb"), id="a verb that we do not know"),
        pytest.param(hook("create-symlinks", "--new=1"), id="a flag that we do not know"),
        pytest.param(hook(*LINK, "--container-spec=/x"), id="another container's state"),
        pytest.param({"path": HOOK}, id="no words"),
        pytest.param(
            {"path": "/usr/bin/nvidia-ctk", "args": ["nvidia-ctk", "cdi", "list"]}, id="no hook"
        ),
    ],
)
@pytest.mark.parametrize("setting", ["auto", "always", "never", "toolkit"])
def test_hooks_of_others_stay(entry: Document, setting: str, machine: Machine) -> None:
    planned = machine.plan(entry, setting=setting)

    assert takeover.hooks_of(planned.edits) == [entry]
    assert planned.is_empty()


def test_toolkits_own_hooks_stay_where_they_are_wanted(machine: Machine) -> None:
    entries = [hook(*LINK), hook(*LDCACHE)]

    assert takeover.hooks_of(machine.plan(*entries, setting="toolkit").edits) == entries


def test_always_is_one_call_of_ours(machine: Machine) -> None:
    other = hook("x", path="/usr/bin/other")

    planned = machine.plan(LINK, other, COMPAT, LDCACHE, setting="always")

    ours, kept = takeover.hooks_of(planned.edits)
    assert kept == other
    assert ours == {
        "path": PROGRAM,
        "args": [
            *("nvidia-cdi-hook", *LINK),
            *("--then", "enable-cuda-compat", "--host-driver-version", V, "--then", *LDCACHE),
        ],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "NVIDIA_CTK_DEBUG=false"],
    }
    assert planned.is_empty()


@pytest.mark.parametrize("path", [HOOK, "/usr/bin/nvidia-ctk", "/opt/x/nvidia-cdi-hook"])
def test_driver_is_found_without_a_hook(path: str, machine: Machine) -> None:
    machine.start(*[hook(*words, path=path) for words in (LINK, COMPAT, LDCACHE)])

    assert machine.names() == [
        ("libz.so.1", f"{FOLDER.removeprefix('/usr')}/libz.so.1"),
        ("libnvidia-ml.so.1", f"{FOLDER}/libnvidia-ml.so.1"),
        ("libcuda.so.1", f"{FOLDER}/libcuda.so.1"),
        ("libcuda.so", f"{FOLDER}/libcuda.so"),
    ]
    links = {
        name: os.readlink(f"{machine.root}{FOLDER}/{name}")
        for name in ("libcuda.so.1", "libcuda.so")
    }
    assert links == {"libcuda.so.1": f"libcuda.so.{V}", "libcuda.so": "libcuda.so.1"}
    assert not (machine.root / "etc/ld.so.conf.d").exists()


def test_ldconfig_in_the_container_comes_to_the_same(machine: Machine) -> None:
    """When a package is installed there, say, with the driver's libraries in their places."""
    machine.use_driver("/opt/nv")
    machine.start(("update-ldcache", "--folder", "/opt/nv"))
    ours = machine.names()
    for mount in machine.mounts:
        shutil.copy(mount["source"], f"{machine.root}{mount['destination']}")

    images.run_ldconfig(machine.root)

    assert machine.names() == ours
    assert (machine.root / "etc/ld.so.conf.d/00-nvcr.conf").read_text() == "/opt/nv\n"


def written(root: Path) -> dict[str, bytes | str]:
    """Return the files and links of a container but for the cache and the driver's own files."""
    paths = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in paths
        if path.name not in {*LIBRARIES, "ld.so.cache"}
    }


@pytest.mark.parametrize("folder", [FOLDER, "/opt/nv"])
@pytest.mark.parametrize("tree", [{}, {"etc/alpine-release": "3", "usr/local/lib/": ""}])
def test_hook_comes_to_the_same(folder: str, tree: dict[str, str], machine: Machine) -> None:
    """It finds the libraries where they are mounted, and names the image's own folders too."""
    images.make(machine.root, tree)
    machine.use_driver(folder)
    other = machine.folder / "other"
    shutil.copytree(machine.root, other, symlinks=True)
    machine.start(("update-ldcache", "--folder", folder))

    for mount in machine.mounts:
        os.makedirs(f"{other}{folder}", exist_ok=True)
        shutil.copy(mount["source"], f"{other}{mount['destination']}")
    with resolver.open_root(f"{other}") as root:
        loader.update(root, [folder], [])

    by_hook = written(other)
    on_host = written(machine.root)
    assert by_hook.pop("etc/ld.so.conf.d/zz-nvcr.conf")
    musl = f"etc/ld-musl-{os.uname().machine}.path"
    names = on_host.pop(musl, b"")
    assert by_hook.pop(musl, b"")[: len(names)] == names
    assert by_hook == on_host
    ours = [row for row in machine.names() if row[0] in LIBRARIES.values()]
    assert [row[:2] for row in images.rows(other) if row[0] in LIBRARIES.values()] == ours


def test_folders_are_named_after_a_create_that_was_killed(machine: Machine) -> None:
    """Between the cache and the names: that the cache has the folder is not the image's doing."""
    machine.use_driver("/opt/nv")
    machine.start(("update-ldcache", "--folder", "/opt/nv"))
    conf = machine.root / "etc/ld.so.conf.d/00-nvcr.conf"
    conf.unlink()

    machine.start(("update-ldcache", "--folder", "/opt/nv"))

    assert conf.read_text() == "/opt/nv\n"


def test_tenth_start_writes_nothing(machine: Machine) -> None:
    images.make(machine.root, COMPATIBLE)
    hooks = (LINK, BY_PATH, COMPAT, LDCACHE, PROFILE)
    machine.start(*hooks)
    once = images.tree(machine.folder)

    for _ in range(9):
        machine.start(*hooks)

    assert images.tree(machine.folder) == once


def test_links_of_devices_are_a_mounted_folder(machine: Machine) -> None:
    render = ("create-symlinks", "--link", "../renderD128::/dev/dri/by-path/render")

    planned = machine.plan(BY_PATH, render)
    carry_out.carry_out(planned)

    (mount,) = planned.edits[-1]["mounts"]
    assert mount["destination"] == "/dev/dri/by-path"
    assert "ro" in mount["options"]
    links = {name: os.readlink(f"{mount['source']}/{name}") for name in os.listdir(mount["source"])}
    assert links == {CARD: "../card1", "render": "../renderD128"}
    assert left(planned) == []


def test_profile_is_a_mounted_file(machine: Machine) -> None:
    planned = machine.plan(PROFILE)
    carry_out.carry_out(planned)

    (mount,) = planned.edits[-1]["mounts"]
    assert mount["destination"].endswith("/10-container.conf")
    with open(mount["source"]) as file:
        assert '"EGLVisibleDGPUDevices",0x9]' in file.read()


def test_state_folder_that_is_removed_meanwhile_is_made_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = machine.plan(PROFILE, BY_PATH)
    monkeypatch.setattr(store, "SYSTEM_FOLDER", f"{machine.state}")
    machine.state.rmdir()

    carry_out.carry_out(planned)

    sources = [mount["source"] for mount in planned.edits[-1]["mounts"]]
    assert len(sources) == 2
    assert all(map(os.path.exists, sources))


@pytest.mark.parametrize(
    ("covered", "words", "remains"),
    [
        pytest.param("/etc", LDCACHE, LDCACHE, id="etc"),
        pytest.param("/etc/ld.so.conf.d", LDCACHE, LDCACHE, id="the folder of folders"),
        pytest.param("/etc/ld.so.cache", LDCACHE, LDCACHE, id="the cache"),
        pytest.param("/data", LDCACHE, LDCACHE, id="etc by a link of the image"),
        pytest.param("/usr", LINK, LINK, id="all libraries"),
        pytest.param(FOLDER, LINK, LINK, id="the libraries"),
        pytest.param(FOLDER.removeprefix("/usr"), LINK, LINK, id="the libraries by a link"),
        pytest.param(f"{FOLDER}//./", LINK, LINK, id="the libraries, oddly written"),
        pytest.param(
            "/usr/local", COMPAT, ("enable-cuda-compat", "--host-driver-version", V), id="cuda"
        ),
        pytest.param("/etc/nvidia", PROFILE, PROFILE, id="the profile"),
        pytest.param("/x", ("chmod", "--mode", "755", "--path", "/dev/dri"), None, id="chmod"),
        pytest.param(
            "/x", ("create-symlinks", "--link", "a::/dev/b"), None, id="a link in the engine's /dev"
        ),
    ],
)
def test_what_a_volume_covers_is_left_to_one_hook(
    covered: str, words: tuple[str, ...], remains: tuple[str, ...] | None, machine: Machine
) -> None:
    images.make(machine.root, {"data": "-> etc"})
    machine.cover(covered)

    planned = machine.plan(words)

    expected = list(remains or words)
    if words[0] == "chmod":  # in the order of the verb's flags
        expected = ["chmod", "--path", "/dev/dri", "--mode", "755"]
    assert left(planned) == [expected]
    assert f"{words[0]} is left to a hook: " in planned.reasons[0]
    with pytest.raises(NvidiaRuntimeError, match="is left to a hook"):
        machine.plan(words, setting="never")


@pytest.mark.parametrize("covered", ["/data", "/home/x", "/etc/ssl", "/usr/share/x", "/lib/x"])
def test_other_volumes_do_not_matter(covered: str, machine: Machine) -> None:
    machine.cover(covered)

    machine.start(LINK, LDCACHE, COMPAT, PROFILE, setting="never")


def test_memory_that_begins_with_a_copy_hides_nothing(machine: Machine) -> None:
    memory = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}
    machine.spec["mounts"].append({**memory, "options": ["rw", "tmpcopyup"]})

    machine.start(LDCACHE, setting="never")

    assert ("libcuda.so.1", f"{FOLDER}/libcuda.so.1") in machine.names()


def test_cache_waits_for_the_compatibility_libraries(machine: Machine) -> None:
    machine.cover("/usr/local/cuda")

    planned = machine.plan(LINK, COMPAT, LDCACHE)

    assert left(planned) == [
        ["enable-cuda-compat", "--host-driver-version", V, "--then", *LDCACHE],
    ]
    assert planned.links == [(f"{FOLDER}/libcuda.so", "libcuda.so.1")]


def test_only_the_covered_links_are_left(machine: Machine) -> None:
    machine.cover("/opt")

    planned = machine.plan((*LINK, "--link", "a::/opt/b"))

    assert left(planned) == [["create-symlinks", "--link", "a::/opt/b"]]


CAN_MAKE_NODES = {"capabilities": {"bounding": ["CAP_MKNOD"]}}


@pytest.mark.parametrize(
    ("runtime", "process", "linux", "remains"),
    [
        pytest.param("/usr/sbin/runc", CAN_MAKE_NODES, {}, True, id="runc"),
        pytest.param("/usr/bin/crun", CAN_MAKE_NODES, {}, False, id="crun mounts it"),
        pytest.param(
            "/usr/sbin/runc", {"capabilities": {"bounding": []}}, {}, False, id="no mknod"
        ),
        pytest.param("/usr/sbin/runc", {}, {}, True, id="no capabilities: in doubt"),
        pytest.param(
            "/usr/sbin/runc",
            CAN_MAKE_NODES,
            {"namespaces": [{"type": "user"}]},
            False,
            id="a user namespace",
        ),
    ],
)
def test_parameters_of_the_driver(
    runtime: str,
    process: Document,
    linux: Document,
    remains: bool,
    machine: Machine,
) -> None:
    """On a host whose driver makes nodes for root."""
    images.make(machine.host, {"proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n"})
    machine.runtime = runtime
    machine.spec |= {"process": process, "linux": linux}

    planned = machine.plan(PARAMETERS)

    assert left(planned) == ([["disable-device-node-modification"]] if remains else [])
    mounted = [mount["destination"] for mount in planned.mounts]
    assert mounted == (["/proc/driver/nvidia/params"] if "crun" in runtime else [])


def test_parameters_by_a_filter(machine: Machine) -> None:
    """By a setting runc's containers get a seccomp filter instead of the hook."""
    images.make(machine.host, {"proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n"})
    machine.spec |= {"process": CAN_MAKE_NODES, "linux": {}}
    machine.by_filter = True

    planned = machine.plan(PARAMETERS)

    assert left(planned) == []
    assert planned.edits[-1] == {"seccomp": node_filter.forbid({})[0]}


def test_filter_that_cannot_be_is_a_hook(machine: Machine) -> None:
    images.make(machine.host, {"proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n"})
    machine.spec |= {"process": CAN_MAKE_NODES, "linux": {"seccomp": {"syscalls": 1}}}
    machine.by_filter = True

    planned = machine.plan(PARAMETERS)

    assert left(planned) == [["disable-device-node-modification"]]
    assert planned.reasons == [
        "disable-device-node-modification is left to a hook: "
        "the container's seccomp profile is not as the runtime-spec has it"
    ]


@pytest.mark.parametrize(
    "host",
    [
        pytest.param({}, id="no driver"),
        pytest.param(
            {"proc/driver/nvidia/params": "ModifyDeviceFiles: 0\n"}, id="the host says so"
        ),
        pytest.param(
            {"proc/driver/nvidia/params": "Other: 1\n"}, id="the driver has no such thing"
        ),
        pytest.param(
            {
                "proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n",
                "proc/driver/nvidia/gpus/0000:3b:00.0/": "",
                "proc/driver/nvidia/gpus/0000:af:00.0/": "",
            },
            id="the container has all GPUs",
        ),
        pytest.param(
            {
                "proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n",
                "proc/self/uid_map": "0 1000 1\n",
            },
            id="the engine is rootless",
        ),
    ],
)
def test_parameters_that_need_nothing(host: dict[str, str], machine: Machine) -> None:
    (machine.host / "proc/self/uid_map").unlink()
    images.make(machine.host, {"proc/self/uid_map": "0 0 4294967295\n"} | host)
    machine.spec["process"] = CAN_MAKE_NODES

    (reason,) = machine.start(PARAMETERS, setting="never")

    assert reason.startswith("disable-device-node-modification is not needed: ")


def test_image_of_another_distribution(machine: Machine) -> None:
    """Whose loader does not search the host's folder, and whose cache may be missing."""
    shutil.rmtree(machine.root)
    images.make(
        machine.root, {"etc/fedora-release": "42", "usr/lib64/": "", "lib64": "-> usr/lib64"}
    )

    machine.start(LINK, LDCACHE)

    assert [path for _, path in machine.names()][1:] == [
        f"{FOLDER}/libcuda.so.1",
        f"{FOLDER}/libcuda.so",
    ]
    assert (machine.root / "etc/ld.so.conf.d/00-nvcr.conf").read_text() == f"{FOLDER}\n"
    assert "include" in (machine.root / "etc/ld.so.conf").read_text()


def test_image_with_musl(machine: Machine) -> None:
    shutil.rmtree(machine.root)
    images.make(machine.root, {"lib/ld-musl-x86_64.so.1": "x", "bin/": ""})

    machine.start(LINK, LDCACHE)
    machine.start(LINK, LDCACHE)

    text = (machine.root / "etc/ld-musl-x86_64.path").read_text()
    assert text == f"{FOLDER}\n/lib\n/usr/local/lib\n/usr/lib\n"


def test_compatibility_libraries_come_and_go_with_the_driver(machine: Machine) -> None:
    images.make(machine.root, COMPATIBLE)
    conf = machine.root / "etc/ld.so.conf.d/00-compat.conf"

    machine.start(COMPAT, LDCACHE)
    assert machine.names()[-2:] == [
        ("libcuda.so.1", "/usr/local/cuda/compat/libcuda.so.1"),
        ("libcuda.so.1", f"{FOLDER}/libcuda.so.1"),
    ]
    assert conf.read_text() == "/usr/local/cuda/compat\n"

    machine.start(("enable-cuda-compat", "--host-driver-version=600.1"), LDCACHE)
    assert machine.names()[-1:] == [("libcuda.so.1", f"{FOLDER}/libcuda.so.1")]
    assert [name for name, _ in machine.names()].count("libcuda.so.1") == 1
    assert not conf.exists()


def test_library_of_the_image_gives_way(machine: Machine) -> None:
    """The driver's fits the kernel's, the image's newer one does not."""
    images.make(machine.root, {f"{FOLDER}/libcuda.so.590.1": images.library("libcuda.so.1")})
    images.run_ldconfig(machine.root)

    machine.start(LINK, LDCACHE)

    assert os.readlink(f"{machine.root}{FOLDER}/libcuda.so.1") == f"libcuda.so.{V}"


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        pytest.param({f"{FOLDER}/libcuda.so/x": "x"}, "is a directory", id="a folder"),
        pytest.param({"usr/lib": "-> lib64"}, "no such file", id="a link to nowhere"),
        pytest.param({"usr": "-> usr"}, "too many levels", id="a loop"),
    ],
)
def test_link_that_cannot_be_made_stops_the_container(
    tree: dict[str, str], says: str, machine: Machine
) -> None:
    shutil.rmtree(machine.root)
    images.make(machine.root, tree)
    planned = machine.plan(LINK)

    with pytest.raises(NvidiaRuntimeError, match=says):
        carry_out.carry_out(planned)


def test_cache_that_cannot_be_written_is_done_without(machine: Machine) -> None:
    shutil.rmtree(machine.root)
    images.make(machine.root, {"etc/ld.so.cache/x": "x"})

    said = machine.start(LDCACHE)

    assert "/etc/ld.so.cache cannot be written: is a directory" in said
    assert (machine.root / "etc/ld.so.conf.d/00-nvcr.conf").read_text() == f"{FOLDER}\n"
    assert os.readlink(f"{machine.root}{FOLDER}/libcuda.so.1") == f"libcuda.so.{V}"


def test_nothing_is_written_before_it_is_carried_out(machine: Machine) -> None:
    before = images.tree(machine.folder)

    machine.plan(LINK, BY_PATH, COMPAT, LDCACHE, PROFILE)

    assert images.tree(machine.folder) == before


def test_root_that_is_missing_is_the_runtimes_to_complain_of(machine: Machine) -> None:
    machine.spec["root"] = {"path": "none"}

    assert left(machine.plan(LINK)) == [list(LINK)]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("/", "is the host's own", id="the host's"),
        pytest.param("link-to-host", "is a link", id="a link to it"),
        pytest.param("link-to-host/.", "is the host's own", id="by a folder that is a link"),
        pytest.param("link-to-folder", "is a link", id="a link to another folder"),
        pytest.param("link-to-folder/", "is a link", id="a link with a slash behind it"),
    ],
)
@pytest.mark.parametrize("setting", ["auto", "never"])
def test_root_that_is_not_the_containers_is_not_touched(
    path: str, says: str, setting: str, machine: Machine
) -> None:
    """Nor is a hook left: it would do the same."""
    links = {"link-to-host": "-> /", "folder/": "", "link-to-folder": "-> folder"}
    images.make(machine.folder / "bundle", links)
    machine.spec["root"] = {"path": path}

    planned = machine.plan(LINK, LDCACHE, setting=setting)

    assert left(planned) == []
    assert planned.is_empty()
    assert planned.reasons == [f"nothing is prepared: the container's root {says}"]


def test_root_that_became_a_link_is_not_touched(machine: Machine) -> None:
    planned = machine.plan(LINK, LDCACHE)
    outside = machine.folder / "outside"
    outside.mkdir()
    machine.root.rename(machine.folder / "away")
    machine.root.symlink_to(outside)

    with pytest.raises(NvidiaRuntimeError, match="cannot be prepared: is a link"):
        carry_out.carry_out(planned)

    assert os.listdir(outside) == []


def mounted(planned: Work) -> list[str]:
    return [mount["destination"] for mount in planned.mounts]


def test_each_container_has_files_of_its_own(machine: Machine) -> None:
    """One with CAP_SYS_ADMIN can make its mount writable, and would change what others see."""
    sources = []
    shutil.copytree(machine.folder / "bundle", machine.folder / "other", symlinks=True)
    for bundle in ("bundle", "other"):
        planned = machine.plan(PROFILE, BY_PATH, bundle=bundle)
        carry_out.carry_out(planned)
        sources += [mount["source"] for mount in planned.mounts]

    assert len({os.stat(source).st_ino for source in sources}) == 4


def test_files_that_were_mounted_long_ago_are_removed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry_out, "MOST_FILES", 4)
    images.make(machine.state / "mounted", {"a/l": "-> t", "b": "x", "c/l": "-> t", "d": "x"})
    for name in ("a", "b"):
        os.utime(machine.state / "mounted" / name, (0, 0))

    machine.start(PROFILE)

    names = sorted(os.listdir(machine.state / "mounted"))
    assert [name[:11] for name in names] == ["application", "c", "d"]


@pytest.mark.parametrize(
    "covered", ["/etc/nvidia", "/etc/nvidia/nvidia-application-profiles-rc.d", "/etc"]
)
def test_profile_is_left_out_where_a_volume_is_read_only(covered: str, machine: Machine) -> None:
    """Few programs read it; a ConfigMap at /etc/nvidia stopped the GPUs of whole nodes."""
    options = ["rbind", "ro", "rprivate"]
    machine.spec["mounts"].append({"destination": covered, "source": "/tmp", "options": options})

    planned = machine.plan(PROFILE, setting="never")

    assert (left(planned), mounted(planned)) == ([], [])
    said = f"the container gets no application profile: {covered} is a read-only volume"
    assert planned.warnings == [said]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"etc/nvidia": "x"}, "not a directory"),
        ({"etc/nvidia": "-> nvidia"}, "too many levels of symbolic links"),
    ],
)
def test_profile_is_left_out_where_the_image_has_no_folder(
    tree: dict[str, str], says: str, machine: Machine
) -> None:
    images.make(machine.root, tree)

    planned = machine.plan(PROFILE)

    assert (left(planned), mounted(planned)) == ([], [])
    assert says in planned.warnings[0]


@pytest.mark.parametrize(
    "mount",
    [
        pytest.param({"destination": "/dev", "source": "/dev"}, id="dev"),
        pytest.param({"destination": "/dev/dri", "source": "/dev/dri"}, id="dri"),
        pytest.param({"destination": "/dev/dri/by-path", "source": "/tmp"}, id="by-path"),
        pytest.param({"destination": f"/dev/dri/by-path/{CARD}2", "source": "/tmp"}, id="a link"),
    ],
)
def test_links_of_other_gpus_stay(mount: Document, machine: Machine) -> None:
    """A mount of ours would hide what the user or another plugin mounts there."""
    options = {"type": "bind", "options": ["rbind"]}
    mounts = [one for one in machine.spec["mounts"] if one["destination"] != mount["destination"]]
    machine.spec["mounts"] = [*mounts, {**mount, **options}]

    planned = machine.plan(BY_PATH)

    assert mounted(planned) == []
    assert left(planned) == [list(BY_PATH)]


@needs_root
def test_everything_belongs_to_the_containers_root(machine: Machine) -> None:
    """With remapped users the hooks, as the container's root, could not even read config.json."""
    for folder, folders, files in os.walk(machine.root):
        for name in ("", *folders, *files):
            os.lchown(os.path.join(folder, name), 100000, 100000)
    images.make(machine.root, COMPATIBLE)

    machine.use_driver("/opt/nv")
    machine.start(LINK, ("update-ldcache", "--folder", "/opt/nv"))

    for place in ("etc/ld.so.cache", "etc/ld.so.conf.d", "opt", "opt/nv/libcuda.so.1"):
        assert (machine.root / place).lstat().st_uid == 100000


@needs_root
def test_idmapped_root_is_written_as_its_owner(tmp_path: Path) -> None:
    """There the host's root has no id: the kernel says EOVERFLOW, and the owner may."""
    os.chown(tmp_path, 100000, 100001)
    seen = []

    def call() -> None:
        seen.append((os.geteuid(), os.getegid()))
        if len(seen) == 1:
            raise OSError(errno.EOVERFLOW, "no id")

    with resolver.open_root(f"{tmp_path}") as root:
        resolver.as_owner(root.descriptor, call)

    assert seen == [(0, 0), (100000, 100001)]
    assert (os.geteuid(), os.getegid()) == (0, 0)


def runs(
    machine: Machine, command: str, *volumes: Document, setting: str = "never", name: str = "runc"
) -> str:
    """Run a command in the container by a low-level runtime, as it was prepared."""
    process: Document = {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", command],
        "cwd": "/",
    }
    spec: Document = {
        "ociVersion": "1.0.2",
        "process": {**process, "env": ["PATH=/bin:/sbin"], **machine.spec["process"]},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            *volumes,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
    for mount in machine.mounts:
        mount |= {"type": "bind", "options": ["ro", "nosuid", "nodev", "bind", "rprivate"]}
    machine.spec["mounts"] = spec["mounts"]
    machine.program = f"{BIN.resolve()}/nvidia-cdi-hook"
    planned = machine.plan(LINK, BY_PATH, COMPAT, LDCACHE, PROFILE, setting=setting)
    edits = [
        {name: value for name, value in one.items() if name != "devices"} for one in planned.edits
    ]
    edit.apply(spec, edits, "config.json")
    (machine.folder / "bundle/config.json").write_text(json.dumps(spec))
    carry_out.carry_out(planned)
    container = f"nvcr-prepare-{os.getpid()}"
    # crun refuses a machine with both versions of control groups.
    script = 'cd /sys/fs/cgroup && if [ -d unified ]; then umount unified; fi; exec "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", name]
    words += ["run", "--bundle", f"{machine.folder}/bundle", container]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


VOLUMES: dict[str, dict[str, str | bytes]] = {
    "/etc/nvidia": {"config.yaml": "version: v1"},
    "/etc/nvidia/nvidia-application-profiles-rc.d": {"x": ""},
    "/etc/ld.so.conf.d": {"x.conf": "/opt/x"},
    "/etc/ld.so.cache": {"/etc/ld.so.cache": "of a volume"},
    "/etc": {"debian_version": "12"},
    "/dev/dri/by-path": {"pci-0000:00:02.0-card": "-> ../card0"},
}


@needs_root
@pytest.mark.parametrize("name", ["runc", "crun"])
@pytest.mark.parametrize("access", ["ro", "rw"])
@pytest.mark.parametrize("path", VOLUMES)
def test_volume_stops_no_container(path: str, access: str, name: str, machine: Machine) -> None:
    """And what is in it stays; what of ours it has no room for is optional."""
    if not (shutil.which(name) and shutil.which("busybox")):
        pytest.skip(f"needs {name} and busybox")
    images.make(machine.root, {"bin/": "", "etc/ld.so.conf.d/": "", "etc/nvidia/": ""})
    shutil.copy(shutil.which("busybox") or "", machine.root / "bin/busybox")
    (machine.root / "bin/sh").symlink_to("busybox")
    source = images.make(machine.folder / "volume", VOLUMES[path])
    if path in VOLUMES[path]:  # a single file
        source = source / path[1:]
    volume = {"destination": path, "type": "bind", "source": f"{source}"}

    said = runs(
        machine,
        f"busybox ls -a {path}",
        {**volume, "options": ["rbind", access]},
        setting="auto",
        name=name,
    )

    assert set(VOLUMES[path]) <= set(said.split())
    if path == "/dev/dri/by-path":
        assert (CARD in said.split()) == (access == "rw")


@needs_root
@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc")
@pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox")
def test_container_of_runc(machine: Machine) -> None:
    for name in ("etc/ld.so.conf.d/", "sbin/", "bin/"):
        images.make(machine.root, {name: ""})
    shutil.copy(shutil.which("busybox") or "", machine.root / "bin/busybox")
    shutil.copy(images.LDCONFIG, machine.root / "sbin/ldconfig")
    for name in ("sh", "readlink", "cat"):
        (machine.root / "bin" / name).symlink_to("busybox")

    out = runs(
        machine,
        f"ldconfig -p; readlink /dev/dri/by-path/{CARD}; cat /etc/nvidia/*/10-container.conf",
    )

    assert f"\tlibcuda.so.1 (libc6,x86-64) => {FOLDER}/libcuda.so.1\n" in out
    assert "\n../card1\n" in out
    assert "0x9" in out
    # A package that is installed there runs ldconfig, and finds all.
    again = runs(machine, "ldconfig && ldconfig -p")
    assert {line for line in again.splitlines() if "libcuda" in line} == {
        f"\tlibcuda.so.1 (libc6,x86-64) => {FOLDER.removeprefix('/usr')}/libcuda.so.1",
        f"\tlibcuda.so (libc6,x86-64) => {FOLDER.removeprefix('/usr')}/libcuda.so",
    }
