# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config explain: the meaning of each setting, its value, and where that is set.

The schema describes the settings.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.parse import suggestion
from nvidia_runtime.cli.tables import config as tables
from nvidia_runtime.compile import config, toml_text
from nvidia_runtime.doctor.installation import judgement
from nvidia_runtime.doctor.installation.judgement import Sentence
from nvidia_runtime.errors import NvidiaRuntimeError

TYPES = {
    "array": "list of strings",
    "boolean": "true or false",
    "integer": "whole number",
    "string": "string",
}
WIDTH = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What there is to say about a setting; ``file`` is "" if the default applies.

    ``create`` is what a create says of its value.
    """

    key: str
    type: str
    default: Any
    value: Any
    file: str
    meaning: str
    choices: tuple[str, ...]
    examples: tuple[Any, ...]
    create: tuple[Sentence, ...]


class Explain(Configured):
    """nvidia-ctk config explain."""

    table = tables.EXPLAIN
    format: str

    def main(self, key: str = "") -> int:
        """Print the explanations in the order of the schema."""
        path = self.config_path(must_exist=False)
        document = _read(path)
        values, warnings = config.check(document, path)
        _, _, odd = config.judge(document, path)
        for (name, _), warning in zip(odd, warnings, strict=True):
            if name not in values:  # the others are explained below
                self.warn(warning)
        explanations = select(explain(document, values, path), key)
        if self.format == "json":
            screen.print_json([asdict(explanation) for explanation in explanations])
        else:
            print("\n\n".join(map(text, explanations)))
        return 0


def _read(path: str) -> dict[str, Any]:
    try:
        return config.decode(config.read(path), path)
    except FileNotFoundError:
        return {}


def explain(document: dict[str, Any], values: config.Settings, path: str) -> list[Explanation]:
    """Return an explanation of every setting, for a config.toml with these values."""
    defaults, _ = config.check({}, path)
    said = judgement.of_document(document, path)
    return [
        Explanation(
            key=key,
            type=TYPES[schema["type"]],
            default=defaults[key],
            value=values[key],
            file=path if toml_text.has(document, key) else "",
            meaning=schema["description"],
            choices=tuple(schema.get("enum", ())),
            examples=tuple(schema.get("examples", ())),
            create=tuple(sentence for sentence in said if sentence.key == key),
        )
        for key, schema in schemas.settings(schemas.schema("config"))
    ]


def select(explanations: list[Explanation], key: str) -> list[Explanation]:
    """Select a setting by its name or the end of it, or the settings of a table; "" is all."""
    selections = (
        [setting for setting in explanations if setting.key == key or not key],
        [setting for setting in explanations if setting.key.startswith(f"{key}.")],
        [setting for setting in explanations if setting.key.endswith(f".{key}")],
    )
    if selection := next(filter(None, selections), None):
        return selection
    hint = suggestion(key, [setting.key for setting in explanations])
    hint += "'nvidia-ctk config explain' lists all of them"
    raise NvidiaRuntimeError(f"unknown setting {key!r}", hint=hint)


def text(setting: Explanation) -> str:
    """Return an explanation as text, with values as config.toml has them."""
    lines = [
        f"{setting.key} = {json.dumps(setting.value)}",
        textwrap.indent(textwrap.fill(setting.meaning, WIDTH, break_on_hyphens=False), "  "),
        f"  type:    {setting.type}{_values(setting)}",
        f"  default: {json.dumps(setting.default)}",
        f"  from:    {setting.file or 'the default'}",
        *(f"  create:  {sentence}" for sentence in setting.create),
    ]
    return "\n".join(lines)


def _values(setting: Explanation) -> str:
    if setting.choices:
        return f", one of {', '.join(setting.choices)}"
    if not setting.examples:
        return ""
    values = [value for example in setting.examples for value in _as_list(example)]
    return f", such as {', '.join(values)}"


def _as_list(example: Any) -> list[str]:
    return example if isinstance(example, list) else [str(example)]
