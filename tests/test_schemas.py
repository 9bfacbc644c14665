# SPDX-License-Identifier: Apache-2.0
"""Schemas: good documents pass, bad ones fail with the text in the file beside them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from nvidia_runtime import schemas
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).parent / "examples"
NAMES = ["oci-config", "cdi", "config", "state", "machine"]
READERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".yaml": yaml.safe_load,
    ".toml": tomllib.loads,
}
# These apply schemas to parts of a document; "if" only selects one, and reports no errors.
STRUCTURE = {"$ref", "$defs", "properties", "items", "additionalProperties", "if", "else"}
NOTES = {"$comment", "$schema", "$id", "title", "description", "default", "examples", "x-must"}
RULES = {"type", "required", "enum", "minLength", "minItems", "maxLength", "minimum", "maximum"}


def examples(verdict: str) -> list[Any]:
    """Return the documents in the folders of that name, as parameters with readable ids."""
    files = (file for file in EXAMPLES.glob(f"*/{verdict}/*") if file.suffix in READERS)
    return [pytest.param(file, id=str(file.relative_to(EXAMPLES))) for file in sorted(files)]


def read(file: Path) -> object:
    return READERS[file.suffix](file.read_text())


def subschemas(schema: schemas.Schema) -> Iterator[schemas.Schema]:
    """Return a schema and those in it that apply to parts of a document."""
    yield schema
    for key in ("properties", "$defs"):
        for inner in schema.get(key, {}).values():
            yield from subschemas(inner)
    for key in ("items", "additionalProperties", "else"):
        if isinstance(schema.get(key), dict):
            yield from subschemas(schema[key])


def settings(table: schemas.Schema, path: str = "") -> Iterator[tuple[str, schemas.Schema]]:
    """Return the names and schemas of the settings of config.toml."""
    for key, schema in table["properties"].items():
        if "properties" in schema:
            yield from settings(schema, f"{path}{key}.")
        else:
            yield path + key, schema


def keys(document: object) -> set[str]:
    if isinstance(document, dict):
        return set(document).union(*map(keys, document.values()))
    return set().union(*map(keys, document)) if isinstance(document, list) else set()


@pytest.mark.parametrize("file", examples("good"))
def test_good_document_passes(file: Path) -> None:
    assert schemas.violations(file.parts[-3], read(file)) == []


@pytest.mark.parametrize("file", examples("bad"))
def test_bad_document_fails_with_the_text_beside_it(file: Path) -> None:
    lines = [str(violation) for violation in schemas.violations(file.parts[-3], read(file))]

    assert lines == file.with_suffix(".errors.txt").read_text().splitlines()
    assert lines


@pytest.mark.parametrize("name", NAMES)
def test_good_documents_use_every_key(name: str) -> None:
    names = {key for part in subschemas(schemas.schema(name)) for key in part.get("properties", {})}
    used = keys([read(file) for file in EXAMPLES.glob(f"{name}/good/*")])

    assert names - used == set()


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(schemas.schema(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_schema_has_our_words(name: str) -> None:
    for part in subschemas(schemas.schema(name)):
        others = set(part) - STRUCTURE - NOTES - RULES
        assert not others or "x-must" in part, part
        assert ("minimum" in part) == ("maximum" in part), part
        assert part.get("additionalProperties") is not False or "properties" in part, part
        # Only the first violation at a place is shown, which must be that of the type.
        rules = [key for key in part if key in RULES | others]
        assert "type" not in rules or rules[0] == "type", part


def test_every_setting_has_type_default_and_sentences() -> None:
    for path, schema in settings(schemas.schema("config")):
        assert {"type", "default", "description"} <= set(schema), path
        assert re.fullmatch(r"\S+( \S+)*\.", schema["description"]), path


def test_every_choice_is_described() -> None:
    for path, schema in settings(schemas.schema("config")):
        words = set(re.findall(r"[\w-]+", schema["description"]))

        assert set(schema.get("enum", ())) <= words, path


def test_defaults_are_what_the_schema_allows() -> None:
    for path, schema in settings(schemas.schema("config")):
        assert Draft202012Validator(schema).is_valid(schema["default"]), path


def test_more_than_a_hundred_violations_end_with_their_number() -> None:
    env = list(range(150))

    violations = schemas.violations("oci-config", {"ociVersion": "1.3.0", "process": {"env": env}})

    assert len(violations) == 101
    assert str(violations[0]) == "process.cwd: is missing"
    assert str(violations[-1]) == "and 51 more"


def test_document_nested_too_deeply() -> None:
    document: list[Any] = []
    for _ in range(100_000):
        document = [document]

    assert [str(v) for v in schemas.violations("cdi", document)] == ["nested too deeply"]


def test_long_value_is_cut() -> None:
    spec = {"cdiVersion": "9" * 1000, "kind": "a/b", "devices": []}

    assert str(schemas.violations("cdi", spec)[0]) == (
        f"cdiVersion: must be a CDI version from 0.3.0 to 1.1.0, not '{'9' * 79}...'"
    )


def test_wheel_has_the_schemas_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_schemas").mkdir()
    (tmp_path / "_schemas/cdi.schema.json").write_text('{"title": "in the wheel"}')
    monkeypatch.setattr(schemas, "__file__", str(tmp_path / "schemas.py"))

    assert schemas.schema("cdi") == {"title": "in the wheel"}


def test_missing_schema_is_an_error() -> None:
    with pytest.raises(NvidiaRuntimeError, match="no schema 'cdj'"):
        schemas.schema("cdj")


def test_schema_is_read_without_site_packages() -> None:
    """-I -S: jsonschema must not be imported before a list of errors is needed."""
    root = str(Path(schemas.__file__).parent.parent)
    probe = f"import sys; sys.path.insert(0, {root!r})\nfrom nvidia_runtime import schemas\n"
    probe += "schemas.schema('cdi'); print('jsonschema' in sys.modules)"

    run = subprocess.run(
        [sys.executable, "-IS", "-c", probe], check=False, capture_output=True, text=True
    )

    assert (run.stdout, run.stderr) == ("False\n", "")
