# SPDX-License-Identifier: Apache-2.0
"""Damaged input, by a fixed seed: one clear error, or a container as if nothing were wrong."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import builders
import pytest
from shim import Site

from . import faulty

if TYPE_CHECKING:
    from pathlib import Path

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1 << 70,
        1.5,
        1e300,
        "",
        "x",
        "\0",
        "\ud800",
        "/",
        "../..",
        "\x1b[",
    ),
    *([], {}, [[]], [None], {"": {}}, [0] * 50, "x" * 5000, ["x"], {"path": 5}, [{"type": "user"}]),
]


def mutated(document: Any, chance: random.Random) -> Any:
    """Replace, remove or add a value anywhere in a document."""
    if isinstance(document, dict) and document and chance.random() < 0.9:
        key = chance.choice(list(document))
        if chance.random() < 0.1:
            return {name: value for name, value in document.items() if name != key}
        return {**document, key: mutated(document[key], chance)}
    if isinstance(document, list) and document and chance.random() < 0.85:
        at = chance.randrange(len(document))
        return [*document[:at], mutated(document[at], chance), *document[at + 1 :]]
    return chance.choice(ODD)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes of a text, or cut it."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) or 1)
        kind = chance.random()
        if kind < 0.5 and changed:
            changed[at] = chance.randrange(256)
        elif kind < 0.8:
            changed[at:at] = chance.choice([b"\0", b'"', b"\\", b"[", b"}", b"\xff", b"-", b"\n"])
        else:
            del changed[at:]
    return bytes(changed)


CONFIG = builders.spec(
    "NVIDIA_VISIBLE_DEVICES=0",
    "NVIDIA_IMEX_CHANNELS=0",
    annotations={"cdi.k8s.io/x": "nvidia.com/gpu=0", "a": "b"},
    mounts=[{"destination": "/proc", "type": "proc", "source": "proc", "options": ["ro"]}],
    hooks={"prestart": [{"path": "/bin/true", "args": ["true"]}], "poststop": []},
    linux={
        "namespaces": [{"type": "user"}, {"type": "mount", "path": "/proc/1/ns/mnt"}],
        "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
        "devices": [{"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_ALLOW"}],
        },
        "intelRdt": {"closID": "x"},
    },
    process={
        "env": ["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=0"],
        "args": ["sh"],
        "cwd": "/",
        "user": {"uid": 5, "gid": 5, "additionalGids": [5]},
        "capabilities": {"bounding": ["CAP_MKNOD", "CAP_SYS_ADMIN"]},
    },
)
SPEC = builders.cdi_spec(
    builders.device(
        "0",
        env=["A=1"],
        mounts=[{"hostPath": "/etc", "containerPath": "/x", "options": ["ro"], "type": "bind"}],
        deviceNodes=[{"path": "/dev/null", "permissions": "rw", "uid": 5}],
        hooks=[
            {
                "hookName": "createContainer",
                "path": "/usr/bin/nvidia-cdi-hook",
                "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib"],
                "env": ["A=1"],
                "timeout": 5,
            }
        ],
        additionalGids=[44],
        intelRdt={"closID": "a", "schemata": ["L3:0=f"], "enableMonitoring": True},
        netDevices=[{"hostInterfaceName": "nvcr0", "name": "eth1"}],
    ),
    cdiVersion="1.1.0",
    annotations={"a": "b"},
    containerEdits={"env": ["B=2"]},
)


def check(site: Site, what: str) -> str:
    """Create the container; say what is wrong, nothing if nothing is."""
    before = (site.bundle / "config.json").read_bytes()
    ended = site.create()
    after = (site.bundle / "config.json").read_bytes()
    if "Traceback" in ended.err or "internal error" in ended.err:
        return f"{what}: {ended.err}"
    if ended.code == 0:
        return "" if ended.runtime == "runc" else f"{what}: no runtime was called"
    if ended.code not in (1, 127) or len(ended.err.splitlines()) > 2:
        return f"{what}: {ended.code} {ended.err}"
    return "" if after == before else f"{what}: config.json has changed: {ended.err}"


@pytest.mark.parametrize("kind", ["config.json", "CDI spec", "config.toml", "state"])
def test_damaged_input(kind: str, request: pytest.FixtureRequest) -> None:
    chance = random.Random(kind)
    wrong = []
    with Site() as site:
        (site.bundle / "rootfs/usr/lib").mkdir(parents=True)
        site.write_specs(nvidia=builders.cdi_spec())
        site.write_config(device_node_modification="seccomp", image_requests="listed")
        for name in ("runc", "crun", "docker-runc"):  # whatever becomes of the setting
            (site.folder / "bin" / name).symlink_to(site.runtime)
        settings = site.config.read_bytes()
        for number in range(2000 if request.config.getoption("--long") else 30):
            site.write_bundle(CONFIG)
            said = f"{number}"
            if kind == "config.json":
                document = mutated(CONFIG, chance)
                data = json.dumps(document).encode()
                site.write_bundle(data if number % 4 else damaged(data, chance))
            elif kind == "CDI spec":
                data = json.dumps(mutated(SPEC, chance)).encode()
                (site.specs / "nvidia.json").write_bytes(
                    data if number % 4 else damaged(data, chance)
                )
            elif kind == "config.toml":
                site.config.write_bytes(damaged(settings, chance))
            else:
                damage(site.state, chance)
            if complaint := check(site, said):
                wrong.append(complaint)

    assert not wrong, "\n".join(str(fault)[:600] for fault in wrong)


def damage(folder: Path, chance: random.Random) -> None:
    """Change a file of our state, in its place and with its mode."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
    if files:
        path = chance.choice(sorted(files))
        path.write_bytes(damaged(path.read_bytes(), chance))


def test_no_descriptor_is_left() -> None:
    """Of an engine that leaks them: there is an error, and no traceback."""
    with Site() as site:
        site.write_specs(nvidia=builders.cdi_spec())
        site.write_bundle(builders.asking())
        said = {}
        for limit in range(3, 12):
            words = ["sh", "-c", 'ulimit -n "$1"; shift; exec "$@"', "sh", str(limit)]
            words += [str(site.launcher), "create", "--bundle", str(site.bundle), "c1"]
            ended = faulty.Scene(site, words, []).run(words)
            said[limit] = ended.err if ended.code or "Traceback" in ended.err else ""

    assert [text for text in said.values() if "Traceback" in text] == []
    assert said[11] == ""
