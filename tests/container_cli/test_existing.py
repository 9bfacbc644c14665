# SPDX-License-Identifier: Apache-2.0
"""`configure` on containers that stand or run: which it refuses, and what a failure leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import device_groups
import pytest
from distributions.site import Site
from engines import processes, rootfs
from engines.bundles import Bundles

from nvidia_runtime.container_cli import copies, existing, placing
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux.control_groups import DEVICES

from .conftest import Sites
from .containers import ALL, program

HERE = Path(__file__).parent
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442


@pytest.fixture
def site(sites: Sites) -> Site:
    """Return a machine with one GPU."""
    return sites("t4x1")


@pytest.fixture
def root(site: Site, busybox: str) -> Path:
    """Make a root."""
    folder = site.scratch / "standing"
    shutil.rmtree(folder, ignore_errors=True)
    rootfs.build(folder, busybox)
    return folder


@contextmanager
def standing(site: Site, root: Path) -> Iterator[int]:
    """Keep a container as it stands at prestart."""
    words = [*site.enter, *program("container_cli.standing"), str(root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline()
        yield process.pid
        process.stdin.close()


def configure(
    site: Site, pid: int, root: str | Path, *before: str, **fields: object
) -> CompletedProcess[str]:
    """Call `configure` on the machine, ``before`` it other words."""
    words = {"pid": pid, "rootfs": str(root), "devices": ["all"], "capabilities": ALL, **fields}
    call = (*program("container_cli.entry"), json.dumps(words))
    return processes.run([*site.enter, *before, *call])


def mounted(pid: int, root: Path) -> dict[str, str]:
    """Return the options of mounts in a standing container, by their paths."""
    rows = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return {row[4].removeprefix(str(root)): row[5] for row in rows if row[4].startswith(str(root))}


def nodes(pid: int, root: Path) -> list[str]:
    """List the nodes in a standing container's /dev."""
    return sorted(os.listdir(f"/proc/{pid}/root{root}/dev"))


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param((), id="none"),
        pytest.param((MOUNT_SETATTR,), id="Linux 5.2"),
        pytest.param((OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR), id="Linux 5.1"),
    ],
)
def test_older_kernels(missing: tuple[int, ...], site: Site, root: Path) -> None:
    numbers = ",".join(map(str, missing))
    before = (sys.executable, "-I", str(HERE / "old_kernel.py"), numbers) if missing else ()
    with standing(site, root) as pid:
        first = mounted(pid, root)
        done = configure(site, pid, root, *before, with_cgroups=False)

        assert (done.returncode, done.stderr) == (0, "")
        options = mounted(pid, root)
        library = f"{LIBRARIES}/libcuda.so.580.95.05"
        assert options[library].startswith("ro,nosuid,nodev")
        assert len(options) - len(first) > 20
        assert {"nvidia0", "nvidiactl", "dri"} < set(nodes(pid, root))


def test_twice_is_once(site: Site, root: Path) -> None:
    with standing(site, root) as pid:
        assert configure(site, pid, root, with_cgroups=False).returncode == 0
        first = Path(f"/proc/{pid}/mountinfo").read_text()
        assert configure(site, pid, root, with_cgroups=False).returncode == 0

        assert Path(f"/proc/{pid}/mountinfo").read_text() == first


def test_no_node_is_made_in_a_volume(site: Site, root: Path) -> None:
    """A container's link in its /dev leads there; what is in it stays on the host."""
    (root / "vol").mkdir()
    script = 'mount -t tmpfs volume "$0/vol" && ln -s /vol "$0/dev/dri"'
    with standing(site, root) as pid:
        shutil.rmtree(f"/proc/{pid}/root{root}/dev/dri", ignore_errors=True)
        words = ["nsenter", "--mount", f"--target={pid}", "sh", "-c", script, str(root)]
        assert processes.run(words).returncode == 0
        done = configure(site, pid, root, with_cgroups=False)

        assert (done.returncode, done.stderr) == (0, "")
        names = os.listdir(f"/proc/{pid}/root{root}/vol")
        assert "renderD128" in names
        there = mounted(pid, root)
        assert [name for name in names if f"/vol/{name}" not in there] == []


def test_failure_takes_back_what_was_given(site: Site, root: Path) -> None:
    """The last mounts meet a folder where a file belongs."""
    (root / "lib/firmware/nvidia/580.95.05/gsp_tu10x.bin").mkdir(parents=True)
    with standing(site, root) as pid:
        first = mounted(pid, root)
        done = configure(site, pid, root, with_cgroups=False)

        assert done.returncode == 1
        assert "gsp_tu10x.bin: cannot be mounted: is of another type" in done.stderr
        assert done.stderr.endswith(f"; {placing.HINT}\n")
        assert mounted(pid, root) == first
        assert nodes(pid, root) == ["dri"]


def test_failure_allows_nothing(site: Site, root: Path) -> None:
    (root / "lib/firmware/nvidia/580.95.05/gsp_tu10x.bin").mkdir(parents=True)
    with device_groups.group(DEVICES, denied=True) as folder, standing(site, root) as pid:
        Path(folder, "cgroup.procs").write_text(str(pid))
        done = configure(site, pid, root)

        assert "gsp_tu10x.bin: cannot be mounted: is of another type" in done.stderr
        assert Path(folder, "devices.list").read_text() == ""


def test_refusing_group_gives_nothing(site: Site, root: Path) -> None:
    """It is not the container's alone: we are in it, too."""
    with device_groups.group(DEVICES, denied=True) as folder, standing(site, root) as pid:
        Path(folder, "cgroup.procs").write_text(str(pid))
        first = mounted(pid, root)
        join = ("sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh")
        done = configure(site, pid, root, *join)

        assert "devices.list: refuses its devices" in done.stderr
        assert done.returncode == 1
        assert mounted(pid, root) == first
        there = Path(f"/proc/{pid}/root{root}/dev")
        assert not [path for path in there.rglob("*") if path.is_char_device()]
        assert Path(folder, "devices.list").read_text() == ""


def test_container_that_runs(bundles: Callable[[str, str, str], Bundles], site: Site) -> None:
    """Its root is that of its namespace by now."""
    live = bundles("t4x1", "runc", "v2")
    container = live.start(gpus=None)
    try:
        done = configure(site, container.pid, "/", *live.enter[len(site.enter) :])

        assert (done.returncode, done.stderr) == (0, "")
        opened = container.exec("sh", "-c", "(: </dev/nvidia0) 2>&1")
        assert opened.stdout.endswith("No such device or address\n")
        library = container.exec("test", "-s", f"{LIBRARIES}/libcuda.so.1")
        assert library.returncode == 0
    finally:
        container.kill()
        container.remove()


def test_refused(site: Site, root: Path) -> None:
    link = root.parent / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(root)
    holder = site.pid
    with standing(site, root) as pid:
        for number, path, said in (
            (pid, link, "the container's root is a link"),
            (pid, root / "nowhere", "the container's root cannot be opened: no such file"),
            (pid, root / "bin/busybox", "the container's root is not a folder"),
            (pid, "rootfs", "must be an absolute path"),
            (pid, "/", "the container's root is the host's own"),
            (0, "/", "the container's root is the host's own"),
            (holder, root, "shares the host's mount namespace"),
            (4194304, root, "its namespaces cannot be opened: no such process"),
        ):
            done = configure(site, number, path, with_cgroups=False)
            assert done.returncode == 1, path
            assert said in done.stderr
            assert done.stderr.endswith(f"; {existing.PID_HINT}\n")
        first = mounted(pid, root)
        assert not [path for path in first if "nvidia" in path]


def test_namespace_that_has_another_folder_there(site: Site, root: Path) -> None:
    """The path is the engine's: a container must not choose where it leads."""
    other = root.parent / "other"
    other.mkdir(exist_ok=True)
    script = 'mount --bind "$0" "$1" && echo && exec cat'
    words = [*site.enter, "unshare", "--mount", "sh", "-c", script, str(other), str(root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline()
        done = configure(site, process.pid, root, with_cgroups=False)
        process.stdin.close()

    assert done.returncode == 1
    assert f"{root}: is another folder for process {process.pid} than for us" in done.stderr
    assert list(other.iterdir()) == []


def test_source_that_is_gone() -> None:
    with pytest.raises(NvidiaRuntimeError, match="/nowhere: cannot be mounted") as error:
        copies.Copy("/nowhere", "/there", 0)

    assert error.value.hint == copies.HINT
