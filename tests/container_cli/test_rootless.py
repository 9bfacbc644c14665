# SPDX-License-Identifier: Apache-2.0
"""`configure` as programs of users call it: root in a user namespace, with one id, and no --pid.

The caller has made the mounts of its container and changes the root afterwards, as enroot does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import processes, rootfs
from engines.bundles import Bundles

from nvidia_runtime.container_cli import existing

from .conftest import Sites
from .containers import ALL, ENVIRONMENT, SHOW, Document, call, program, said

USER = 65534
# The words are the root, and then the program's.
AS_ENROOT = """
root=$1
shift
mount --make-rprivate / && mount --rbind "$root" "$root" && cd "$root" || exit 125
mount -t tmpfs -o mode=755 none "$root/dev" && mount --rbind /proc "$root/proc" || exit 125
"$@" || exit
exec chroot "$root" /bin/sh -c "$SHOW"
"""
ENTER = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", AS_ENROOT, "sh"),
)


@pytest.fixture
def root(sites: Sites, busybox: str) -> Path:
    """Make a root of the user's."""
    folder = sites("t4x1").scratch / "user"
    shutil.rmtree(folder, ignore_errors=True)
    rootfs.build(folder, busybox)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    return folder


@pytest.fixture
def runtime_dir(sites: Sites) -> Iterator[str]:
    """Make what a session has for our state: without it that would be in /tmp."""
    folder = sites("t4x1").scratch / "run"
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    yield f"XDG_RUNTIME_DIR={folder}"
    shutil.rmtree(folder)


def test_nodes_and_files_of_the_host_are_mounted(
    sites: Sites, root: Path, runtime_dir: str
) -> None:
    words = {"pid": 0, "rootfs": str(root), "devices": ["all"], "capabilities": ALL}
    call = (*program("container_cli.entry"), json.dumps(words))
    env = ("env", runtime_dir, f"SHOW={SHOW}")
    done = processes.run([*sites("t4x1").enter, *env, *ENTER, str(root), *call])
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    mounted = {line.split()[0]: line for line in lines if " rw" in line or " ro" in line}
    assert {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"} < mounted.keys()
    libraries = "/usr/lib/x86_64-linux-gnu"
    assert "ro,nosuid,nodev" in mounted[f"{libraries}/libcuda.so.580.95.05"]
    assert "/dev/nvidia0 No such device or address" in lines
    assert (root / libraries[1:] / "libcuda.so").readlink() == Path("libcuda.so.1")
    assert (root / "etc/ld.so.cache").stat().st_uid == USER


def test_user_without_a_namespace(sites: Sites, root: Path, runtime_dir: str) -> None:
    """Nothing can be mounted: it is said why."""
    words = {"pid": 0, "rootfs": str(root), "devices": ["all"], "with_cgroups": False}
    call = (*program("container_cli.entry"), json.dumps(words))
    done = processes.run([*sites("t4x1").enter, "env", runtime_dir, *ENTER[:4], *call])

    assert done.returncode == 1
    assert "cannot be mounted: operation not permitted" in done.stderr
    assert done.stderr.endswith(f"; {existing.ROOT_HINT}\n")


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_runtime_of_a_user(
    name: str,
    bundles: Callable[[str, str, str], Bundles],
    sites: Sites,
    runtime_dir: str,
) -> None:
    """A rootless engine's: the hook is in the engine's user namespace, and has a --pid."""
    root_of_all = bundles("t4x1", name, "v1")
    folder = sites("t4x1").scratch / f"rootless-{name}"
    folder.mkdir()
    os.chown(folder, USER, USER)
    words = ("unshare", "--user", "--map-root-user", "--mount")
    live = replace(root_of_all, folder=folder, enter=(*root_of_all.enter, *ENTER[:4], *words))

    def change(document: Document) -> None:
        del document["linux"]["cgroupsPath"], document["linux"]["resources"]
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)

    def in_session(document: Document) -> None:
        document["hooks"]["prestart"][0]["env"] = [*ENVIRONMENT, runtime_dir]

    lines = said(live, change, call(devices=["all"]), in_session)

    assert any(line.startswith("/dev/nvidia0 rw") for line in lines)
    assert "/dev/nvidia0 No such device or address" in lines
