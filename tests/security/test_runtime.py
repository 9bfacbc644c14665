# SPDX-License-Identifier: Apache-2.0
"""A create as an engine calls it: what the low-level runtime gets, and what stays on the host."""

from __future__ import annotations

import copy
import json
import os
import random
import stat
import time
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime.compile import config

if TYPE_CHECKING:
    from collections.abc import Iterator

MAJOR = 120  # for local use, see Documentation/admin-guide/devices.txt
LINK = ["nvidia-cdi-hook", "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so"]
HOOK = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": LINK}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        (site.bundle / "rootfs").mkdir()
        site.write_specs(
            nvidia=builders.cdi_spec(builders.device("0", env=["GPU=0"], hooks=[HOOK]))
        )
        site.write_bundle(builders.asking("0"))
        yield site


@shim.needs_root
def test_t01_device_rules_are_of_single_nodes(site: Site) -> None:
    """CVE-2021-1056: a container that may open 195:* has every GPU of the host."""
    nodes = []
    for name, minor in (("nvidia0", 0), ("nvidiactl", 255)):
        path = site.folder / name
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(MAJOR, minor))
        nodes.append({"path": f"/dev/{name}", "hostPath": str(path)})
    nodes[1]["permissions"] = "rw"
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", deviceNodes=nodes)))
    deny = {"allow": False, "access": "rwm"}
    site.write_bundle(builders.asking("0", linux={"resources": {"devices": [deny]}}))

    assert site.create().code == 0

    first, *rules = site.read_bundle()["linux"]["resources"]["devices"]
    assert first == deny
    assert [(rule["type"], rule["major"], rule["minor"], rule["access"]) for rule in rules] == [
        ("c", MAJOR, 0, "rwm"),  # CDI's default; a spec may say less
        ("c", MAJOR, 255, "rw"),
    ]


@pytest.mark.parametrize("hooks", config.CHOICES["nvidia-container-runtime.in-container-hooks"])
def test_t13_runtime_inherits_no_descriptor_of_ours(hooks: str, site: Site) -> None:
    """CVE-2024-21626: one that is open on the host would be a way back to it."""
    hooks = "auto" if hooks == "never" else hooks
    runtime = site.write_runtime("crun", 'exec ls /proc/self/fd >"${0%/*}/open"')
    site.write_config(runtimes=[str(runtime)], in_container_hooks=hooks)
    given = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(given, True)

    log = site.folder / "log"
    got = site.run(
        *("--log", log, "create", "--bundle", site.bundle, "c1"), pass_fds=[given], stdin=given
    )

    os.close(given)
    assert got.code == 0, got.err
    descriptors = {int(name) for name in (runtime.parent / "open").read_text().split()}
    assert {0, 1, 2, given} <= descriptors
    assert len(descriptors - {0, 1, 2, given}) == 1  # that of ls


def test_t14_working_folder_is_left_to_the_runtime(site: Site) -> None:
    """CVE-2024-21626: runc refuses one in /proc/self/fd; to it no descriptor of ours leads."""
    document = builders.asking("0")
    document["process"]["cwd"] = "/proc/self/fd/7"
    site.write_bundle(document)
    runtime = site.write_runtime("crun", 'exec readlink /proc/self/cwd >"${0%/*}/cwd"')
    site.write_config(runtimes=[str(runtime)])

    assert site.create().code == 0

    assert site.read_bundle()["process"]["cwd"] == "/proc/self/fd/7"
    assert (runtime.parent / "cwd").read_text().strip() == str(site.folder)


PROTECTED: dict[str, Any] = {
    "maskedPaths": ["/proc/kcore", "/proc/driver/nvidia", "/sys/firmware"],
    "readonlyPaths": ["/proc/sys", "/proc/irq"],
    "devices": [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/console", "type": "c", "major": 5, "minor": 1},
    ],
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
    "mountLabel": "system_u:object_r:container_file_t:s0",
}


def test_t15_protections_stay_as_they_are(site: Site) -> None:
    """CVE-2025-31133: and nothing of ours is mounted over or below what is masked."""
    site.write_bundle(builders.asking("0", linux=copy.deepcopy(PROTECTED)))

    assert site.create().code == 0

    document = site.read_bundle()
    for name, value in PROTECTED.items():
        assert document["linux"][name] == value
    paths = [mount["destination"] for mount in document.get("mounts", ())]
    masked = tuple(PROTECTED["maskedPaths"])
    assert [path for path in paths if path.startswith(masked)] == []


def test_t16_nodes_of_the_runtime_are_left_alone(site: Site) -> None:
    """CVE-2025-52565: /dev/console and /dev/null are the runtime's to make and to check."""
    site.write_bundle(builders.asking("0", linux=copy.deepcopy(PROTECTED)))

    assert site.create().code == 0

    document = site.read_bundle()
    assert document["linux"]["devices"] == PROTECTED["devices"]
    paths = [mount["destination"] for mount in document.get("mounts", ())]
    assert {"/dev", "/dev/null", "/dev/console", "/dev/pts"}.isdisjoint(paths)


@pytest.mark.parametrize("path", [".", "", "bin", "{folder}/bundle/../x:."], ids=repr)
def test_t25_runtime_is_not_looked_up_where_we_are(path: str, site: Site) -> None:
    """An entry of PATH that is relative leads into the bundle, which an engine works in."""
    for folder in (site.bundle, site.bundle / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "runc").write_text(f"#!/bin/sh\ntouch {site.folder}/executed\n")
        (folder / "runc").chmod(0o755)
    site.write_config(runtimes=["runc"])
    place = f"{path.format(folder=site.folder)}:{site.runtime.parent}:{site.environment['PATH']}"

    naive = site.execute(["/bin/sh", "-c", "runc"], env={"PATH": place}, cwd=site.bundle)
    shim.end(naive)
    assert (site.folder / "executed").exists()
    shim.unlink(site.folder / "executed")

    got = site.create(env={"PATH": place}, cwd=site.bundle)

    assert got.runtime == "runc"
    assert got.words[0] == os.fsencode(site.runtime)
    assert not (site.folder / "executed").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONPATH": "{evil}", "PYTHONHOME": "{evil}", "PYTHONINSPECT": "1"},
        {
            "PYTHONSTARTUP": "{evil}/json.py",
            "PYTHONPLATLIBDIR": "{evil}",
            "PYTHONUSERBASE": "{evil}",
        },
        {"ENV": "{evil}/rc", "BASH_ENV": "{evil}/rc", "IFS": "/", "CDPATH": "{evil}"},
        {
            "LD_LIBRARY_PATH": "{evil}",
            "GCONV_PATH": "{evil}",
            "LOCPATH": "{evil}",
            "TMPDIR": "{evil}",
        },
        {"XDG_RUNTIME_DIR": "relative", "HOME": "{evil}", "XDG_DATA_HOME": "{evil}"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_t26_variables_of_the_caller_load_nothing(variables: dict[str, str], site: Site) -> None:
    evil = site.folder / "evil"
    evil.mkdir()
    for name in ("json", "posix", "sitecustomize", "usercustomize", "nvidia_runtime", "os"):
        (evil / f"{name}.py").write_text(f"open({str(site.folder / 'executed')!r}, 'w')\n")
    (evil / "rc").write_text(f"touch {site.folder}/executed\n")
    given = {name: value.format(evil=evil) for name, value in variables.items()}

    got = site.create(env=given, cwd=evil)

    assert (got.code, got.runtime) == (0, "runc")
    assert not (site.folder / "executed").exists()


def test_t26_variables_load_what_they_name_elsewhere(site: Site) -> None:
    """That is what -I is for: the same variables rule any other interpreter."""
    (site.folder / "sitecustomize.py").write_text("print('hit')")

    naive = site.execute([site.python, "-c", ""], env={"PYTHONPATH": str(site.folder)})

    assert shim.end(naive).out == b"hit\n"


@shim.needs_root
@pytest.mark.parametrize("kind", ["link to a folder", "another user's", "writable by all", "file"])
def test_t27_state_of_others_is_not_used(kind: str, site: Site) -> None:
    """Records and snapshots go where only we can write, or nowhere."""
    target = site.folder / "target"
    target.mkdir()
    if kind == "link to a folder":
        site.state.symlink_to(target)
    elif kind == "file":
        site.state.write_text("")
    else:
        site.state.mkdir()
        if kind == "another user's":
            os.chown(site.state, shim.NOBODY, shim.NOBODY)
        else:
            site.state.chmod(0o777)
    site.settle()

    assert site.create().code == 0

    assert os.listdir(target) == []
    assert not site.state.is_dir() or os.listdir(site.state) == []


def test_t27_record_replaces_a_link(site: Site) -> None:
    canary = site.folder / "canary"
    canary.write_text("host")
    assert site.create().code == 0
    record = site.state / "containers" / "c1.json"
    record.unlink()
    record.symlink_to(canary)
    site.write_bundle(builders.asking("0"))

    assert site.create().code == 0
    assert not record.is_symlink()
    assert canary.read_text() == "host"


@pytest.mark.parametrize(
    "tries", [pytest.param(12, id="short"), pytest.param(1000, id="long", marks=pytest.mark.long)]
)
def test_t28_killed_create_leaves_old_or_new(tries: int, site: Site) -> None:
    """At whatever point: a file that is half-written would stop the container for good."""
    before = site.write_bundle(builders.asking("0", unknown={"kept": [1, 2.50, "x"]}))
    assert site.create().code == 0
    after = (site.bundle / "config.json").read_bytes()
    chance = random.Random(28)
    seen = set()
    for _ in range(tries):
        site.write_bundle(builders.asking("0", unknown={"kept": [1, 2.50, "x"]}))
        process = site.start("create", "--bundle", site.bundle, "c1")
        time.sleep(chance.uniform(0.005, 0.06))
        process.kill()
        shim.end(process)
        data = (site.bundle / "config.json").read_bytes()
        assert data in (before, after)
        seen.add(data == after)

    assert json.loads(after)["unknown"] == {"kept": [1, 2.50, "x"]}
    assert seen == {True, False} or tries < 100


def test_t29_ids_and_paths_are_no_flags(site: Site) -> None:
    """What an engine or image chooses stays one word, and goes to the runtime as it came."""
    bundle = site.folder / "-rf"
    site.bundle.rename(bundle)
    site.bundle = bundle
    document: dict[str, Any] = builders.asking("0")
    document["root"]["path"] = "rootfs"
    site.write_bundle(document)

    got = site.run("create", "--bundle", "-rf", "--", "--then")

    assert got.code == 0, got.err
    assert got.words[1:] == [b"create", b"--bundle", b"-rf", b"--", b"--then"]


def test_t30_records_and_messages_have_no_secrets(site: Site) -> None:
    """No command packs a report; one would contain what we keep and log."""
    document = builders.asking("0,7")
    document["process"]["env"] += ["TOKEN=s3cret", "NVIDIA_DRIVER_CAPABILITIES=all,s3cret"]
    document["annotations"] = {"token": "s3cret"}
    site.write_bundle(document)
    log = site.folder / "log"
    first = site.run("--log", log, "create", "--bundle", site.bundle, "c1")
    document["process"]["env"][-3] = "NVIDIA_VISIBLE_DEVICES=0"
    site.write_bundle(
        document
        | {
            "process": {
                **document["process"],
                "env": builders.environment(builders.asking("0")) + ["TOKEN=s3cret"],
            }
        }
    )
    second = site.create()

    assert (first.code, second.code) == (1, 0)
    kept = [path for path in site.state.rglob("*") if path.is_file()]
    said = [first.err, second.err, log.read_text(), *(path.read_text() for path in kept)]
    assert len(kept) >= 1
    assert [text for text in said if "TOKEN" in text] == []
