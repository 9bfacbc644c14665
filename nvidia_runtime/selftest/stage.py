# SPDX-License-Identifier: Apache-2.0
"""The place of one attack: a scratch folder with an image, a bundle, settings and a canary."""

from __future__ import annotations

import json
import os
import platform
import re
import stat
from pathlib import Path
from typing import Any

from nvidia_runtime.compile import config
from nvidia_runtime.selftest import tree
from nvidia_runtime.selftest.attack import Attack
from nvidia_runtime.selftest.canary import Canary
from nvidia_runtime.simulate import elf

PROGRAM = "/.selftest"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# Names that files.replace and files.link give to files that are not finished.
TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}")
NOBODY = 65534
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


class Stage:
    """The scratch folder of one attack."""

    def __init__(self, attack: Attack, folder: Path) -> None:
        self.attack = attack
        self.folder = folder
        self.bundle = folder / "bundle"
        self.root = self.bundle / "rootfs"
        self.canary = Canary(folder / "canary")
        if attack.linked:
            self.bundle.mkdir()
            self.root.symlink_to(self.canary.folder)
        else:
            tree.build(attack.tree, self.root, {"canary": os.fspath(self.canary.folder)})
            (self.root / PROGRAM[1:]).write_bytes(tree.program())
            (self.root / PROGRAM[1:]).chmod(0o755)
        self._write(self.bundle / "config.json", self._container())
        self.links = [self._make_link(path) for path in attack.shared]

    def words(self, call: tuple[str, ...]) -> list[str]:
        """Return the words of a call, with the canary's path."""
        return [word.replace("{canary}", os.fspath(self.canary.folder)) for word in call]

    def state(self) -> bytes:
        """Return the container's state, as a runtime gives it to hooks."""
        state = {"ociVersion": "1.0.2", "id": "c", "status": "creating", "pid": os.getpid()}
        return json.dumps({**state, "bundle": os.fspath(self.bundle)}).encode()

    def write_settings(self, runtime: str, hook: str, hooks: str) -> Path:
        """Write a config.toml with every feature on, and a spec with the attack's calls."""
        section = "nvidia-container-runtime"
        features = [name for name in config.DEFAULTS if name.startswith("features.")]
        lines = [
            "accept-nvidia-visible-devices-as-volume-mounts = true",
            *[f"{name} = true" for name in features if name not in self.attack.without],
            f"[{section}]",
            'mode = "cdi"',
            f"runtimes = [{json.dumps(runtime)}]",
            f"in-container-hooks = {json.dumps(hooks)}",
            f"[{section}.modes.cdi]",
            f"spec-dirs = [{json.dumps(os.fspath(self.folder / 'cdi'))}]",
        ]
        path = self.folder / "config.toml"
        path.write_text("".join(f"{line}\n" for line in lines))
        (self.folder / "cdi").mkdir()
        self._write(self.folder / "cdi" / "nvidia.json", self._spec(hook))
        return path

    def complaints(self) -> list[str]:
        """Say what is wrong after the attack, on the host and in the container."""
        said = self.canary.harm()
        said += [f"{path} of the host is in the container" for path in self._mounted()]
        said += [f"{name} in the container tells a secret of the host's" for name in self._leaks()]
        for path, expected in self.attack.after.items():
            (wanted,) = self.words((expected,))
            if (actual := self._look(path)) != wanted:
                said.append(f"{path} in the container is {actual}, not {wanted}")
        for folder, folders, files in os.walk(self.root):
            left = [name for name in folders + files if TEMPORARY.fullmatch(name)]
            said += [f"{folder}/{name} was left behind" for name in left]
        return said

    def _make_link(self, path: str) -> Path:
        """Make a user's link to the host's folder where everybody may make files."""
        folder = self.folder / "shared"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)
        link = folder / os.path.basename(path)
        link.symlink_to(self.canary.folder)
        if os.geteuid() == 0:
            os.lchown(link, NOBODY, NOBODY)
        return link

    def _mounted(self) -> list[str]:
        """List the folders of the canary that the container's config.json mounts."""
        document = json.loads((self.bundle / "config.json").read_bytes())
        sources = [os.path.realpath(mount["source"]) for mount in document["mounts"]]
        return [source for source in sources if source.startswith(f"{self.canary.folder}")]

    def _leaks(self) -> list[str]:
        return self.canary.leaks(self.root)

    def _look(self, path: str) -> str:
        """Say what is at a path of the container, in the words of ``after``.

        A link there is not followed; the folders above it are not expected to be links.
        """
        place = self.root / path.lstrip("/")
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return "absent"
        if stat.S_ISLNK(status.st_mode):
            return f"-> {os.readlink(place)}"
        return KINDS.get(stat.S_IFMT(status.st_mode), "something else")

    def _container(self) -> dict[str, Any]:
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": [PROGRAM],
                "env": ["PATH=/", "NVIDIA_VISIBLE_DEVICES=0", *self.attack.env],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
                *[
                    {"destination": path, "source": f"{self.root}{source}", "options": ["rbind"]}
                    for source, path in self.attack.volumes
                ],
            ],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        }

    def _spec(self, hook: str) -> dict[str, Any]:
        """Return a CDI spec whose hooks are the attack's calls, with a file for each mount."""
        library = self.folder / "driver.so"
        library.write_bytes(elf.shared_object("libcuda.so.1", platform.machine()))
        name = os.path.basename(hook)
        hooks = [
            {"hookName": "createContainer", "path": hook, "args": [name, *self.words(call)]}
            for call in self.attack.calls
        ]
        options = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
        mounts = [
            {"hostPath": os.fspath(library), "containerPath": path, "options": options}
            for path in self.attack.mounts
        ]
        for link, path in zip(self.links, self.attack.shared, strict=True):
            mounts.append(
                {"hostPath": os.fspath(link), "containerPath": path, "options": ["rbind"]}
            )
        edits = {"env": ["SELFTEST=1"], "mounts": mounts, "hooks": hooks}
        return {
            "cdiVersion": "0.5.0",
            "kind": "nvidia.com/gpu",
            "devices": [{"name": "0", "containerEdits": edits}],
        }

    @staticmethod
    def _write(path: Path, document: object) -> None:
        path.write_text(json.dumps(document, indent=1))
