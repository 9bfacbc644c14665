# SPDX-License-Identifier: Apache-2.0
"""A machine as a document of TOML, for those that the catalogue lacks: schemas/machine.schema.json.

The document's keys are the fields of `machine`.  What it leaves out is as on most machines; a GPU
has a ``model`` of ours, or a name, and ``count`` stands for several that differ only in numbers.
"""

from __future__ import annotations

import dataclasses
import tomllib
import uuid
from collections.abc import Iterable
from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.simulate import faults, machine, models, toml_text
from nvidia_runtime.simulate.machine import MigDevice, PlacedFile, SimulatedGpu, SimulatedMachine

Document = dict[str, Any]
SCHEMA = "machine"
LARGEST = 4 << 20
MOST_GPUS = 32  # of a driver
MOST_NAMED = 5
SPACE = uuid.NAMESPACE_URL
HINT = "'nvidia-ctk simulate --show MACHINE' prints one to begin with"
HEAD = """\
# A machine for 'nvidia-ctk simulate --from FILE -- COMMAND'.
# What is left out is as on most machines.

"""
# A GPU of which only the name is known: NVML's constants for what is unknown.
UNKNOWN: models.Model = {
    "memory_mib": 16384,
    "architecture": 0xFFFFFFFF,
    "brand": 0,
    "compute_capability": "8.0",
}
# Lists and tables in the document, and what each is.
CLASSES: dict[str, type] = {
    "gpu_profiles": machine.GpuProfile,
    "compute_profiles": machine.ComputeProfile,
    "board": machine.Board,
    "devices": machine.PciDevice,
    "majors": machine.Majors,
    "faults": machine.Faults,
    "files": PlacedFile,
}
# What GPUs cannot have in common.
OWN = ("uuid", "serial", "bus_id", "minor", "mig_devices")


def models_by_name() -> dict[str, models.Model]:
    """Return the models of GPUs, by the names that documents have for them."""
    return {
        name.lower(): one
        for name, one in vars(models).items()
        if name.isupper() and isinstance(one, dict)
    }


def read(path: str) -> SimulatedMachine:
    """Read a machine.  Raises `NvidiaRuntimeError`, with all places that are wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path, HINT) from None
    if len(data) > LARGEST:
        raise NvidiaRuntimeError("is too large for a machine", path, HINT)
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise NvidiaRuntimeError(f"is not TOML: {error}", path, HINT) from None
    return from_document(document, path)


def from_document(document: Document, where: str) -> SimulatedMachine:
    """Return the machine of a document that comes from ``where``.

    Raises `NvidiaRuntimeError`, with all places that violate the schema, or the first thing that
    does not fit another one.
    """
    if violations := schemas.violations(SCHEMA, document):
        lines = [str(one) for one in violations[:MOST_NAMED]]
        lines += [f"and {len(violations) - MOST_NAMED} more"] * (len(violations) > MOST_NAMED)
        raise NvidiaRuntimeError("; ".join(lines), where, HINT)
    try:
        simulated = _machine(document)
        _check(simulated)
    except NvidiaRuntimeError as error:
        error.where = error.where or where
        raise
    return simulated


def _machine(document: Document) -> SimulatedMachine:
    gpus: list[SimulatedGpu] = []
    for number, entry in enumerate(document["gpus"]):
        gpus += _gpus(entry, f"gpus[{number}]", len(gpus), document)
    others = {key: value for key, value in document.items() if key not in ("gpus", "name")}
    name = document.get("name", "own")
    values = {"name": name, "description": name, **_values(others)}
    return SimulatedMachine(gpus=tuple(gpus), **values)


def _values(document: Document) -> Document:
    """Return the values of fields: tuples for lists, and what tables stand for."""
    values: Document = {}
    for key, value in document.items():
        if isinstance(value, list):
            values[key] = tuple(_table(key, one) for one in value)
        else:
            values[key] = _table(key, value)
    return values


def _table(key: str, value: Any) -> Any:
    return CLASSES[key](**_values(value)) if isinstance(value, dict) else value


def _gpus(entry: Document, place: str, first: int, document: Document) -> list[SimulatedGpu]:
    """Return the GPUs of an entry; ``first`` is the index of the first of them."""
    count = entry.get("count", 1)
    if not 0 < count <= MOST_GPUS - first:
        raise NvidiaRuntimeError(f"{place}: a machine has at most {MOST_GPUS} GPUs")
    if count > 1 and (own := [key for key in OWN if key in entry]):
        what = f"{place}: {count} GPUs cannot have the same {own[0]}"
        raise NvidiaRuntimeError(what, hint="write an entry for each GPU")
    return [_gpu(entry, place, first + number, number, document) for number in range(count)]


def _gpu(entry: Document, place: str, index: int, number: int, document: Document) -> SimulatedGpu:
    devices = entry.get("mig_devices", [])
    others = {key: value for key, value in entry.items() if key not in ("count", "mig_devices")}
    values = {**_model(entry, place), **_values(others)}
    values.pop("model", None)
    values["uuid"] = values.get("uuid") or f"GPU-{_uuid(document, index)}"
    values.setdefault("minor", index)
    is_pci = document.get("kind", "pci") != "tegra"
    values.setdefault("bus_id", f"0000:{index + 1:02x}:00.0" if is_pci else "")
    for node in ("card", "render"):
        if values.get(node, -1) >= 0:
            values[node] += number
    if devices:
        values["mig"] = "enabled"
    gpu = SimulatedGpu(**values)
    return dataclasses.replace(gpu, mig_devices=_mig_devices(gpu, devices, place))


def _uuid(document: Document, index: int) -> uuid.UUID:
    return uuid.uuid5(SPACE, f"{document.get('name', '')}-{index}")


def _model(entry: Document, place: str) -> models.Model:
    models_here = models_by_name()
    name = entry.get("model", "")
    what = f"{place}.model: there is no model {name!r}" if name not in models_here else ""
    if not name:
        what = f"{place}: has neither 'model' nor 'name'" if "name" not in entry else ""
    if what:
        hint = f"models are {', '.join(models_here)}; for another one write its 'name'"
        raise NvidiaRuntimeError(what, hint=hint)
    return models_here[name] if name else UNKNOWN


def _mig_devices(
    gpu: SimulatedGpu, entries: Iterable[Document], place: str
) -> tuple[MigDevice, ...]:
    devices: list[MigDevice] = []
    for index, entry in enumerate(entries):
        devices.append(_mig_device(gpu, index, entry, f"{place}.mig_devices[{index}]"))
    return tuple(devices)


def _mig_device(gpu: SimulatedGpu, index: int, entry: Document, place: str) -> MigDevice:
    profiles = {profile.name: profile for profile in gpu.gpu_profiles}
    profile = profiles.get(entry["profile"])
    if not profile:
        what = f"{place}.profile: {gpu.name} has no profile {entry['profile']!r}"
        hint = f"its profiles are {', '.join(profiles)}" if profiles else "write its 'gpu_profiles'"
        raise NvidiaRuntimeError(what, hint=hint)
    slices = entry.get("slices", profile.slices)
    compute = {one.slices: one.enum for one in gpu.compute_profiles}
    if slices not in compute:
        what = f"{place}.slices: {gpu.name} has no compute profile of {slices} slices"
        hint = f"its 'compute_profiles' have {', '.join(map(str, compute)) or 'none'}"
        raise NvidiaRuntimeError(what, hint=hint)
    return MigDevice(
        uuid=entry.get("uuid", f"MIG-{uuid.uuid5(SPACE, f'{gpu.uuid}-{index}')}"),
        gpu_instance=entry.get("gpu_instance", index + 1),
        compute_instance=entry.get("compute_instance", 0),
        gpu_profile=profile.enum,
        compute_profile=compute[slices],
        start=entry.get("start", 0),
        size=entry.get("size", profile.slices),
    )


def _check(simulated: SimulatedMachine) -> None:
    """Check what a schema cannot say."""
    gpus = simulated.gpus
    migs = [mig.uuid for gpu in gpus for mig in gpu.mig_devices]
    numbers: dict[str, list[Any]] = {
        "uuid": [*(gpu.uuid for gpu in gpus), *migs],
        "bus_id": [gpu.bus_id for gpu in gpus if gpu.bus_id],
        "minor": [gpu.minor for gpu in gpus],
        "path": [file.path for file in simulated.files],
    }
    for name, values in numbers.items():
        for value in values:
            if values.count(value) > 1:
                raise NvidiaRuntimeError(f"two of the machine have the same {name}: {value}")
    own = simulated.faults
    faults.check(simulated, own.fail, own.hang, own.crash, "faults.")
    if board := simulated.board:
        nodes = {*range(len(board.cpus)), *board.memory_nodes}
        for device in board.devices:
            if device.node not in nodes:
                what = f"board.devices: {device.address} is at NUMA node {device.node}"
                raise NvidiaRuntimeError(f"{what}, of which 'cpus' says nothing")


def text(simulated: SimulatedMachine) -> str:
    """Return the document of a machine, which `read` makes the same machine of."""
    return HEAD + toml_text.dump(to_document(simulated))


def to_document(simulated: SimulatedMachine) -> Document:
    """Return the document of a machine."""
    others = _differences(simulated)
    tables = {key: others.pop(key) for key in CLASSES if key in others}
    return {**others, "gpus": [_gpu_document(gpu) for gpu in simulated.gpus], **tables}


def _gpu_document(gpu: SimulatedGpu) -> Document:
    fitting = [name for name, one in models_by_name().items() if one["name"] == gpu.name]
    document: Document = {"model": fitting[0]} if fitting else {"name": gpu.name}
    base = models_by_name()[fitting[0]] if fitting else UNKNOWN
    # What would be made up is said, in any case.
    document |= {"uuid": gpu.uuid, "bus_id": gpu.bus_id, "minor": gpu.minor}
    for field in dataclasses.fields(gpu):
        value = getattr(gpu, field.name)
        default = base.get(field.name, field.default)
        if field.name not in document and value != default and field.name != "mig_devices":
            document[field.name] = _plain(value)
    if gpu.mig_devices:
        document["mig_devices"] = [_mig_document(gpu, device) for device in gpu.mig_devices]
    return document


def _mig_document(gpu: SimulatedGpu, device: MigDevice) -> Document:
    (profile,) = [one for one in gpu.gpu_profiles if one.enum == device.gpu_profile]
    (compute,) = [one for one in gpu.compute_profiles if one.enum == device.compute_profile]
    document = dataclasses.asdict(device)
    del document["gpu_profile"], document["compute_profile"]
    return {"profile": profile.name, "slices": compute.slices, **document}


def _differences(value: Any) -> Document:
    """Return the fields of a value that are not as they are by default."""
    return {
        field.name: _plain(own)
        for field in dataclasses.fields(value)
        if (own := getattr(value, field.name)) != field.default and field.name != "gpus"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _differences(value) if dataclasses.is_dataclass(value) else value
