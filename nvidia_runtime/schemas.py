# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas of what we read, and every place where a document violates one.

The hand-written checks decide; this module lists everything that is wrong, in the words of the
document's format.  Ring: elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from jsonschema import ValidationError

    Schema = dict[str, Any]
    Steps = tuple[str | int, ...]

MOST = 100  # nobody reads more, and a document may have millions
LONGEST = 80  # a longer value is cut
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
TOML_WORDS = {**WORDS, "object": "a table"}
TOML_FILES = ("config", "machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A place in a document (empty for the document itself), and what is wrong there."""

    path: str
    what: str

    def __str__(self) -> str:
        """Return the sentence after its place, as errors do."""
        return f"{self.path}: {self.what}" if self.path else self.what


def schema(name: str) -> Schema:
    """Read a schema: ``oci-config``, ``cdi``, ``config``, ``state`` or ``machine``."""
    package = os.path.dirname(os.path.abspath(__file__))
    # A wheel has the schemas in the package, the source tree beside it.
    folders = (os.path.join(package, "_schemas"), os.path.join(package, os.pardir, "schemas"))
    for folder in folders:
        try:
            with open(os.path.join(folder, f"{name}.schema.json"), encoding="utf-8") as file:
                document: Schema = json.load(file)
        except FileNotFoundError:
            continue
        return document
    raise NvidiaRuntimeError(
        f"no schema '{name}'", where=folders[0], hint="the installation is damaged; repeat it"
    )


def settings(table: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Return the full name and the schema of every setting in the schema of a table."""
    for name, below in table["properties"].items():
        if "properties" in below:
            yield from settings(below, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", below


def violations(name: str, document: object) -> list[Violation]:
    """List every place where a document violates the schema, in the document's order.

    After the first hundred the last line says how many more there are.
    Raises ImportError where jsonschema is not installed.
    """
    # jsonschema takes 65 ms, and the runtime does not depend on it; only a list of errors needs it.
    from jsonschema import Draft202012Validator, validators

    types = Draft202012Validator.TYPE_CHECKER
    if name != "cdi":  # a CDI file may be YAML, whose decoders read 5.0 as 5
        types = types.redefine("integer", is_integer)
    # The stubs leave extend() without types.
    strict = validators.extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    try:
        first = first_at_each_place(
            strict(schema(name)).iter_errors(document), TOML_WORDS if name in TOML_FILES else WORDS
        )
    except RecursionError:
        return [Violation(path="", what="nested too deeply")]
    ordered = [first[steps] for steps in in_document_order(first, document)]
    if len(ordered) <= MOST:
        return ordered
    return [*ordered[:MOST], Violation(path="", what=f"and {len(ordered) - MOST} more")]


def is_integer(_checker: object, value: object) -> bool:
    """Whether Go's decoder takes a value for an integer: neither ``true`` nor ``1.0``."""
    return isinstance(value, int) and not isinstance(value, bool)


def first_at_each_place(
    errors: Iterable[ValidationError], words: dict[str, str]
) -> dict[Steps, Violation]:
    """Translate the errors; keep the first at each place, since the schemas check the type first.

    An unknown key is a place of its own, although its violation has the path of its object.
    """
    first: dict[Steps, Violation] = {}
    for error in errors:
        for steps, violation in translations(error, words):
            first.setdefault(steps, violation)
    return first


def translations(
    error: ValidationError, words: dict[str, str]
) -> Iterator[tuple[Steps, Violation]]:
    """Translate an error of jsonschema; one about keys may be several violations."""
    steps = tuple(error.absolute_path)
    value, wanted, rules = values(error)
    if error.validator == "required":
        for key in wanted:
            if key not in value:
                yield (*steps, key), Violation(path=path((*steps, key)), what="is missing")
    elif error.validator == "additionalProperties":
        properties = rules["properties"]
        for key in value:
            if key not in properties:
                what = f"unknown key {quoted(key)}{suggestion(key, properties)}"
                yield (*steps, key), Violation(path=path(steps), what=what)
    else:
        if error.validator == "type":
            what = wrong_type(value, wanted, words)
        else:
            what = complaint(str(error.validator), value, wanted, rules)
        yield steps, Violation(path=path(steps), what=what)


def values(error: ValidationError) -> tuple[Any, Any, Schema]:
    """Return the value of an error, what the rule requires, and the schema that has the rule."""
    rules: Any = error.schema
    return error.instance, error.validator_value, rules


def wrong_type(value: object, wanted: str | list[str], words: dict[str, str]) -> str:
    """Say what type a value must have, and what it is instead."""
    # Null is allowed where a key may be left out, but not suggested.
    names = [wanted] if isinstance(wanted, str) else [name for name in wanted if name != "null"]
    return f"must be {' or '.join(words[name] for name in names)}, not {kind(value, names, words)}"


def kind(value: object, wanted: list[str], words: dict[str, str]) -> str:
    """Name the type of a value, so that it differs from what is wanted."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value) if wanted == ["integer"] else words["number"]
    for cls, name in ((str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, cls):
            return words[name]
    return f"a {type(value).__name__}"  # YAML and TOML have dates


def complaint(rule: str, value: Any, wanted: Any, rules: Schema) -> str:
    """Say what a value must be; ``x-must`` in the schema has the words of special rules."""
    match rule:
        case "enum":
            choices = [choice for choice in wanted if choice]
            listed = f"{', '.join(map(quoted, choices[:-1]))} or {quoted(choices[-1])}"
            return f"must be {listed}, not {quoted(value)}{suggestion(value, choices)}"
        case "minLength" | "minItems":
            return "must not be empty"
        case "maxLength":
            return f"must have at most {wanted} characters, not {len(value)}"
        case "minimum" | "maximum":
            return f"must be from {rules['minimum']} to {rules['maximum']}, not {value}"
        case "pattern":
            return f"must {rules['x-must']}, not {quoted(value)}"
        case _:
            return f"must {rules['x-must']}"


def quoted(value: object) -> str:
    """Quote a value for a message: in one line, without control characters, and not too long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}...{text[-1]}"


def suggestion(word: object, names: Iterable[str]) -> str:
    """Guess what was meant, in any capitalisation."""
    spelled = {name.lower(): name for name in names}
    close = get_close_matches(str(word)[:LONGEST].lower(), spelled, n=1)
    return f"; did you mean '{spelled[close[0]]}'?" if close else ""


def path(steps: Steps) -> str:
    """Write a place as in JavaScript: ``devices[3].containerEdits.mounts[0].hostPath``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif BARE_KEY.fullmatch(str(step)):
            text += f".{step}"
        else:
            text += f"[{json.dumps(str(step))}]"
    return text.removeprefix(".")


def in_document_order(places: Iterable[Steps], document: object) -> list[Steps]:
    """Sort places by their order in the document; a missing key is the first of its object."""
    orders: dict[int, dict[object, int]] = {}

    def position(steps: Steps) -> list[int]:
        place: list[int] = []
        here = document
        for step in steps:
            if isinstance(here, dict):
                if id(here) not in orders:
                    orders[id(here)] = {key: number for number, key in enumerate(here)}
                place.append(orders[id(here)].get(step, -1))
                here = here.get(step)
            elif isinstance(here, list) and isinstance(step, int):
                place.append(step)
                here = here[step]
        return place

    return sorted(places, key=position)
