# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime configure --config-mode=oci-hook."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from . import ctk

HOOK = "/usr/bin/nvidia-container-runtime-hook"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def configure(*flags: str | Path) -> ctk.Ended:
    return ctk.run("--quiet", "runtime", "configure", "--config-mode=oci-hook", *flags)


def test_file(tmp_path: Path) -> None:
    got = configure("--oci-hook-path", tmp_path / "hooks.d" / "nvidia.json")

    file = tmp_path / "hooks.d" / "nvidia.json"
    assert got == ctk.Ended(0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert json.loads(file.read_text()) == {
        "version": "1.0.0",
        "hook": {
            "path": HOOK,
            "args": ["nvidia-container-runtime-hook", "prestart"],
            "env": [PATH],
        },
        "when": {"always": True, "commands": [".*"]},
        "stages": ["prestart"],
    }


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("/usr/local/bin/hook", PATH),
        ("/opt/nv/bin/hook", f"{PATH}:/opt/nv/bin"),
    ],
)
def test_folder_of_the_hook_is_in_its_path(program: str, path: str) -> None:
    hook = json.loads(configure("--nvidia-runtime-hook-path", program).out)["hook"]

    assert hook == {"path": program, "args": ["hook", "prestart"], "env": [path]}


def test_relative_path() -> None:
    assert configure("--nvidia-runtime-hook-path=hook") == ctk.Ended(
        1,
        "",
        "nvidia-ctk: the path of the hook must be absolute, not 'hook'\n"
        f"hint: --nvidia-runtime-hook-path={HOOK} is the default\n",
    )
