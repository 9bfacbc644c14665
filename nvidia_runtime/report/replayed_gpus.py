# SPDX-License-Identifier: Apache-2.0
"""The GPUs of a report, and the PCI bus, as the document of a machine has them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from nvidia_runtime.host import nvml_problems, proc
from nvidia_runtime.report import replayed_files
from nvidia_runtime.simulate import description, models

Document = dict[str, Any]

UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOST = 15
UNKNOWN_RESULT = 999
DRM = re.compile(r"(card|renderD)(\d{1,3})")
FAILURE = re.compile(r"(nvml\w+?)(?:_v\d)?:(\d+)")
FAILING = re.compile(r"(nvml\w+?)(?:_v\d)? fails")
# For a model of which nothing is known.
PROFILES = [
    {"enum": number, "id": number, "slices": 1, "instances": 7, "multiprocessors": 1}
    | {"memory_mib": 1024, "name": name}
    for number, name in ((models.SLICE_1, "1g.1gb"), (models.SLICE_1_GFX, "1g.1gb+gfx"))
]
COMPUTE_PROFILES = [{"enum": 0, "id": 0, "slices": 1}]


def document(asked: Document, bus: Document, texts: Mapping[str, str]) -> Document:
    """Return the GPUs, the board and the faults."""
    listed = _listed(texts)
    answered = _entries(asked.get("gpus"))
    paired = _paired(answered, listed, replayed_files.nodes(texts)) if answered else listed
    gpus = [_gpu(facts) for facts in paired]
    places = {gpu["bus_id"]: gpu for gpu in gpus if gpu["bus_id"]}
    parts: Document = {"gpus": gpus}
    if board := _board(bus, places):
        parts["board"] = board
    faults: Document = {"fail": [], "hang": [], "crash": []}
    for kind, word in _faults(asked, paired):
        faults[kind].append(word)
    return parts | ({"faults": faults} if any(faults.values()) else {})


def _entries(value: Any) -> list[Document]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _listed(texts: Mapping[str, str]) -> list[Document]:
    """Return the GPUs that the kernel module lists, in the order of their addresses."""
    gpus = []
    for name in sorted(texts, key=lambda name: (len(name), name)):
        if re.fullmatch(r"machine/gpu-\d+\.txt", name):
            fields = proc.fields_of(texts[name])
            if fields.get("GPU Excluded") == "Yes":
                continue
            minor = fields.get("Device Minor", "")
            gpus.append(
                {
                    "name": fields.get("Model", ""),
                    "uuid": fields.get("GPU UUID", ""),
                    "bus_id": proc.bus_id(fields.get("Bus Location", "")),
                    "minor": int(minor) if minor.isdecimal() else -1,
                }
            )
    return gpus


def _paired(
    answered: list[Document], listed: list[Document], nodes: Collection[str]
) -> list[Document]:
    """Fill in what NVML did not say of a GPU by what the kernel module lists, and it does not."""
    addresses = {gpu.get("bus_id") for gpu in answered}
    left = [gpu for gpu in listed if gpu["bus_id"] not in addresses]
    by_address = {gpu["bus_id"]: gpu for gpu in listed}
    gpus = []
    for gpu in answered:
        other = by_address.get(str(gpu.get("bus_id")), {})
        if not gpu.get("uuid") and not other and left:
            other = left.pop(0)
        gpus.append({**gpu, **{key: gpu.get(key) or value for key, value in other.items()}})
        if other and gpu.get("minor", -1) < 0:
            gpus[-1]["minor"] = other["minor"]
    # NVML knows nothing of them at all: they are lost, or others have them and their nodes.
    for gpu in left:
        is_here = not nodes or f"/dev/nvidia{gpu['minor']}" in nodes
        gpus.append({**gpu, **({"failure": f":{LOST}"} if is_here else {"is_elsewhere": True})})
    return gpus


def _gpu(facts: Document) -> Document:
    name = str(facts.get("name") or "NVIDIA")
    by_name = {str(one["name"]): key for key, one in description.models_by_name().items()}
    gpu: Document = {"model": by_name[name]} if name in by_name else {"name": name}
    gpu["bus_id"] = str(facts.get("bus_id") or "")
    if UUID.fullmatch(str(facts.get("uuid"))):
        gpu["uuid"] = facts["uuid"]
    if isinstance(facts.get("minor"), int) and facts["minor"] >= 0:
        gpu["minor"] = facts["minor"]
    if facts.get("is_coherent"):
        gpu["addressing"] = "ats"
    if str(facts.get("failure")).endswith(f":{LOST}"):
        gpu["lost"] = True
    if facts.get("is_elsewhere"):
        gpu["is_elsewhere"] = True
    if facts.get("is_mig"):
        gpu |= _mig(name in by_name, gpu, _entries(facts.get("migs")))
    return gpu


def _mig(is_model: bool, gpu: Document, migs: list[Document]) -> Document:
    """Return the MIG devices; of their profiles a report says only whether they have graphics."""
    model = description.models_by_name().get(gpu.get("model", ""), {}) if is_model else {}
    profiles = [profile.name for profile in model.get("gpu_profiles", ())]
    parts: Document = {"mig": "enabled"}
    if not profiles:
        parts |= {"gpu_profiles": PROFILES, "compute_profiles": COMPUTE_PROFILES}
        profiles = [profile["name"] for profile in PROFILES]
    parts["mig_devices"] = [
        {
            "profile": next(
                (one for one in profiles if one.endswith("+gfx") == bool(mig.get("has_graphics"))),
                profiles[0],
            ),
            "slices": 1,
            "uuid": mig.get("uuid"),
            "gpu_instance": mig.get("gpu_instance"),
            "compute_instance": mig.get("compute_instance"),
        }
        for mig in migs
    ]
    return parts


def _faults(asked: Document, gpus: list[Document]) -> Iterator[tuple[str, str]]:
    """Return what has to fail, so that NVML says the same; a lost GPU says it by itself."""
    problem = str(asked.get("problem", ""))
    codes = [code for code, (what, _) in nvml_problems.INITIALISATION.items() if what in problem]
    if match := FAILING.search(problem):
        yield "fail", f"{match[1]}:{UNKNOWN_RESULT}"
    elif codes and codes[0] not in nvml_problems.BY_MODULE:
        yield "fail", f"nvmlInit:{codes[0]}"
    for index, gpu in enumerate(gpus):
        match = FAILURE.fullmatch(str(gpu.get("failure")))
        if match and int(match[2]) != LOST:
            yield "fail", f"{match[1]}:{match[2]}@{index}"
        elif gpu.get("is_silent"):
            kind = "crash" if "crashed" in str(gpu.get("problem")) else "hang"
            yield kind, f"nvmlDeviceGetName@{index}"


def _board(bus: Document, places: dict[str, Document]) -> Document:
    """Return the PCI devices; on the place of a GPU the machine says what that is."""
    nodes = bus.get("nodes")
    nodes = nodes if isinstance(nodes, dict) else {}
    numbers = sorted(int(number) for number in nodes if number.isdecimal())
    devices = [_device(one, places) for one in _entries(bus.get("devices"))]
    if not devices or numbers[:1] != [0]:
        return {}
    cpus = [number for number in numbers if nodes[str(number)]]
    while cpus != [*range(len(cpus))]:
        cpus.pop()
    return {
        "cpus": [nodes[str(number)] for number in cpus],
        "memory_nodes": [number for number in numbers if number not in cpus],
        "devices": [
            {**one, "node": one["node"] if one["node"] in numbers else 0} for one in devices
        ],
    }


def _device(facts: Document, places: dict[str, Document]) -> Document:
    number, width = str(facts.get("node")), str(facts.get("width"))
    device: Document = {
        "address": facts.get("address"),
        "above": facts.get("above"),
        "node": int(number) if number.isdecimal() else 0,
        "link": facts.get("link"),
        "width": int(width) if width.isdecimal() else 0,
    }
    if (group := str(facts.get("iommu_group"))).isdecimal():
        device["iommu_group"] = int(group)
    gpu, ids = places.get(str(device["address"])), str(facts.get("ids"))
    if gpu is None:
        driver = {"driver": "vfio-pci"} if facts.get("driver") == "vfio-pci" else {}
        return {**device, "ids": ids, "kind": facts.get("kind"), **driver}
    if str(facts.get("kind")).startswith("0x03"):
        gpu["pci_class"] = facts["kind"]
    if re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", ids):
        gpu["pci_device_id"] = int(ids[5:] + ids[:4], 16)
    drm = facts.get("drm")
    for name in drm if isinstance(drm, list) else ():
        if match := DRM.fullmatch(str(name)):
            gpu["card" if match[1] == "card" else "render"] = int(match[2])
    return device
