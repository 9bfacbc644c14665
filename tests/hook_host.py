# SPDX-License-Identifier: Apache-2.0
"""The prestart hook as runc calls it: a real process, and a stand-in for nvidia-container-cli."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import builders
import shim
from shim import Ended, Site

HOOK = "nvidia-container-runtime-hook"
CLI = "nvidia-container-cli"
DEVICES = "NVIDIA_VISIBLE_DEVICES"


class Hook:
    """A host in legacy mode whose nvidia-container-cli prints its words."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cli = site.write_runtime(CLI)
        self.write_settings()

    def write_settings(
        self, top: str = "", cli: str = "", runtime: str = "", mode: str = "legacy"
    ) -> None:
        """Write config.toml: what stands on top, in the program's and in the runtime's table."""
        path = "" if "path =" in cli else f"path = {json.dumps(str(self.cli))}\n"
        runtime = f"[nvidia-container-runtime]\nmode = {json.dumps(mode)}\n{runtime}\n"
        self.site.write_config(f"{top}\n[{CLI}]\n{path}ldconfig = '@/l'\n{cli}\n{runtime}")

    def start(self, *words: str, launcher: str = HOOK, **options: Any) -> subprocess.Popen[bytes]:
        """Start the hook for the bundle; ``state`` replaces fields of the container's state."""
        state = self.site.folder / "state.json"
        document = {"id": "c1", "pid": 7, "bundle": str(self.site.bundle)}
        state.write_text(json.dumps({**document, **options.pop("state", {})}))
        with state.open("rb") as stdin:
            program = shim.BIN / launcher
            return self.site.start(*words, launcher=program, stdin=stdin, **options)

    def run(self, *words: str, **options: Any) -> Ended:
        """Call the hook and wait for its end; the options are those of `start`."""
        return shim.end(self.start(*(words or ("prestart",)), **options))

    def gives(self, document: builders.Document) -> list[str]:
        """Call the hook for a container; return the words of the program's call."""
        self.site.write_bundle(document)
        got = self.run()
        assert (got.code, got.err) == (0, "")
        return [os.fsdecode(word) for word in got.words]

    def refuses(self, document: builders.Document, **options: Any) -> str:
        """Call the hook for a container; return its sentence and its hint."""
        self.site.write_bundle(document)
        got = self.run(**options)
        assert (got.code, got.out) == (1, b"")
        sentence, hint, rest = got.err.removeprefix(f"{HOOK}: ").split("\n")
        assert rest == ""
        return f"{sentence} | {hint.removeprefix('hint: ')}"


def container(*env: str, version: str = "1.1.0", **process: Any) -> builders.Document:
    """Make the config.json of a container that asks for all devices unless it says which."""
    asked = [] if any(entry.startswith(DEVICES) for entry in env) else [f"{DEVICES}=all"]
    document = builders.spec(*asked, *env, ociVersion=version)
    document["process"].update(process)
    return document
