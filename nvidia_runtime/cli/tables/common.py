# SPDX-License-Identifier: Apache-2.0
"""Switches of several commands, and those of all."""

from __future__ import annotations

from nvidia_runtime.cli.tables.table import Switch

HELP = Switch("", "--help -h", "print this text")
VERSION = Switch("", "--version -v", "print the version")
CONFIG = Switch(
    "config",
    "--config",
    "the config.toml of the commands",
    "FILE",
    variables=("NVIDIA_CTK_CONFIG",),
)
# They are taken behind any command, too.
GLOBAL = (
    Switch(
        "quiet",
        "--quiet",
        "print only errors on stderr, even with --debug",
        variables=("NVIDIA_CTK_QUIET",),
    ),
    Switch("debugging", "--debug -d", "print more on stderr", variables=("NVIDIA_CTK_DEBUG",)),
    CONFIG,
    HELP,
    VERSION,
)
CONFIG_FILE = Switch(
    "config", "--config --config-file -c", "the config.toml; default: the runtime's", "FILE"
)
FORMAT = Switch(
    "format", "--format", "the form: text or json", "FORM", default="text", choices=("text", "json")
)


def json_for(form: Switch) -> Switch:
    """Return the switch --json, short for json of a switch for formats."""
    return Switch("", "--json", "the same as --format=json", implies=(form, "json"))


FORMATS = (FORMAT, json_for(FORMAT))
ENVIRONMENT_FILE = Switch(
    "",
    "--environment-file",
    "the settings of the systemd unit",
    "FILE",
    default="/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env",
)
