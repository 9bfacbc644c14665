# SPDX-License-Identifier: Apache-2.0
"""Which switches and words a command line has, as the toolkit reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import cdi_spec

from nvidia_runtime.cli import parse
from nvidia_runtime.errors import NvidiaRuntimeError

from . import ctk


def given(*words: str, **environment: str) -> dict[str, list[str]]:
    """Return the values of the switches of all commands in a line, by their names."""
    call = parse.read(words)
    parse.complete(call, environment)
    return {switch.name: said for level in call.given for switch, said in level.items()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("config -o a --output b", {"--output": ["b"]}),
        ("config --output=b -o=a", {"--output": ["a"]}),
        ("config -oa", {"--output": ["a"]}),
        ("config -output a", {"--output": ["a"]}),
        ("config -o=a=b", {"--output": ["a=b"]}),
        ("config --output=", {"--output": [""]}),
        ("config --set a=1 --set b=2", {"--set": ["a=1", "b=2"]}),
        ("config -ic FILE", {"--in-place": ["true"], "--config": ["FILE"]}),
        ("cdi generate --class a --cdi-class b --class c", {"--class": ["c"]}),
        ("runtime configure --cdi.enabled --cdi.enable=false", {"--cdi.enabled": ["false"]}),
        ("runtime configure --enable-cdi=F --cdi.enabled", {"--cdi.enabled": ["true"]}),
        ("cdi list --quiet -d", {"--quiet": ["true"], "--debug": ["true"]}),
        ("cdi --quiet list --quiet=false", {"--quiet": ["false"]}),
        ("--debug cdi -d=false list", {"--debug": ["false"]}),
        ("cdi generate --config FILE", {"--config": ["FILE"]}),
        ("cdi list --json", {"--format": ["json"]}),
        ("cdi list --json --format text", {"--format": ["text"]}),
        ("cdi list --format text --json", {"--format": ["json"]}),
        ("cdi list --format text --json=false", {"--format": ["text"]}),
        ("simulate t4x1 -- x --list -d", {}),
    ],
)
def test_flags(line: str, expected: dict[str, list[str]]) -> None:
    assert given(*line.split()) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cdi validate - a --quiet b", ["-", "a", "b"]),
        ("cdi validate -- --quiet", ["--quiet"]),
        ("simulate t4x1 -- sh -c x -- y", ["t4x1", "sh", "-c", "x", "--", "y"]),
        ("hook create-symlinks --link a::/b --help -- --debug", None),
        ("help cdi list", []),
    ],
)
def test_words(line: str, words: list[str] | None) -> None:
    call = parse.read(line.split())

    assert call.words == (line.split()[1:] if words is None else words)


def test_own_config_is_not_that_of_all() -> None:
    call = parse.read(["--config=a", "runtime", "configure", "--config=b"])

    assert [list(level.values()) for level in call.given] == [[["a"]], [], [["b"]]]


@pytest.mark.parametrize(
    ("line", "environment", "expected"),
    [
        ("cdi list", {"NVIDIA_CTK_QUIET": "1"}, {"--quiet": ["true"]}),
        ("cdi list --quiet=false", {"NVIDIA_CTK_QUIET": "1"}, {"--quiet": ["false"]}),
        ("cdi list", {"NVIDIA_CTK_QUIET": ""}, {"--quiet": ["false"]}),
        (
            "system create-device-nodes",
            {"ROOT": "", "NVIDIA_DRIVER_ROOT": "/b", "DRIVER_ROOT": "/c"},
            {"--driver-root": ["/b"]},
        ),
        ("cdi generate", {"NVIDIA_CTK_CDI_GENERATE_VENDOR": ""}, {"--vendor": [""]}),
        (
            "cdi generate --vendor=b",
            {"NVIDIA_CTK_CDI_GENERATE_VENDOR": "a"},
            {"--vendor": ["b"]},
        ),
    ],
)
def test_variables(line: str, environment: dict[str, str], expected: dict[str, list[str]]) -> None:
    assert given(*line.split(), **environment) == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("cdi list --bogus=1", "unknown flag --bogus"),
        ("cdi list -x", "unknown flag -x"),
        ("cdi list ---quiet", "unknown flag ---quiet"),
        ("cdi generate --output", "flag --output has no value"),
        ("cdi list --format yaml", "--format must be text or json, not 'yaml'"),
        ("cdi list --quiet=maybe", "--quiet: must be true or false, not 'maybe'"),
        ("cdi inject", "flag --device=DEVICE is missing"),
        ("cdi bogus", "No help topic for 'bogus'"),
    ],
)
def test_misuse(line: str, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as raised:
        given(*line.split())

    assert str(raised.value) == says


def test_last_counts_where_wrappers_append(tmp_path: Path) -> None:
    first, last = tmp_path / "first.toml", tmp_path / "last.toml"

    got = ctk.run("config", "default", f"--output={first}", f"-o={last}", cwd=tmp_path)

    assert (got.code, got.err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["last.toml"]


def test_quiet_behind_the_command(tmp_path: Path) -> None:
    ctk.write(tmp_path / "gpus.json", cdi_spec())

    got = ctk.run("cdi", "list", "--spec-dir", tmp_path, "--quiet")

    assert (got.code, got.out, got.err) == (0, "nvidia.com/gpu=0\n", "")
