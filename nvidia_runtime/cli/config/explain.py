# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config explain: every setting, what it means, what it is and where that comes from.

The words are those of the schema.  Ring: elsewhere.
"""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from plumbum import cli

from nvidia_runtime import schemas
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.config import text as config_text
from nvidia_runtime.cli.config.file import FLAGS, file_path
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError

TYPES = {
    "array": "list of strings",
    "boolean": "true or false",
    "integer": "whole number",
    "string": "string",
}
WIDTH = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting as people ask for it; ``file`` is "" where the default holds."""

    key: str
    type: str
    default: Any
    value: Any
    file: str
    meaning: str
    choices: tuple[str, ...]
    examples: tuple[Any, ...]


class Explain(Command):
    """Say what settings mean, which values they have and from where: all, a table's, or one."""

    file = cli.SwitchAttr(
        FLAGS, str, "", help="the config.toml; by default the one the runtime reads"
    )
    format = cli.SwitchAttr(
        ["--format"], cli.Set("text", "json", case_sensitive=True), "text", help="text or json"
    )

    USAGE = "    {progname} [SWITCHES] [KEY]\n"

    def main(self, key: str = "") -> int:
        """Print the settings, the toolkit's order being that of the schema."""
        file = self.file or str(getattr(self.parent, "file", ""))
        known = asked(settings(file_path(file, self), self), key)
        if self.format == "json":
            print(json.dumps([asdict(each) for each in known], indent=2))
        else:
            print("\n\n".join(map(text, known)))
        return 0


def settings(path: str, command: Command) -> list[Setting]:
    """List all settings with the values of a config.toml, which need not exist."""
    defaults, _ = config.check({}, path)
    values, document = defaults, {}
    try:
        document = config.decode(config.read(path), path)
    except FileNotFoundError:
        command.debug(f"there is no {path}: defaults")
    else:
        values, warnings = config.check(document, path)
        for warning in warnings:
            command.warn(warning)
    return [
        Setting(
            key=key,
            type=TYPES[schema["type"]],
            default=defaults[key],
            value=values[key],
            file=path if config_text.has(document, key) else "",
            meaning=schema["description"],
            choices=tuple(schema.get("enum", ())),
            examples=tuple(schema.get("examples", ())),
        )
        for key, schema in described(schemas.schema("config"))
    ]


def described(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every setting of the schema by its full name."""
    for name, schema in table["properties"].items():
        if "properties" in schema:
            yield from described(schema, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", schema


def asked(known: list[Setting], key: str) -> list[Setting]:
    """Choose a setting by its name or the end of it, or the settings of a table; "" is all."""
    ways = (
        [each for each in known if each.key == key or not key],
        [each for each in known if each.key.startswith(f"{key}.")],
        [each for each in known if each.key.endswith(f".{key}")],
    )
    found = next(filter(None, ways), [])
    if not found:
        names = [each.key for each in known]
        near = difflib.get_close_matches(key, names, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        hint += "'nvidia-ctk config explain' lists all of them"
        raise NvidiaRuntimeError(f"unknown setting {key!r}", hint=hint)
    return found


def text(setting: Setting) -> str:
    """Return a setting as people read it; a value is written as in the file."""
    lines = [
        f"{setting.key} = {json.dumps(setting.value)}",
        textwrap.indent(textwrap.fill(setting.meaning, WIDTH, break_on_hyphens=False), "  "),
        f"  type:    {setting.type}{_values(setting)}",
        f"  default: {json.dumps(setting.default)}",
        f"  from:    {setting.file or 'the default'}",
    ]
    return "\n".join(lines)


def _values(setting: Setting) -> str:
    if setting.choices:
        return f", one of {', '.join(setting.choices)}"
    if not setting.examples:
        return ""
    several = [each for example in setting.examples for each in _as_list(example)]
    return f", such as {', '.join(several)}"


def _as_list(example: Any) -> list[str]:
    return example if isinstance(example, list) else [str(example)]
