# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config: its commands."""

from __future__ import annotations

from nvidia_runtime.cli.tables.common import CONFIG_FILE, FORMATS, json_for
from nvidia_runtime.cli.tables.table import Command, Switch

OUTPUT = Switch("output", "--output -o", "the file to write; default: stdout", "FILE")
FORM = Switch(
    "format", "--format", "the form: toml or json", "FORM", default="toml", choices=("toml", "json")
)

DEFAULT = Command(
    "default create-default generate-default",
    "Print a new config.toml.",
    "config.command.Default",
    switches=(OUTPUT, FORM, json_for(FORM)),
)
EXPLAIN = Command(
    "explain",
    "Explain all settings, those of a table, or one: their meaning, value and origin.",
    "config.explain.Explain",
    words="[KEY]",
    values="settings",
    switches=(*FORMATS, CONFIG_FILE),
)
VALIDATE = Command(
    "validate",
    "List what a create says of config.toml, or of another file: errors and warnings.",
    "config.validate.Validate",
    words="[FILE]",
    values="files",
    switches=(*FORMATS, CONFIG_FILE),
    more="""
    The exit code is 1 if there are errors: no container is created then.
    """,
)
CONFIG = Command(
    "config",
    "Print config.toml, or change it.",
    "config.command.Config",
    switches=(
        Switch(
            "assignments",
            "--set",
            "a setting to change: KEY=VALUE, or KEY for true",
            "SETTING",
            values="assignments",
            is_list=True,
        ),
        Switch(
            "separator",
            "--set-list-separator",
            "the separator of list elements in --set; if it is a colon, so is a comma",
            "TEXT",
            default=":",
        ),
        Switch("in_place", "--in-place -i", "change the file itself"),
        OUTPUT,
        FORM,
        json_for(FORM),
        CONFIG_FILE,
    ),
    below=(DEFAULT, EXPLAIN, VALIDATE),
    section="SETTINGS",
    more="""
    Common settings that it leaves out become comments.  Comments stay, and what could not be
    loaded is refused.  A comma belongs to a string, and separates the elements of a list;
    'KEY=' empties a list.
    """,
    examples=(
        ("nvidia-ctk config --set nvidia-container-runtime.mode=cdi -i", "change a setting"),
    ),
)
