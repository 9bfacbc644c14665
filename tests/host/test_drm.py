# SPDX-License-Identifier: Apache-2.0
"""DRM nodes of a GPU, and the links to them."""

from __future__ import annotations

from pathlib import Path

from nvidia_runtime.host import drm

from . import trees

BUS_ID = "0000:65:00.0"


def machine(root: Path) -> str:
    """Make a GPU with a card, a render node, and a control device that has no node."""
    trees.mknod(root / "dev/dri/card1", 226, 1)
    trees.mknod(root / "dev/dri/renderD128", 226, 128)
    trees.mknod(root / "dev/dri/card0", 226, 0)
    drm_folder = f"sys/bus/pci/devices/{BUS_ID}/drm"
    return trees.make(
        root,
        {
            f"{drm_folder}/card1/": "",
            f"{drm_folder}/renderD128/": "",
            f"{drm_folder}/controlD65/": "",
            f"dev/dri/by-path/pci-{BUS_ID}-card": "-> ../card1",
            f"dev/dri/by-path/pci-{BUS_ID}-render": "-> ../renderD129",
            "dev/dri/by-path/pci-0000:00:02.0-card": "-> ../card0",
        },
    )


def test_find_nodes_of_one_gpu(tmp_path: Path) -> None:
    root = machine(tmp_path)

    paths = [node.path for node in drm.find(BUS_ID, f"{root}/sys", root)]

    assert paths == ["/dev/dri/card1", "/dev/dri/renderD128"]
    assert drm.find("0000:99:00.0", f"{root}/sys", root) == []


def test_links_lead_to_nodes_that_are_given(tmp_path: Path) -> None:
    root = machine(tmp_path)
    nodes = drm.find(BUS_ID, f"{root}/sys", root)

    assert drm.links(BUS_ID, nodes, root) == [(f"/dev/dri/by-path/pci-{BUS_ID}-card", "../card1")]
