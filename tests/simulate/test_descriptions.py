# SPDX-License-Identifier: Apache-2.0
"""A machine as a document: there and back it is the same, and what is wrong is said with its place."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import simulated
from cli import ctk

from nvidia_runtime import schemas
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, description, faults, machine, toml_text
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, File, Symlink

NAMES = [one.name for one in catalogue.machines()]
EXAMPLE = simulated.TREE / "tests/examples/machine/good/every-key.toml"
# What a document has beside the fields of the class.
BESIDE: dict[type, tuple[set[str], set[str]]] = {
    machine.SimulatedGpu: ({"model", "count"}, set()),
    machine.MigDevice: ({"profile", "slices"}, {"gpu_profile", "compute_profile"}),
}


def of(text: str) -> SimulatedMachine:
    return description.from_document(tomllib.loads(text), "machine.toml")


def without_code(one: SimulatedMachine) -> SimulatedMachine:
    """Return a machine whose files take no compiler."""
    return faults.apply(one, without_code=True)


@pytest.mark.parametrize("name", NAMES)
def test_machine_of_the_catalogue_is_the_same_by_its_document(name: str, tmp_path: Path) -> None:
    own = catalogue.find(name)
    file = ctk.write(tmp_path / "machine.toml", description.text(own))

    again = description.read(str(file))

    assert again == own
    assert build.driver_root(without_code(again)) == build.driver_root(without_code(own))
    assert build.kernel(again) == build.kernel(own)


def test_example_is_the_same_by_its_document() -> None:
    own = description.read(str(EXAMPLE))

    assert of(description.text(own)) == own
    assert [gpu.minor for gpu in own.gpus] == [0, 1, 5]
    assert [gpu.render for gpu in own.gpus] == [128, 129, -1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", SimulatedMachine),
        ("gpus", machine.SimulatedGpu),
        ("mig_devices", machine.MigDevice),
        *description.CLASSES.items(),
    ],
)
def test_schema_has_the_fields_of_the_class(name: str, kind: type) -> None:
    """A field that is new is to be described, too."""
    (keys,) = [set(one["properties"]) for one in _tables(schemas.schema("machine"), name)]
    more, fewer = BESIDE.get(kind, (set(), set()))

    assert keys == {field.name for field in dataclasses.fields(kind)} - fewer | more


def _tables(schema: Any, name: str, here: str = "") -> list[Any]:
    tables = [schema] if here == name else []
    for key, inner in schema.get("properties", {}).items():
        tables += _tables(inner.get("items", inner), name, key)
    return [table for table in tables if "properties" in table]


def test_files_and_what_is_missing() -> None:
    own = without_code(description.read(str(EXAMPLE)))

    files = build.driver_root(own)

    assert files["/etc/nvidia-container-runtime/config.toml"] == File(
        b"disable-require = true\n", 0o600
    )
    assert files["/usr/lib64/libnvidia-lab.so.1"] == Symlink("libnvidia-lab.so.570.124.06")
    assert files["/dev/nvidia-lab"] == CharacterDevice(195, 200, 0o644)
    assert "/dev/nvidia-modeset" not in files
    assert "/usr/lib64/libcuda.so.570.124.06" in files
    assert files["/etc/ld.so.conf.d/simulated.conf"] == File(b"/usr/lib64\n")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('gpus = [{model = "x"}]', "gpus[0].model: there is no model 'x'"),
        ("gpus = [{minor = 1}]", "gpus[0]: has neither 'model' nor 'name'"),
        (
            'gpus = [{model = "t4", count = 2, minor = 1}]',
            "gpus[0]: 2 GPUs cannot have the same minor",
        ),
        (
            'gpus = [{model = "t4", count = 32}, {model = "t4"}]',
            "gpus[1]: a machine has at most 32 GPUs",
        ),
        (
            'gpus = [{model = "t4", minor = 1}, {model = "t4"}]',
            "two of the machine have the same minor: 1",
        ),
        (
            'gpus = [{model = "a100", mig_devices = [{profile = "9g"}]}]',
            "gpus[0].mig_devices[0].profile: NVIDIA A100-SXM4-40GB has no profile '9g'",
        ),
        (
            'gpus = [{model = "a100", mig_devices = [{profile = "1g.5gb", slices = 6}]}]',
            "gpus[0].mig_devices[0].slices: NVIDIA A100-SXM4-40GB has no compute profile of 6 slices",
        ),
        (
            'faults = {fail = ["nvmlInit"]}\ngpus = []',
            "faults.fail takes FUNCTION:RESULT[@GPU], such as nvmlDeviceGetUUID:15@3, not 'nvmlInit'",
        ),
        (
            'gpus = []\n[board]\ndevices = [{address = "0000:00:01.0", node = 3}]',
            "board.devices: 0000:00:01.0 is at NUMA node 3, of which 'cpus' says nothing",
        ),
        ("gpus = 8", "gpus: must be a list, not a number"),
        (
            "gpus = 8\nname = '-'",
            "gpus: must be a list, not a number; "
            "name: must be letters, digits, '_', '.' and '-', at most 61, not '-'",
        ),
    ],
)
def test_wrong_document(text: str, what: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        of(text)

    assert str(error.value) == f"machine.toml: {what}"


@pytest.mark.parametrize(
    "files",
    [
        '[{path = "/etc/a", link = "/root"}, {path = "/etc/a/b"}]',
        '[{path = "/usr/lib/x86_64-linux-gnu/libcuda.so.1/x"}]',
        '[{path = "/usr", link = "/root"}]',
    ],
)
def test_no_file_is_below_a_link(files: str) -> None:
    """A tree that is written by root does not lead out of its folder."""
    own = without_code(of(f"gpus = []\nfiles = {files}"))

    with pytest.raises(NvidiaRuntimeError, match=r"below .*, which is not a folder"):
        build.driver_root(own)


def test_text_is_what_tomllib_reads() -> None:
    document = {
        "a": 'quotes " and \\ and \x7f\t€ \U0001f600',
        "b": ["x", 1, True],
        "empty": [],
        "t": {"lines": 'a\n\\n"""\nb\n', "mode": 0o644},
        "l": [{"inner": [{"x": "1\n2"}, {}]}, {"y": -1}],
    }

    assert tomllib.loads(toml_text.dump(document)) == document


def test_own_faults_and_those_of_the_command_line() -> None:
    own = faults.apply(description.read(str(EXAMPLE)), fail=["nvmlInit:9"], call_us=7)

    assert own.faults.fail == ("nvmlDeviceGetUUID:999@1", "nvmlInit:9")
    assert (own.faults.init_us, own.faults.call_us) == (1, 7)


def test_command_on_a_machine_of_ones_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts and device nodes")
    simulated.need_nvml()
    file = ctk.write(tmp_path / "machine.toml", 'gpus = [{model = "h100", count = 3}]\n')

    shown = ctk.run("simulate", f"--from={file}", "--show")
    got = ctk.run("simulate", "--from", file, "--lose=1", "--", "sh", "-c", "ls /dev/nvidia[0-9]*")

    assert of(shown.out) == description.read(str(file))
    assert (got.err, got.out.split()) == ("", [f"/dev/nvidia{number}" for number in range(3)])
