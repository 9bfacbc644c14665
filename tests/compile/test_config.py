# SPDX-License-Identifier: Apache-2.0
"""config.toml: settings, their defaults, and the errors of invalid files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime import schemas
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError

FILE = "/etc/nvidia-container-runtime/config.toml"
UNPRIVILEGED = "accept-nvidia-visible-devices-envvar-when-unprivileged"


def checked(text: str) -> tuple[dict[str, Any], list[str]]:
    """Check a text; return the settings that differ from the defaults, and the warnings."""
    settings, warnings = config.check(tomllib.loads(text), FILE)
    defaults = config.load("/absent")[0]
    changed = {key: value for key, value in settings.items() if value != defaults[key]}
    return changed, [warning.removeprefix(f"{FILE}: ") for warning in warnings]


def refusal(text: str) -> str:
    """Return the error of a text, without the file's name."""
    with pytest.raises(NvidiaRuntimeError) as error:
        checked(text)
    assert error.value.where == FILE
    assert error.value.hint == "correct the file; without one, the defaults hold"
    return error.value.what


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("", {}),
        ("# nothing", {}),
        ("[nvidia-container-runtime]", {}),
        ("features = {}", {}),
        ("[nvidia-container-runtime]\nmode = 'cdi'", {"nvidia-container-runtime.mode": "cdi"}),
        ("nvidia-container-runtime.mode = 'cdi'", {"nvidia-container-runtime.mode": "cdi"}),
        ("[nvidia-container-runtime]\nmode = 'auto'", {}),
        (f"{UNPRIVILEGED} = false", {UNPRIVILEGED: False}),
        (
            "[nvidia-container-runtime.modes]\ncdi = {spec-dirs = []}",
            {"nvidia-container-runtime.modes.cdi.spec-dirs": []},
        ),
    ],
)
def test_settings(text: str, changed: dict[str, Any]) -> None:
    assert checked(text) == (changed, [])


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("colour = 1", ["unknown setting colour is ignored"]),
        (
            "[nvidia-container-runtime]\nruntime = []",
            [
                "unknown setting nvidia-container-runtime.runtime is ignored; "
                "did you mean nvidia-container-runtime.runtimes?"
            ],
        ),
        ("[colours.of]\nred = 1", ["unknown setting colours.of.red is ignored"]),
        ("[colours]", ["unknown setting colours is ignored"]),
    ],
)
def test_unknown_settings_are_warnings(text: str, warnings: list[str]) -> None:
    assert checked(text) == ({}, warnings)


def test_quoted_key_with_dots_is_no_table() -> None:
    changed, warnings = checked("'nvidia-container-runtime.mode' = 'cdi'")

    assert changed == {}
    assert len(warnings) == 1


def test_unknown_log_level_is_a_warning() -> None:
    _, warnings = checked("nvidia-container-runtime.log-level = 'loud'")

    assert warnings == ["nvidia-container-runtime.log-level 'loud' is not a level; using 'info'"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("disable-require = 1", "disable-require must be true or false, not a number"),
        ("disable-require = 'no'", "disable-require must be true or false, not a string"),
        ("swarm-resource = true", "swarm-resource must be a string, not true or false"),
        ("swarm-resource = {}", "swarm-resource must be a string, not a table"),
        ("swarm-resource = 2001-12-14", "swarm-resource must be a string, not a date"),
        ("features = 'all'", "features must be a table, not a string"),
        ("[[features]]", "features must be a table, not a list of strings"),
        (
            "nvidia-container-runtime.modes.cdi = []",
            "nvidia-container-runtime.modes.cdi must be a table, not a list of strings",
        ),
        (
            "nvidia-container-runtime.runtimes = 'runc'",
            "nvidia-container-runtime.runtimes must be a list of strings, not a string",
        ),
        (
            "nvidia-container-runtime.runtimes = ['runc', 1]",
            "nvidia-container-runtime.runtimes must be a list of strings, not with a number in it",
        ),
        (
            "nvidia-container-runtime.requirements = 'sometimes'",
            "nvidia-container-runtime.requirements must be one of warn, enforce, ignore, "
            "not 'sometimes'",
        ),
        *[
            (
                f"nvidia-container-runtime-hook.timeout = {value}",
                "nvidia-container-runtime-hook.timeout must be a whole number of seconds "
                f"from 0 to 86400, not {kind}",
            )
            for value, kind in (
                ("-1", "-1"),
                ("86401", "86401"),
                ("1.5", "1.5"),
                ("true", "true or false"),
                ("'1s'", "a string"),
            )
        ],
        (
            "swarm-resource = 1\nfeatures = 2",
            "swarm-resource must be a string, not a number; features must be a table, not a number",
        ),
    ],
)
def test_wrong_type(text: str, says: str) -> None:
    assert refusal(text) == says


def test_free_texts_are_judged_where_they_are_used() -> None:
    text = "[nvidia-container-runtime]\nmode = 'x'\nmodes.legacy.cuda-compat-mode = 'y'"

    assert checked(text)[1] == []


def test_load(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("swarm-resource = 'A'\ncolour = 1")

    settings, warnings = config.load(str(file))

    assert settings["swarm-resource"] == "A"
    assert warnings == [f"{file}: unknown setting colour is ignored"]


def test_missing_file_means_the_defaults(tmp_path: Path) -> None:
    settings, warnings = config.load(f"{tmp_path}/config.toml")

    assert settings == config.check({}, FILE)[0]
    assert warnings == []


def test_defaults_are_a_copy() -> None:
    config.defaults()["nvidia-container-runtime.runtimes"].append("kata")

    assert config.defaults()["nvidia-container-runtime.runtimes"] == ["runc", "crun"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff", "is not UTF-8: byte 0xff at offset 0"),
        (b"a = ", "is not TOML: Invalid value (at line 1, column 5, the end)"),
        (b"a = 1\na = 2\n", "is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        (b"a = " + b"[" * 5000, "is nested too deeply"),
        (b".".join([b"a"] * 5000) + b" = 1", "is nested too deeply"),
    ],
    ids=["encoding", "syntax", "repeated key", "lists in lists", "tables in tables"],
)
def test_broken_file(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(data)

    with pytest.raises(NvidiaRuntimeError) as error:
        config.load(str(file))

    assert str(error.value) == f"{file}: {says}"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/", "cannot read the configuration: is a directory"),
        ("/etc/passwd/config.toml", "cannot read the configuration: not a directory"),
        ("/a\0b", "embedded null byte"),
    ],
)
def test_unreadable_file(path: str, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        config.load(path)

    assert str(error.value) == f"{path}: {says}"


@pytest.mark.parametrize(
    ("exists", "expected"),
    [(True, "@/sbin/ldconfig.real"), (False, "@/sbin/ldconfig")],
    ids=["Ubuntu", "others"],
)
def test_ldconfig_of_the_host(exists: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: exists and path == "/sbin/ldconfig.real")

    assert config.load("/absent")[0]["nvidia-container-cli.ldconfig"] == expected


@pytest.mark.parametrize(
    ("release", "text", "user"),
    [
        ('ID="sles"\nID_LIKE="suse"\n', "", "root:video"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "", "root:video"),
        ("ID_LIKE=suse", "nvidia-container-cli.user = ''", ""),
        ("ID=debian\nNAME=suse\n", "", ""),
        (None, "", ""),
    ],
)
def test_user_on_suse(
    release: str | None, text: str, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "os-release"
    monkeypatch.setattr(config, "OS_RELEASE", str(file))
    if release:
        file.write_text(release)

    assert config.check(tomllib.loads(text), FILE)[0]["nvidia-container-cli.user"] == user


@pytest.mark.parametrize(
    "text",
    [
        "nvidia-container-cli.ldconfig = '@/sbin/ldconfig'",
        "nvidia-container-cli.ldconfig = '/x'\nfeatures.allow-ldconfig-from-container = true",
    ],
)
def test_ldconfig_that_may_be_run(text: str) -> None:
    settings, _ = config.check(tomllib.loads(text), FILE)

    config.check_ldconfig(settings, FILE)


@pytest.mark.parametrize("value", ["/sbin/ldconfig", "", " @/sbin/ldconfig"])
def test_ldconfig_of_the_container_is_refused(value: str) -> None:
    settings, _ = config.check({"nvidia-container-cli": {"ldconfig": value}}, FILE)

    with pytest.raises(NvidiaRuntimeError) as error:
        config.check_ldconfig(settings, FILE)

    assert str(error.value) == (
        f"{FILE}: nvidia-container-cli.ldconfig {value!r} is not a path on the host: "
        "it must begin with '@'"
    )
    assert error.value.hint == 'write nvidia-container-cli.ldconfig = "@/sbin/ldconfig"'


def of_schema(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every setting of the schema with its own schema."""
    settings: dict[str, Any] = {}
    for name, schema in table["properties"].items():
        inner = of_schema(schema, f"{prefix}{name}.") if "properties" in schema else {}
        settings |= inner or {f"{prefix}{name}": schema}
    return settings


def test_schema_has_the_same_settings_defaults_and_choices() -> None:
    settings = of_schema(schemas.schema("config"))

    assert {key: schema["default"] for key, schema in settings.items()} == config.DEFAULTS
    choices = {key: tuple(schema["enum"]) for key, schema in settings.items() if "enum" in schema}
    assert choices == config.CHOICES
