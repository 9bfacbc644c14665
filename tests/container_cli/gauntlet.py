# SPDX-License-Identifier: Apache-2.0
"""Call `configure` on one container after the other, each as it stands at prestart.

The word is a JSON list of roots with their volumes, SOURCE:DESTINATION; the answer is a list of
what was said of each, and of the paths at which something is mounted then.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from typing import Any

from nvidia_runtime.container_cli.configuration import Configuration
from nvidia_runtime.container_cli.configure import configure
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import mounts
from nvidia_runtime.selftest import ways

from . import standing

ALL = frozenset(("compute", "utility", "video", "graphics", "display", "ngx", "compat32"))


def try_one(root: str, volumes: list[str]) -> dict[str, Any]:
    """Let a container stand, and configure it."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            standing.stand(root, volumes)
        except BaseException:  # noqa: BLE001 (the parent is told by the end of the pipe)
            traceback.print_exc()
            os._exit(1)
        os.write(ready[1], b"x")
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    os.close(ready[1])
    assert os.read(ready[0], 1), root
    try:
        call = Configuration(
            rootfs=root, pid=child, devices=("all",), capabilities=ALL, with_cgroups=False
        )
        try:
            done: list[str] = []
            said, code = configure(call, done) + done, 0
        except NvidiaRuntimeError as error:
            said, code = [str(error), error.hint], 1
        return {
            "code": code,
            "said": said,
            "mounted": list(mounts.points(f"/proc/{child}/mountinfo")),
        }
    finally:
        for descriptor in (ready[0], *go):
            os.close(descriptor)
        os.waitpid(child, 0)


def main() -> None:
    """Do what the word says."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ways.MOST_WRITTEN, ways.MOST_WRITTEN))
    print(json.dumps([try_one(*one) for one in json.loads(sys.argv[1])]))
