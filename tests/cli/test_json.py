# SPDX-License-Identifier: Apache-2.0
"""What commands print as JSON: documents of the schemas in schemas/output, nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
from builders import asking, cdi_spec, device
from jsonschema import Draft202012Validator
from shim import Site

from nvidia_runtime import schemas
from nvidia_runtime.cli.tables.common import FORMAT

from . import ctk
from .test_tables import ALL

SCHEMAS = sorted(
    path.name.removesuffix(".schema.json") for path in (shim.TREE / "schemas/output").iterdir()
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Return a machine with two GPUs on which container c1 has been created."""
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec(device("0"), device("1")), broken=[])
        machine.write_bundle(asking("0"))
        machine.settle()
        assert machine.create("c1").code == 0
        yield machine


def complaints(schema: schemas.Schema, document: Any, path: str = "") -> Iterator[str]:
    """Name the keys of a document that its schema does not describe."""
    if isinstance(document, list):
        for number, item in enumerate(document):
            yield from complaints(schema.get("items", {}), item, f"{path}[{number}]")
    if isinstance(document, dict) and "properties" in schema:
        for key, value in document.items():
            if key not in schema["properties"]:
                yield f"{path}.{key}"
            else:
                yield from complaints(schema["properties"][key], value, f"{path}.{key}")


def check(name: str, text: str) -> Any:
    """Check a command's output by a schema, and return it."""
    document = json.loads(text)
    schema = schemas.schema(name)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []
    assert list(complaints(schema, document)) == []
    return document


# The words of each command, by the schema of what it prints.
LINES = {
    "cdi-list": "cdi list --json",
    "config-explain": "config explain --json",
    "doctor": "doctor --json",
    "explain": "explain c1 --json",
    "explain-diff": "explain c1 --diff --json",
    "explain-image": "explain --image {folder} --json",
    "explain-list": "explain --json",
    "findings": "cdi validate --json",
    "info": "info --json",
    "repair": "repair --all --json",
    "runtime-status": "runtime status --json",
    "snapshot-show": "snapshot show --json",
    "simulate-list": "simulate --list --json",
    "topology": "topology --json",
}


MODE = ("config", "explain", "nvidia-container-runtime.mode", "-c")


def run(site: Site, line: str) -> shim.Ended:
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}
    return shim.end(site.execute([sys.executable, "-c", ctk.PROGRAM, *line.split()], env=env))


@pytest.mark.parametrize("name", LINES)
def test_output(name: str, site: Site) -> None:
    if name == "repair" and not shim.is_root:
        pytest.skip("not root: repair refuses to work")
    line = LINES[name].format(folder=site.bundle)
    got = run(site, line)

    # Nothing runs here.
    assert check(f"output/{name}", got.out.decode()) or name == "repair"
    again = run(site, line.replace("--json", "--format json")).out
    if name == "doctor":  # what it looks at may change meanwhile
        assert json.loads(again).keys() == json.loads(got.out).keys()
    else:
        assert again == got.out


def test_facts_are_those_of_the_text(site: Site) -> None:
    devices = check("output/cdi-list", run(site, "cdi list --json").out.decode())
    snapshot = check("output/snapshot-show", run(site, "snapshot show --json").out.decode())
    specs = [
        {"file": f"{site.specs}/gpus.json", "devices": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]}
    ]

    assert [device["name"] for device in devices["devices"]] == specs[0]["devices"]
    assert devices["errors"] == [f"{site.specs}/broken.json: must be an object"]
    assert snapshot["specs"] == specs
    assert snapshot["records"] == 1


def test_error_of_a_config_toml(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "c.toml", "nvidia-container-runtime.mode = 'x'\nsite = 1\n")

    document = check("output/findings", ctk.run("config", "validate", file, "--json").out)
    (setting,) = check("output/config-explain", ctk.run(*MODE, file, "--json").out)

    severities = [finding["severity"] for finding in document["findings"]]
    assert (document["valid"], severities) == (False, ["error", "warning"])
    assert [said["message"] for said in setting["create"]] == ["invalid mode 'x'"]


def test_error_of_a_config_json(tmp_path: Path) -> None:
    ctk.write(tmp_path / "config.json", {"ociVersion": 1})

    got = ctk.run("spec", "validate", "--json", cwd=tmp_path)

    assert not check("output/findings", got.out)["valid"]


@pytest.mark.parametrize("words", [["config"], ["config", "default"]], ids=" ".join)
def test_settings(words: list[str]) -> None:
    got = ctk.run(*words, "--json")

    assert check("config", got.out)["nvidia-container-runtime"]["mode"] == "auto"


@pytest.mark.parametrize(
    "words", [["config", "-i"], ["config", "-o=x"], ["config", "default", "-o", "x"]], ids=" ".join
)
def test_settings_are_written_as_toml(words: list[str], tmp_path: Path) -> None:
    got = ctk.run(*words, "--json", cwd=tmp_path)

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: --format=json is for stdout: a config.toml is TOML\n")


def test_attacks() -> None:
    words = ["selftest", "--security", "--json", "--only", "T04-libraries-by-d"]

    got = ctk.run(*words, "--programs", os.fspath(shim.BIN))
    document = check("output/selftest", got.out)

    assert got.code == 0
    assert document["counts"]["failed"] == 0
    assert document["results"][0]["attack"] == "T04"


def test_refresh() -> None:
    program = f"{sys.executable} -c {shlex.quote(ctk.PROGRAM)} cdi refresh --json"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE), **ctk.HOOK}

    got = simulated.run("t4x1", ["sh", "-c", program], env=env)

    assert check("output/cdi-refresh", got.stdout)["state"] == "written"


def test_topology_of_a_machine_with_all_kinds_of_devices() -> None:
    program = f"{sys.executable} -c {shlex.quote(ctk.PROGRAM)} topology --json"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}

    got = simulated.run("a100x8mig", ["sh", "-c", program], env=env)
    document = check("output/topology", got.stdout)

    assert got.stderr == ""
    kinds = ("gpus", "nics", "nvswitches", "numa_nodes", "bridges", "notes")
    assert [len(document[kind]) for kind in kinds] == [8, 13, 6, 8, 43, 0]
    assert document["gpus"][1]["relations"][:3] == ["PIX", "X", "SYS"]
    assert document["gpus"][2]["mig_devices"][1]["compute_instance"] == 1
    assert document["nics"][0]["relations"][:3] == ["PXB", "PXB", "SYS"]
    assert document["nics"][0]["path"][:2] == ["pci0000:00", "0000:00:01.1"]


def test_each_schema_is_tried() -> None:
    assert set(SCHEMAS) == {*LINES, "selftest", "cdi-refresh", "report"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_and_describes_all(name: str) -> None:
    schema = schemas.schema(f"output/{name}")
    Draft202012Validator.check_schema(schema)

    assert schema["$id"] == f"urn:nvidia-runtime:schema:output:{name}"
    for key, part in described(schema, name):
        assert re.fullmatch(r"\S+( \S+)*\.", part.get("description", "")), key


def described(schema: schemas.Schema, path: str) -> Iterator[tuple[str, schemas.Schema]]:
    for key, part in schema.get("properties", {}).items():
        yield f"{path}.{key}", part
        yield from described(part, f"{path}.{key}")
    if "items" in schema:
        yield from described(schema["items"], f"{path}[]")


def test_facts_are_printed_as_json_by_one_flag() -> None:
    """Whatever else a command's --format may be, --json is short for json."""
    for name, command in ALL.items():
        forms = [switch for switch in command.switches if switch.implies]
        assert all(switch.implies and switch.implies[1] == "json" for switch in forms), name
        assert (FORMAT in command.switches) <= bool(forms), name
