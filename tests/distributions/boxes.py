# SPDX-License-Identifier: Apache-2.0
"""Containers of runc and crun on a simulated machine, over an image that nothing changes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from engines import bundles
from engines.bundles import BundleContainer, Bundles
from engines.machine import Runtime

from .site import Site

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What docker gives, for one that is not privileged.
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
]
COMMAND = ("sleep", "1000")
DEV = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev"]}

Change = Callable[[dict[str, Any]], None]


@dataclass(slots=True, kw_only=True)
class Box:
    """A container: its bundle, the layer that its image's files are changed in, and its life."""

    site: Site
    live: Bundles
    words: tuple[str, ...]
    bundle: Path
    image: Path
    asked: dict[str, Any] = field(default_factory=dict)
    running: BundleContainer | None = None
    failure: str = ""

    @property
    def id(self) -> str:
        """The container's id."""
        return self.bundle.name

    def start(self) -> None:
        """Create and start it, as an engine does each time: with a config.json of its own."""
        (self.bundle / "config.json").write_text(json.dumps(self.asked))
        if self.live.create(self.bundle, self.words) != 0:
            self.failure = (self.bundle / "stderr").read_text()
            return
        self.running = self.live.begin(self.bundle, self.words)

    def stop(self) -> None:
        """End and delete it; its root stays."""
        if self.running:
            self.running.kill()
            self.running.remove()
            self.running = None

    def run(self, *command: str) -> CompletedProcess[str]:
        """Run a command in it."""
        assert self.running, f"the container did not start: {self.failure}"
        return self.running.exec(*command)

    def tell(self, *command: str) -> str:
        """Run a command in it that must succeed; return what it said."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def config(self) -> dict[str, Any]:
        """Read the config.json that the low-level runtime was given."""
        document: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        return document

    def hooks(self) -> list[dict[str, Any]]:
        """List the hooks that run in the container's namespaces, or in the host's for it."""
        return [hook for stage in self.config().get("hooks", {}).values() for hook in stage]

    def written(self) -> dict[str, str]:
        """List what was written into the container's root: path to what it is."""
        upper = self.bundle / "upper"
        files = {}
        for path in sorted(upper.rglob("*")):
            name = f"/{path.relative_to(upper)}"
            if path.is_symlink():
                files[name] = f"-> {path.readlink()}"
            elif path.is_file():
                files[name] = f"{path.stat().st_size} bytes, inode {path.stat().st_ino}"
        return files

    def reasons(self) -> list[str]:
        """Read what the runtime noted of its preparation."""
        notes: list[str] = self.site.record(self.id).get("prepared", [])
        return notes


@contextmanager
def box(
    site: Site,
    live: Bundles,
    runtime: Runtime,
    image: Path,
    *,
    gpus: str = "all",
    change: Change | None = None,
    prepare: Callable[[Path], None] | None = None,
    options: str = "",
) -> Iterator[Box]:
    """Return a started container of an image; ``change`` edits the config.json that asks for it.

    ``prepare`` is given the root before anything is started; ``options`` are of the root's mount.
    """
    bundle = live.folder / f"{live.folder.name}-{next(live.numbers)}"
    for name in ("rootfs", "upper", "work"):
        (bundle / name).mkdir(parents=True)
    (bundle / "upper").chmod(0o755)
    layers = f"lowerdir={image},upperdir={bundle}/upper,workdir={bundle}/work"
    root = bundle / "rootfs"
    site.succeed("mount", "-t", "overlay", "overlay", "-o", layers, root)
    if prepare:
        prepare(site.path(os.fspath(root)))
    if options:
        site.succeed("mount", "-o", f"remount,{options}", root)
    container = Box(
        site=site,
        live=live,
        words=live.words(runtime),
        bundle=bundle,
        image=image,
        asked=document(bundle, gpus),
    )
    container.asked["linux"]["cgroupsPath"] = f"/{live.group}/{bundle.name}"
    if change:
        change(container.asked)
    try:
        container.start()
        yield container
    finally:
        container.stop()
        site.run("umount", "--lazy", root)
        shutil.rmtree(bundle, ignore_errors=True)


def document(bundle: Path, gpus: str) -> dict[str, Any]:
    """Write the config.json of a container that stays and asks for GPUs."""
    config = bundles.spec(COMMAND, gpus=gpus, group="")
    config["process"]["env"] = [PATH, *config["process"]["env"][1:], "LC_ALL=C"]
    config["process"]["capabilities"] = {
        name: [*CAPABILITIES] for name in ("bounding", "effective", "permitted")
    }
    config["mounts"] = [*config["mounts"], DEV]
    config["root"] = {"path": os.fspath(bundle / "rootfs")}
    return config
