# SPDX-License-Identifier: Apache-2.0
"""Hooks that an engine wrote into config.json: each version's, verb by verb, in each stage."""

from __future__ import annotations

import copy
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from rootfs import images
from rootfs.images import FOLDER

from nvidia_runtime.oci import edit
from nvidia_runtime.prepare import carry_out, takeover, work
from nvidia_runtime.prepare.work import Work

from .test_takeover import CAN_MAKE_NODES, COMPATIBLE, DEBIAN, Machine

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]
LINK = ("create-symlinks", "--link", f"libcuda.so.1::{FOLDER}/libcuda.so")
CHMOD = ("chmod", "--mode", "755", "--path", "/dev/dri")
LDCONFIG = ("update-ldcache", "--ldconfig-path", "/sbin/ldconfig", "--folder", FOLDER)
COMPAT = ("enable-cuda-compat", "--host-driver-version=580.95.05")
PARAMETERS = ("disable-device-node-modification",)
CTK, CLI = ("nvidia-ctk", "hook"), ("nvidia-cdi-hook",)
DEBUG = ["NVIDIA_CTK_DEBUG=false"]
# What specs of each version call, and with which environment (its sources: cmd/nvidia-ctk/hook
# until 1.15, cmd/nvidia-cdi-hook since; internal/discover for what is written into specs).
VERSIONS: dict[str, tuple[tuple[str, ...], list[str] | None, list[tuple[str, ...]]]] = {
    "1.14": (CTK, None, [LINK, CHMOD, ("update-ldcache", "--folder", FOLDER)]),
    "1.15": (CTK, None, [LINK, CHMOD, LDCONFIG]),
    "1.16": (CLI, None, [LINK, CHMOD, LDCONFIG]),
    "1.17": (CLI, None, [LINK, COMPAT, LDCONFIG, CHMOD]),
    "1.17.8": (CLI, DEBUG, [LINK, COMPAT, LDCONFIG, PARAMETERS]),
    "1.18": (CLI, DEBUG, [LINK, COMPAT, LDCONFIG, PARAMETERS]),
    "1.19": (
        CLI,
        DEBUG,
        [LINK, (*COMPAT, "--cuda-compat-container-root", "/usr/local/cuda/compat_orin"), LDCONFIG],
    ),
    "1.20": (
        CLI,
        DEBUG,
        [LINK, (*COMPAT, "--host-cuda-version=13.0"), LDCONFIG, ("update-application-profile",)],
    ),
    "ours": (CLI, DEBUG, [(*LINK, "--then", *COMPAT, "--then", *LDCONFIG)]),
}
# Nobody makes them so, but their words are NVIDIA's.
UNKNOWN = {
    "a flag of version 1.13": ("create-symlinks", "--csv-filename", "/etc/x.csv"),
    "a root of version 1.13": ("create-symlinks", "--host-root", "/run/nvidia/driver"),
    "a verb that was never released": ("create-soname-symlinks", "--folder", FOLDER),
    "a verb of a later version": ("new-verb", "--x"),
    "another container": ("create-symlinks", "--container-spec", "/x", *LINK[1:]),
}
TAKEN = ("prestart", "createRuntime", "createContainer", "startContainer")
KEPT = ("poststart", "poststop")


def hook(program: tuple[str, ...], env: list[str] | None, words: tuple[str, ...]) -> Document:
    entry: Document = {"path": f"/usr/bin/{program[0]}", "args": [*program, *words]}
    return entry if env is None else {**entry, "env": env}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    host = Machine(tmp_path)
    images.make(host.root, DEBIAN)
    images.run_ldconfig(host.root)
    return host


pytestmark = pytest.mark.skipif(
    not shutil.which(images.LDCONFIG), reason="needs ldconfig of glibc to make an image"
)


def injected(machine: Machine, hooks: dict[str, list[Document]]) -> Document:
    """Return what an engine makes of the machine's container: with the driver and GPUs 0 and 3."""
    nodes = [
        {"path": f"/dev/{name}", "type": "c", "major": 195, "minor": minor, "fileMode": 0o666}
        for name, minor in (("nvidia0", 0), ("nvidia3", 3), ("dri/card1", 1))
    ]
    options = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
    mounts = [{**mount, "type": "bind", "options": options} for mount in machine.mounts]
    return {
        **copy.deepcopy(machine.spec),
        "mounts": [*machine.spec["mounts"], *mounts],
        "linux": {"devices": nodes},
        "hooks": hooks,
    }


def plan(machine: Machine, spec: Document, setting: str = "auto") -> Work:
    before = copy.deepcopy(spec)
    how = work.Conditions(
        setting, machine.runtime, machine.program, f"{machine.state}", f"{machine.host}"
    )
    folder = f"{machine.folder}/bundle"
    planned = takeover.plan([], spec, folder, "config.json", how, spec["hooks"])
    assert spec == before
    return planned


def after(planned: Work, spec: Document) -> Document:
    spec = copy.deepcopy(spec)
    edit.apply(spec, planned.edits, "config.json")
    return spec


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("stage", TAKEN + KEPT)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_in_every_stage(
    version: str, stage: str, runtime: str, machine: Machine
) -> None:
    """chmod is left to crun's hooks alone: to one of ours, or in startContainer to what it was."""
    program, env, verbs = VERSIONS[version]
    entries = [hook(program, env, words) for words in verbs]
    spec = injected(machine, {stage: entries})
    machine.runtime = f"/usr/sbin/{runtime}"

    result = after(plan(machine, spec), spec)["hooks"]

    if stage in KEPT:
        assert [entry["args"] for entry in result[stage]] == [entry["args"] for entry in entries]
        assert all(entry["env"] for entry in result[stage])
    elif CHMOD not in verbs or runtime == "runc":
        assert result == {}
    elif stage == "startContainer":
        (left,) = result[stage]
        assert left["args"] == [*program, *CHMOD]
        assert left["env"]
    else:
        (left,) = result[stage]
        words = ["nvidia-cdi-hook", "chmod", "--path", "/dev/dri", "--mode", "755"]
        assert (left["path"], left["args"]) == (machine.program, words)


@pytest.mark.parametrize(
    ("words", "mount"),
    [
        (("chmod", "--mode", "750", "--path", "/dev/dri"), "/x"),
        (("chmod", "--mode", "755", "--path", "/dev/dri,/dev/other"), "/x"),
        (("chmod", "--mode", "755", "--path", "/dev/dri/card1"), "/x"),
        (CHMOD, "/dev/dri"),
        (CHMOD, "/dev/dri/by-path"),
    ],
)
def test_chmod_of_what_runc_does_not_make_is_left(
    words: tuple[str, ...], mount: str, machine: Machine
) -> None:
    spec = injected(machine, {"createContainer": [hook(CLI, DEBUG, words)]})
    spec["mounts"].append({"destination": mount, "source": "/tmp", "type": "bind"})

    (left,) = after(plan(machine, spec), spec)["hooks"]["createContainer"]

    assert left["args"][:2] == ["nvidia-cdi-hook", "chmod"]


@pytest.mark.parametrize("stage", TAKEN)
@pytest.mark.parametrize("name", UNKNOWN)
def test_words_that_we_do_not_know_stay_where_they_are(
    name: str, stage: str, machine: Machine
) -> None:
    odd = hook(CLI, DEBUG, UNKNOWN[name])
    spec = injected(machine, {stage: [hook(CLI, DEBUG, LINK), odd, hook(CLI, DEBUG, LDCONFIG)]})

    assert after(plan(machine, spec), spec)["hooks"] == {stage: [odd]}


def content(machine: Machine) -> dict[str, Any]:
    """Return all that is in the container's root, but for the numbers of its inodes."""
    entries = images.tree(machine.root).items()
    return {path: (mode, uid, data) for path, (mode, uid, _, data) in entries}


@pytest.mark.parametrize("setting", ["auto", "never"])
@pytest.mark.parametrize("version", VERSIONS)
def test_whoever_injects_the_container_is_the_same(
    version: str, setting: str, machine: Machine
) -> None:
    """What an engine injected is prepared to the byte as what we inject ourselves."""
    program, env, verbs = VERSIONS[version]
    images.make(machine.root, COMPATIBLE)
    other = machine.folder / "other"
    shutil.copytree(machine.root, other, symlinks=True)
    entries = [hook(program, env, words) for words in verbs]
    ours = machine.plan(*entries, setting=setting, nodes=["dri/card1"])
    said = ours.reasons + carry_out.carry_out(ours)
    by_us = content(machine)
    shutil.rmtree(machine.root)
    other.rename(machine.root)

    spec = injected(machine, {"createContainer": entries})
    planned = plan(machine, spec, setting)
    heard = planned.reasons + carry_out.carry_out(planned)

    assert content(machine) == by_us
    count = len(entries)
    assert f"{count} of {count} hooks that the engine injected are done here" in heard
    assert set(said) <= set(heard)


def test_all_gpus_of_an_engine_count(machine: Machine) -> None:
    gpus = {f"proc/driver/nvidia/gpus/{n}/": "" for n in (0, 3)}
    images.make(machine.host, {"proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n", **gpus})
    machine.spec["process"] = CAN_MAKE_NODES
    spec = injected(machine, {"createContainer": [hook(CLI, DEBUG, PARAMETERS)]})

    planned = plan(machine, spec, "never")

    assert planned.reasons[0].endswith("is not needed: the container has all GPUs")


def test_own_mounts_come_behind_those_of_the_engine(machine: Machine) -> None:
    """Whose order stays, whatever it is."""
    spec = injected(
        machine, {"createContainer": [hook(CLI, DEBUG, ("update-application-profile",))]}
    )
    spec["mounts"].reverse()

    result = after(plan(machine, spec), spec)

    *others, ours = result["mounts"]
    assert others == spec["mounts"]
    assert ours["destination"].endswith("/10-container.conf")


def test_the_same_hook_of_an_engine_and_of_ours_is_called_once(machine: Machine) -> None:
    """As where a variable asks for a device that the engine has injected already."""
    machine.cover(FOLDER)
    entries = [hook(CLI, DEBUG, LINK), hook(CLI, DEBUG, LDCONFIG)]
    spec = injected(machine, {"createContainer": entries})
    how = work.Conditions("auto", machine.runtime, machine.program, f"{machine.state}")
    edits: list[Document] = [{"hooks": {"createContainer": copy.deepcopy(entries)}}]

    planned = takeover.plan(
        edits, spec, f"{machine.folder}/bundle", "config.json", how, spec["hooks"]
    )

    (left,) = after(planned, spec)["hooks"]["createContainer"]
    assert "0 of 2 hooks that the engine injected are done here" in planned.reasons
    assert left["args"].count("create-symlinks") == 1
    assert left["args"].count("update-ldcache") == 1


def test_nothing_of_a_users_mount_is_opened_but_libraries(machine: Machine) -> None:
    """A FIFO or a folder in the place of a library is no reason to wait, or to look further."""
    os.mkfifo(machine.folder / "fifo")
    (machine.folder / "volume").mkdir()
    spec = injected(machine, {"createContainer": [hook(CLI, DEBUG, LDCONFIG)]})
    for source, name in (
        ("fifo", "libfifo.so.1"),
        ("volume", "libfolder.so.1"),
        ("none", "libx.so"),
    ):
        path = f"{machine.folder}/{source}"
        spec["mounts"].append({"destination": f"{FOLDER}/{name}", "source": path, "type": "bind"})

    planned = plan(machine, spec, "never")
    carry_out.carry_out(planned)

    names = {row[0] for row in images.rows(machine.root)}
    assert "libcuda.so.1" in names
    assert not {"libfifo.so.1", "libfolder.so.1", "libx.so"} & names


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/none", "/dev/\0", None])
def test_nodes_that_a_rootless_engine_mounts_are_in_the_profile(
    source: str | None, machine: Machine
) -> None:
    words = ("update-application-profile",)
    spec = injected(machine, {"createContainer": [hook(CLI, DEBUG, words)]})
    spec["linux"] = {}
    node = {"destination": "/dev/nvidia0", "source": source, "type": "bind", "options": ["rbind"]}
    spec["mounts"].append(node)

    planned = plan(machine, spec, "never")

    contents = [content for content in planned.files.values() if isinstance(content, bytes)]
    if source == "/dev/zero":
        assert b"0x20" in contents[0]  # whose minor is 5
    else:
        assert contents == []
