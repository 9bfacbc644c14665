# SPDX-License-Identifier: Apache-2.0
"""Where mounts will lie: links are those that the container will have, in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootfs import images

from nvidia_runtime.prepare.survey import MOST_OPEN, Survey
from nvidia_runtime.rootfs import resolver

if TYPE_CHECKING:
    from pathlib import Path

IMAGE: dict[str, str | bytes] = {
    "alone/usr/lib/": "",
    "to": "-> alone/usr/lib",
}


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"source": str(source), "destination": destination, "type": "bind"}


def test_folder_of_a_spec_takes_the_place_of_what_was_below_it(tmp_path: Path) -> None:
    """Also of a folder that was come to by a link, past the one at which it will be mounted."""
    images.make(tmp_path / "image", IMAGE)
    images.make(tmp_path / "volume", {"x": ""})
    images.make(tmp_path / "ours", {"lib/real/": "", "lib/link": "-> real"})
    spec = {"mounts": [bind(tmp_path / "volume", "/to/x")]}
    edits = [{"mounts": [bind(tmp_path / "ours", "/alone/usr")]}]

    with resolver.open_root(str(tmp_path / "image")) as root, Survey(root, spec, edits) as view:
        assert view.follow("/to/link") == "/alone/usr/lib/real"


def test_more_folders_than_are_kept_open(tmp_path: Path) -> None:
    """Beyond the limit each is looked up by itself."""
    count = MOST_OPEN + 20
    names = [f"{number:03}" for number in range(count)]
    images.make(tmp_path / "image", {f"d/{name}/link": "-> /d/000" for name in names})

    with resolver.open_root(str(tmp_path / "image")) as root, Survey(root, {}, []) as view:
        got = {view.follow(f"/d/{name}/link/x") for name in names}

    assert got == {"/d/000/x"}
