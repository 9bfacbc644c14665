# SPDX-License-Identifier: Apache-2.0
"""The loader's cache of random containers with volumes, against ldconfig in the started container.

By the host and by a hook; the toolkit's hook runs ldconfig when all mounts are made.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import shim
from rootfs import images
from shim import needs_root

from nvidia_runtime.oci import edit
from nvidia_runtime.prepare import carry_out, takeover
from nvidia_runtime.prepare.work import Conditions

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]
DRIVER = ("libcuda.so.580.1", "libcuda.so.1"), ("libnvidia-ml.so.580.1", "libnvidia-ml.so.1")
NAMES = ("liba", "libb", "libc1", "libd")
# Folders that an image's ld.so.conf may name, and what may be mounted over, above or below them.
NAMED = ("/opt/a", "/opt/b/lib", "/opt/c", "/srv/missing/lib", "/usr/local/lib", "/opt/link")
PLACES = (*NAMED, "/opt", "/opt/b", "/srv", "/data", "/usr/local")
COMPARE = """
ldconfig -p
echo ====
ldconfig 2>/dev/null
ldconfig -p
"""
needs_containers = pytest.mark.skipif(
    not (shutil.which("runc") and shutil.which("busybox") and shutil.which(images.LDCONFIG)),
    reason="needs runc, busybox and glibc's ldconfig",
)


class Container:
    """A random image, and a container of it with random mounts and the driver's libraries."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.choose = random.Random(seed)
        self.folder = folder
        self.root = folder / "bundle/rootfs"
        self.mounts: list[Document] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ]
        self.added: list[Document] = []
        self.make_image()
        count = self.choose.randint(1, 3)
        for number in range(count):
            # In one that is read-only no place for another could be made.
            self.mount(number, self.choose.choice(["ro", "rw"]) if count == 1 else "rw")
        for name, soname in DRIVER:
            images.make(folder / "driver", {name: images.library(soname)})
            path = f"{images.FOLDER}/{name}"
            mount = {"destination": path, "source": f"{folder}/driver/{name}", "type": "bind"}
            self.added.append({**mount, "options": ["ro", "nosuid", "nodev", "bind", "rprivate"]})

    def libraries(self) -> dict[str, str | bytes]:
        """Return some libraries, as packages have them: a file, and a link by its soname."""
        tree: dict[str, str | bytes] = {}
        for name in self.choose.sample(NAMES, self.choose.randint(0, 3)):
            version = self.choose.randint(1, 20)
            tree[f"{name}.so.1.{version}"] = images.library(f"{name}.so.1")
            if self.choose.random() < 0.7:
                tree[f"{name}.so.1"] = f"-> {name}.so.1.{version}"
        return tree

    def make_image(self) -> None:
        choose = self.choose
        named = choose.sample(NAMED, choose.randint(1, len(NAMED)))
        conf = {"etc/ld.so.conf.d/x.conf": "".join(f"{folder}\n" for folder in named)}
        debian = f"/usr/local/lib/x86_64-linux-gnu\n{images.FOLDER}\n"
        images.make(
            self.root,
            {
                "etc/debian_version": "12",
                "lib": "-> usr/lib",
                "opt/link": "-> /data/lib",
                "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
                "data/lib/": "",
                "etc/ld.so.conf.d/y.conf": debian,
                **conf,
                "bin/": "",
                "sbin/": "",
                "tmp/": "",
            },
        )
        for folder in ("/opt/a", "/opt/b/lib", "/opt/c", "/data/lib", images.FOLDER):
            images.make(self.root / folder[1:], self.libraries())
        images.run_ldconfig(self.root)
        if choose.random() < 0.3:
            (self.root / "etc/ld.so.cache").unlink()
        shutil.copy(shutil.which("busybox") or "", self.root / "bin/busybox")
        shutil.copy(images.LDCONFIG, self.root / "sbin/ldconfig")
        (self.root / "bin/sh").symlink_to("busybox")

    def mount(self, number: int, access: str) -> None:
        """Mount a folder, a file or a file system in memory, as a user's or a spec's."""
        path = self.choose.choice(PLACES)
        kind = self.choose.choice(["folder", "folder", "file", "memory"])
        mount: Document = {"destination": path, "type": "bind"}
        mount["options"] = ["rbind", access]
        source = images.make(self.folder / f"volume{number}", self.libraries())
        if kind == "folder":
            images.make(
                source, {"lib/": "", **{f"lib/{k}": v for k, v in self.libraries().items()}}
            )
            mount["source"] = f"{source}"
        elif kind == "file":
            name = self.choose.choice(NAMES)
            images.make(source, {"file": images.library(f"{name}.so.1")})
            mount |= {"source": f"{source}/file", "destination": f"{path}/{name}.so.1.99"}
        else:
            mount |= {"type": "tmpfs", "source": "tmpfs", "options": []}
        if kind == "folder" and self.choose.random() < 0.3:
            self.added.append(mount)
        else:
            self.mounts.append(mount)

    def run(self, how: str) -> str:
        """Prepare the container and let runc run it; return what it says."""
        words = ["nvidia-cdi-hook", "update-ldcache", "--folder", images.FOLDER]
        program = f"{shim.BIN.resolve()}/nvidia-cdi-hook"
        hook = {"path": program, "args": words, "env": ["A=b"]}
        edits: list[Document] = [{"mounts": self.added, "hooks": {"createContainer": [hook]}}]
        spec: Document = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/sh", "-c", COMPARE],
                "cwd": "/",
                "env": ["PATH=/bin:/sbin"],
            },
            "root": {"path": "rootfs"},
            "mounts": sorted(self.mounts, key=edit.depth),
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
        bundle = f"{self.folder}/bundle"
        setting = "always" if how == "hook" else "auto"
        state = self.folder / "state"
        state.mkdir()
        conditions = Conditions(setting, "/usr/sbin/runc", program, f"{state}")
        work = takeover.plan(edits, spec, bundle, "config.json", conditions)
        edit.apply(spec, work.edits, "config.json")
        (self.folder / "bundle/config.json").write_text(json.dumps(spec))
        if not work.is_empty():
            carry_out.carry_out(work)
        name = f"nvcr-mounted-{os.getpid()}-{os.path.basename(self.folder)}"
        ended = subprocess.run(
            ["runc", "--root", f"{self.folder}/runc", "run", "--bundle", bundle, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def entries(text: str) -> list[tuple[str, str]]:
    """Return name and folder of each entry, in their order; /lib is /usr/lib in the image.

    In a volume our entry is the file itself where the link by its soname is missing.
    """
    pairs = [line.split(" => ") for line in text.splitlines() if " => " in line]
    return [(name.strip(), path.rpartition("/")[0].removeprefix("/usr")) for name, path in pairs]


@needs_root
@needs_containers
@pytest.mark.parametrize("how", ["host", "hook"])
@pytest.mark.parametrize(
    "seed",
    [*range(8), *[pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 200)]],
)
def test_cache_is_what_ldconfig_makes_in_the_container(seed: int, how: str, tmp_path: Path) -> None:
    container = Container(tmp_path, seed)

    ours, _, theirs = container.run(how).partition("====")

    assert entries(ours) == entries(theirs)
