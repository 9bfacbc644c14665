# SPDX-License-Identifier: Apache-2.0
"""Calls of ours on a machine of their own, in which a call of the C library ends or fails."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import builders
import pytest
import shim
from shim import Site

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "from nvidia_runtime.cli import main; main()"
ERRORS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
State = list["bytes | None"]


@dataclass
class Scene:
    """A call, and the files that it changes: as they are before it, and after it.

    ``again`` is what a user does after a failure; ``undo`` leads back, if anything does.
    """

    site: Site
    words: list[str]
    files: list[Path]
    again: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    library: str = ""
    # Whether another state is as good as the new one.
    is_as_good: Callable[[State], bool] = lambda _: False
    reset: Callable[[], None] = lambda: None

    def run(self, words: list[str], **env: str) -> shim.Ended:
        """Run words, with variables more."""
        environment = {**self.site.environment, "STATE_DIRECTORY": f"{self.site.folder}/var", **env}
        return shim.end(self.site.execute(words, env=environment, cwd=self.site.folder))

    def faulty(self, fault: str) -> shim.Ended:
        """Run the call with a fault."""
        return self.run(self.words, LD_PRELOAD=self.library, NVCR_FAULT=fault)

    def count(self, *, kill: bool) -> int:
        """Count the places at which a fault can happen."""
        calls = self.site.folder / "calls"
        shim.unlink(calls)
        fault = "kill 0" if kill else "fail 0 0"
        ended = self.run(
            self.words, LD_PRELOAD=self.library, NVCR_FAULT=fault, NVCR_CALLS=str(calls)
        )
        assert ended.code == 0, ended.err
        lines = calls.read_text().splitlines()
        return sum(1 for line in lines if not kill or line.startswith("1 "))

    def state(self) -> State:
        """Return the contents of the files."""
        return [path.read_bytes() if path.exists() else None for path in self.files]


def places(count: int, few: int, *, is_long: bool) -> list[int]:
    """Choose some of as many places, the first and the last among them, or take all."""
    numbers = list(range(1, count + 1))
    if is_long or count <= few:
        return numbers
    return sorted({1, count, *random.Random(count).sample(numbers, few - 2)})


def ctk(*words: str | Path) -> list[str]:
    """Return the words of a call of nvidia-ctk."""
    code = f"import sys; sys.path.insert(0, {os.fspath(shim.TREE)!r}); {PROGRAM}"
    return [sys.executable, "-c", code, *map(str, words)]


def create(site: Site) -> Scene:
    """Create a container with links and libraries of the driver; nothing is known before."""
    link = ["nvidia-cdi-hook", "create-symlinks", "--link", f"libx.so.1::{LIBRARIES}/libx.so"]
    cache = ["nvidia-cdi-hook", "update-ldcache", "--folder", LIBRARIES]
    hooks = [
        {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": args}
        for args in (link, cache)
    ]
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", env=["GPU=0"], hooks=hooks)))
    root = site.bundle / "rootfs"
    document = builders.asking("0", root={"path": "rootfs"})

    def reset() -> None:
        shim.remove(root)
        (root / "etc").mkdir(parents=True)
        (root / LIBRARIES[1:]).mkdir(parents=True)
        (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
        shim.remove(site.state)
        site.write_bundle(document)

    words = [str(site.launcher), "create", "--bundle", str(site.bundle), "c1"]
    files = [site.bundle / "config.json", root / "etc/ld.so.conf.d/00-nvcr-nvidia.conf"]
    scene = Scene(site, words, files, words, reset=reset)
    scene.is_as_good = lambda state: b"nvidia-cdi-hook" in (state[0] or b"")  # a hook does it
    return scene


def configure(site: Site) -> Scene:
    """Configure docker, whose file has something of its user's."""
    file = site.folder / "daemon.json"

    def reset() -> None:
        shim.remove(site.folder / "var")
        file.write_text('{\n    "log-level": "info"\n}\n')

    flags = ["--runtime=docker", f"--config={file}", "--restart=none"]
    words = ctk("runtime", "configure", *flags, "--set-as-default")
    undo = ctk("runtime", "unconfigure", *flags)
    return Scene(site, words, [file], words, undo, reset=reset)


def unconfigure(site: Site) -> Scene:
    """Take back what was configured, once; from then on copies of that are taken back."""
    scene = configure(site)
    configured, reset = scene.words, scene.reset
    (file,) = scene.files
    state, kept = site.folder / "var", site.folder / "configured"

    def reset_and_configure() -> None:
        if kept.exists():
            shim.remove(state)
        else:
            reset()
            assert scene.run(configured).code == 0
            shutil.copytree(state, kept)
            shutil.copy2(file, kept / file.name)
        shutil.copytree(kept, state, dirs_exist_ok=True)
        shutil.move(state / file.name, file)

    return Scene(site, scene.undo, scene.files, scene.undo, configured, reset=reset_and_configure)


def settings(site: Site) -> Scene:
    """Change a setting of config.toml."""
    file = site.folder / "config/config.toml"

    def reset() -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text("# mine\n[nvidia-container-cli]\n")

    set_ = "--set=nvidia-container-cli.load-kmods=false"
    words = ctk("config", f"--config={file}", "--in-place", set_)
    return Scene(site, words, [file], words, reset=reset)


def generate(site: Site) -> Scene:
    """Generate a CDI spec in the place of an older one."""
    file, root = site.folder / "etc/cdi/gdrcopy.yaml", site.folder / "root"
    (root / "dev").mkdir(parents=True)
    if not shim.is_root:
        pytest.skip("device nodes need root")
    os.mknod(root / "dev/gdrdrv", 0o20666, os.makedev(10, 55))

    def reset() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(builders.cdi_spec()))

    words = ctk("cdi", "generate", "--mode=gdrcopy", f"--dev-root={root}", f"--output={file}")
    return Scene(site, words, [file], words, reset=reset)


SCENES: dict[str, Callable[[Site], Scene]] = {
    maker.__name__: maker for maker in (create, configure, unconfigure, settings, generate)
}
