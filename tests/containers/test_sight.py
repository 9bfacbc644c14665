# SPDX-License-Identifier: Apache-2.0
"""What a process with a root of its own has, whatever links and files are in it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shim import NOBODY, TREE, needs_root

from nvidia_runtime.containers import sight
from nvidia_runtime.containers.asked import Asked, Mount, Node
from nvidia_runtime.rootfs import ldcache

pytestmark = needs_root
MAJOR = 120
# It has mounts of its own, which are gone with it.
ROOTED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.linux import mount
mount.unshare(mount.CLONE_NEWNS)
mount.make_private("/")
mount.bind(sys.argv[2], sys.argv[2])
for source, target in zip(sys.argv[3::2], sys.argv[4::2]):
    mount.bind(source, sys.argv[2] + target)
if "served" in os.environ:
    server = os.open("/dev/fuse", os.O_RDWR)
    folder = sys.argv[2] + os.environ["served"]
    os.mkdir(folder)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other"
    assert not mount.LIBC.mount(b"x", folder.encode(), b"fuse", 0, options.encode())
mount.become_root(sys.argv[2])
print("ready", flush=True)
signal.pause()
"""
LOOK = """
import sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.containers import sight
from nvidia_runtime.containers.asked import Asked, Node
node = Node(path="/dev/null", host_path="/dev/null", kind="c", numbers=(1, 3), access="")
given = Asked(nodes=(node,), mounts=(), libraries=(), variables={"A": "b"}, doubt="")
for one in sight.look(int(sys.argv[2]), given, 10):
    print(one.kind, one.state, one.why)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a container, with a folder for nodes, and /proc for the process."""
    for name in ("root/dev", "root/lib", "root/etc", "host/dev"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "root"


@contextmanager
def process(root: Path, *binds: Path | str, **environment: str) -> Iterator[int]:
    """Start a process in a root with mounts; return its id."""
    words = [sys.executable, "-c", ROOTED, str(TREE), str(root), *map(str, binds)]
    env = {"PATH": os.environ["PATH"], **environment}
    running = subprocess.Popen(words, stdout=subprocess.PIPE, env=env, text=True)
    try:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        yield running.pid
    finally:
        running.kill()
        running.communicate()


def given(**parts: Any) -> Asked:
    empty: dict[str, Any] = {"nodes": (), "mounts": (), "libraries": (), "variables": {}}
    return Asked(**{**empty, "doubt": "", **parts})


def look(pid: int, **parts: Any) -> dict[str, tuple[str, str, str]]:
    """Return what of each thing is there, its state, and why."""
    drifts = sight.look(pid, given(**parts), 10)
    return {one.name: (one.got, one.state, one.why) for one in drifts}


def node(name: str, host: Path, minor: int = 0, *, make: bool = True) -> Node:
    """Make a node on the host, and describe it."""
    path = host / "dev" / name
    if make:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(MAJOR, minor))
    return Node(
        path=f"/dev/{name}", host_path=str(path), kind="c", numbers=(MAJOR, minor), access="rwm"
    )


def test_nodes(root: Path) -> None:
    host = root.parent / "host"
    names = ("same", "gone", "other", "file", "outside", "loop", "moved", "away")
    nodes = {name: node(name, host, make=name != "away") for name in names}
    for name, minor in (("same", 0), ("other", 5), ("moved", 0), ("away", 0)):
        os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(MAJOR, minor))
    (root / "dev/file").write_text("")
    (root / "dev/outside").symlink_to(f"../../../../..{host}/dev/outside")
    (root / "dev/loop").symlink_to("loop")
    (host / "dev/moved").unlink()
    os.mknod(host / "dev/moved", stat.S_IFCHR, os.makedev(MAJOR + 1, 0))

    with process(root) as pid:
        seen = look(pid, nodes=tuple(nodes.values()))

    number = f"c {MAJOR}:0"
    assert seen == {
        "/dev/same": (number, "ok", ""),
        "/dev/gone": ("nothing", "missing", ""),
        "/dev/other": (f"c {MAJOR}:5", "different", ""),
        "/dev/file": ("a file", "different", ""),
        "/dev/outside": ("nothing", "missing", ""),
        "/dev/loop": ("", "unknown", "too many levels of symbolic links"),
        "/dev/moved": (number, "different", f"{host}/dev/moved is c {MAJOR + 1}:0 on the host now"),
        "/dev/away": (number, "different", f"{host}/dev/away is nothing on the host now"),
    }


def mount(source: Path, destination: str, *, is_bind: bool = True) -> Mount:
    return Mount(destination=destination, source=str(source), is_bind=is_bind)


def test_mounts(root: Path) -> None:
    host = root.parent / "host"
    names = ("same", "gone", "replaced", "removed", "linked", "a b", "special")
    for name in names:
        (host / name).write_text(name)
        if name != "gone":
            (root / "lib" / name).write_text("")
    (root / "lib64").symlink_to("lib")
    binds = [word for name in names if name != "gone" for word in (host / name, f"/lib/{name}")]
    (root / "lib/unmounted").write_text("")

    with process(root, *binds) as pid:
        (host / "new").write_text("another")
        (host / "new").rename(host / "replaced")
        (host / "removed").unlink()
        seen = look(
            pid,
            mounts=(
                *(mount(host / name, f"/lib/{name}") for name in names if name != "special"),
                mount(host / "linked", "/lib64/linked"),
                mount(host / "same", "/lib/unmounted"),
                mount(Path("tmpfs"), "/lib/special", is_bind=False),
            ),
        )

    no_file = "no such file or directory"
    assert seen == {
        "/lib/same": (f"{host}/same", "ok", ""),
        "/lib/a b": (f"{host}/a b", "ok", ""),
        "/lib/gone": ("nothing", "missing", ""),
        "/lib/replaced": ("another file", "different", "it was replaced, or covered, since"),
        "/lib/removed": ("a file that the host has no longer", "different", no_file),
        "/lib/linked": (f"{host}/linked", "ok", ""),
        "/lib64/linked": (f"{host}/linked", "ok", ""),
        "/lib/unmounted": ("no mount", "missing", ""),
        "/lib/special": ("tmpfs", "ok", ""),
    }


CACHE = ldcache.dump(ldcache.merge(ldcache.Cache(), [(b"libcuda.so.1", 3, b"/lib/libcuda.so.1")]))


@pytest.mark.parametrize(
    ("data", "cuda", "ml"),
    [
        (CACHE, ("/lib/libcuda.so.1", "ok", ""), ("nothing", "missing", "")),
        (None, ("nothing", "missing", ""), ("nothing", "missing", "")),
        (b"x" * 100, *[("nothing", "unknown", "is in another format")] * 2),
        (
            CACHE.replace(b"cache1.1", b"cache1.2"),
            *[("nothing", "unknown", "a later format: b'glibc-ld.so.cache1.2'")] * 2,
        ),
    ],
    ids=["cache", "none", "damaged", "later"],
)
def test_libraries(
    data: bytes | None, cuda: tuple[str, ...], ml: tuple[str, ...], root: Path
) -> None:
    if data is not None:
        (root / "etc/ld.so.cache").write_bytes(data)

    with process(root) as pid:
        seen = look(pid, libraries=("libcuda.so.1", "libnvidia-ml.so.1"))

    assert seen == {"libcuda.so.1": cuda, "libnvidia-ml.so.1": ml}


def test_variables(root: Path) -> None:
    with process(root, SAME="1", OTHER="2=3") as pid:
        seen = look(pid, variables={"SAME": "1", "OTHER": "2", "NONE": ""})

    assert seen == {
        "SAME": ("1", "ok", ""),
        "OTHER": ("2=3", "different", ""),
        "NONE": ("", "missing", ""),
    }


def test_container_that_keeps_us_waiting(root: Path) -> None:
    """By a file system that it serves itself, and does not; all is unknown, and nobody waits."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        pytest.skip("no file systems of users: /dev/fuse")
    device = node("inner/same", root.parent / "host", make=False)
    parts: dict[str, Any] = {"nodes": (device,), "libraries": ("a",), "variables": {"A": "b"}}
    with process(root, served="/dev/inner") as pid:
        seen = sight.look(pid, given(**parts), 0.2)

    assert {(one.state, one.why) for one in seen} == {("unknown", "did not answer within 0.2 s")}
    assert [one.kind for one in seen] == ["device", "library", "variable"]


def test_process_that_has_ended(root: Path) -> None:
    device = node("same", root.parent / "host")
    with process(root) as pid:
        pass

    seen = look(pid, nodes=(device,), variables={"A": "b"})

    assert set(seen.values()) == {("", "unknown", "no such file or directory")}


def test_another_user_may_not_look(root: Path) -> None:
    with process(root, A="b") as pid:
        words = [sys.executable, "-c", LOOK, str(TREE), str(pid)]
        try:
            done = subprocess.run(
                words, user=NOBODY, cwd="/", capture_output=True, text=True, check=False
            )
        except PermissionError:
            pytest.skip(f"another user cannot run {sys.executable}")
    if "No module named" in done.stderr:
        pytest.skip("another user cannot read the package")

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "device unknown only root may look",
        "variable unknown only root may look",
    ]


def test_answer_is_json_of_any_names(root: Path) -> None:
    """Paths may hold bytes that are no UTF-8."""
    name = os.fsdecode(b"/dev/\xff")
    odd = Node(path=name, host_path=name, kind="c", numbers=(1, 3), access="")
    with process(root) as pid:
        assert json.dumps(look(pid, nodes=(odd,)))
        assert look(pid, nodes=(odd,)) == {name: ("nothing", "missing", "")}
