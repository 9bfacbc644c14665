# SPDX-License-Identifier: Apache-2.0
"""The page of config.toml: what its schema says of each setting."""

from __future__ import annotations

import json
from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.cli.manual import mdoc

NAME = "nvidia-container-runtime.toml"
INTRODUCTION = (
    "It is TOML 1.0, with the settings of NVIDIA Container Toolkit and some more.  A wrong type is "
    "an error that stops create only: running containers can still be inspected, killed and "
    "deleted.  An unknown setting is a logged warning with the nearest name.",
    "'nvidia-ctk config explain' says what each setting means, its value, and the file that it is "
    "from; 'nvidia-ctk config --set KEY=VALUE -i' changes the file, keeps comments, and refuses "
    "what could not be loaded.",
)


def page() -> str:
    """Return the page."""
    schema = schemas.schema("config")
    lines = [
        *mdoc.head(NAME, 5, "settings of the NVIDIA container runtime and its tools"),
        ".Sh DESCRIPTION",
        *mdoc.paragraphs((schema["description"], *INTRODUCTION)),
        ".Sh SETTINGS",
        "Each is shown with its default.",
        *_table(schema, ""),
        ".Sh FILES",
        ".Bl -tag -width Ds",
        ".It Pa /etc/nvidia-container-runtime/config.toml",
        ".El",
        ".Sh SEE ALSO",
        ".Xr nvidia-ctk 1 ,",
        ".Xr nvidia-container-runtime 8 ,",
        ".Xr nvidia-container-runtime-hook 8",
    ]
    return "\n".join(lines) + "\n"


def _table(table: dict[str, Any], name: str) -> list[str]:
    """Return the settings of a table, then the tables in it."""
    own = {key: below for key, below in table["properties"].items() if "properties" not in below}
    lines: list[str] = []
    if own:
        lines += [f".Ss The table {name}" if name else ".Ss Before the first table"]
        if name:
            lines += mdoc.text(f"{table['title']}.")
        lines += mdoc.tagged([(_tag(key, own[key]), _said(own[key])) for key in own])
    for key, below in table["properties"].items():
        if "properties" in below:
            lines += _table(below, f"{name}.{key}" if name else key)
    return lines


def _tag(key: str, setting: dict[str, Any]) -> str:
    return f"Va {mdoc.words(f'{key} = ' + json.dumps(setting['default']))}"


def _said(setting: dict[str, Any]) -> list[str]:
    lines = mdoc.text(setting["description"])
    if choices := setting.get("enum"):
        lines += mdoc.text(f"One of {', '.join(choices)}.")
    return lines
