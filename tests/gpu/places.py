# SPDX-License-Identifier: Apache-2.0
"""Whether ``nvidia-ctk topology`` says of this machine what ``nvidia-smi topo -m`` says."""

from __future__ import annotations

import re
from typing import Any

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
NAME = re.compile(r"(GPU|NIC)[0-9]+")
RDMA_DEVICE = re.compile(r"^ *(NIC[0-9]+): (\S+)", re.MULTILINE)
# What only the driver knows: NVLink, which it names in place of the way by PCIe.
NVLINK = re.compile(r"NV[0-9]+")

Table = dict[tuple[str, str], str]


def compare(document: dict[str, Any], said: str) -> str:
    """Compare what both say of GPUs and RDMA devices.  Raises AssertionError for differences."""
    ours, theirs = of_document(document), of_text(said)
    both = sorted(ours.keys() & theirs.keys())
    assert both, f"nothing in common\n{said}"
    different = [
        f"{one} and {other}: {ours[one, other]}, not {theirs[one, other]}"
        for one, other in both
        if ours[one, other] != theirs[one, other] and not NVLINK.fullmatch(theirs[one, other])
    ]
    assert not different, "\n".join([*different, said])
    return f"{len(both)} pairs\n{said}"


def of_document(document: dict[str, Any]) -> Table:
    """Return our words, by GPU or RDMA device and GPU."""
    gpus = [f"GPU{gpu['index']}" for gpu in document["gpus"]]
    rows = [(f"GPU{gpu['index']}", gpu) for gpu in document["gpus"]]
    rows += [(name, nic) for nic in document["nics"] for name in nic["rdma_devices"]]
    return {
        (name, gpu): word
        for name, device in rows
        for gpu, word in zip(gpus, device["relations"], strict=True)
    }


def of_text(said: str) -> Table:
    """Return the words of nvidia-smi, by GPU or RDMA device and GPU."""
    said = ESCAPE.sub("", said)
    names = dict(RDMA_DEVICE.findall(said))
    head, *lines = said.splitlines()
    columns = [word for word in head.split() if NAME.fullmatch(word)]
    table: Table = {}
    for line in lines:
        name, *words = line.split() or [""]
        if NAME.fullmatch(name):
            cells = zip(columns, words, strict=False)  # affinities follow
            table |= {(names.get(name, name), gpu): word for gpu, word in cells if gpu[:3] == "GPU"}
    return table
