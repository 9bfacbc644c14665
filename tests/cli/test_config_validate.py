# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config validate, and config explain: what a create says of the settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import shim
from builders import asking, cdi_spec
from shim import Ended, Site

from . import ctk

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNTIME, CLI = "nvidia-container-runtime", "nvidia-container-cli"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with a container that asks for a GPU."""
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec())
        machine.write_bundle(asking("0"))
        yield machine


def call(site: Site, *words: str) -> Ended:
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}
    return shim.end(site.execute([sys.executable, "-c", ctk.PROGRAM, *words], env=env))


def findings(site: Site) -> list[dict[str, Any]]:
    """Return what validate finds in the site's config.toml."""
    listed: list[dict[str, Any]] = json.loads(call(site, "config", "validate", "--json").out)[
        "findings"
    ]
    return listed


def said_of(site: Site, key: str) -> list[str]:
    """Return what explain says of a setting in the way of a create's stderr."""
    (setting,) = json.loads(call(site, "config", "explain", key, "--json").out)
    return [f"{said['message']}\nhint: {said['hint']}\n" for said in setting["create"]]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (f"{RUNTIME}.mode", 'mode = "legcy"'),
        (f"{RUNTIME}.mode", 'mode = ""'),
        (f"{RUNTIME}.runtimes", 'runtimes = ["/nowhere/runc"]'),
        (f"{RUNTIME}.runtimes", "runtimes = []"),
        (f"{RUNTIME}.runtimes", f"runtimes = ['{shim.BIN}/{RUNTIME}']"),
        (f"{CLI}.ldconfig", f'[{CLI}]\nldconfig = "/sbin/ldconfig"'),
    ],
)
def test_sentence_is_that_of_a_create(key: str, text: str, site: Site) -> None:
    site.config.write_text(f"[{RUNTIME}]\n{text}\n")

    (finding,) = findings(site)
    (said,) = said_of(site, key)
    refused = site.create()

    assert refused.code in (1, 127)
    assert refused.err.startswith(f"{RUNTIME}: ")
    assert refused.err.endswith(said)
    assert (finding["severity"], finding["path"]) == ("error", key)
    assert finding["message"] in refused.err


def test_each_wrong_value_has_its_place(site: Site) -> None:
    """A create names all in one sentence, and so does explain, which has no values then."""
    site.config.write_text(f"disable-require = 1\n[{RUNTIME}]\nmode = 5\nrequirements = 'x'\n")

    places = [finding["path"] for finding in findings(site)]
    refused = site.create()
    explained = call(site, "config", "explain", "mode")

    assert places == ["disable-require", f"{RUNTIME}.mode", f"{RUNTIME}.requirements"]
    assert explained.code == 1
    assert explained.err.removeprefix("nvidia-ctk: ") == refused.err.removeprefix(f"{RUNTIME}: ")
    for finding in findings(site):
        assert f"{finding['path']} {finding['message']}" in refused.err


def test_warnings_are_those_of_the_log(site: Site) -> None:
    site.config.write_text(
        f"nope = 1\n[{RUNTIME}]\nlog-level = 'loud'\nruntimes = ['{site.runtime}']\nmode = 'cdi'\n"
        f"modes.cdi.spec-dirs = ['{site.specs}']\n"
    )
    log = site.folder / "log"

    shown = call(site, "config", "validate")
    got = site.run("--log", log, "create", "--bundle", site.bundle, "c1")

    assert got.code == shown.code == 0
    lines = shown.out.decode().splitlines()
    assert lines == [
        f"warning: {site.config}: nope: unknown setting nope is ignored",
        f"warning: {site.config}: {RUNTIME}.log-level: 'loud' is not a level; using 'info'",
    ]
    assert shown.err == f"checked {site.config}: 0 errors, 2 warnings\n"
    for sentence in ("unknown setting nope is ignored", "is not a level; using 'info'"):
        assert sentence in log.read_text()


def test_program_that_legacy_mode_misses(site: Site) -> None:
    hook = f"{RUNTIME}-hook.path"
    site.config.write_text(f"{hook} = '/nowhere/hook'\n[{RUNTIME}]\nmode = 'legacy'\n")
    site.config.write_text(site.config.read_text() + f"runtimes = ['{site.runtime}']\n")
    log = site.folder / "log"

    (finding,) = findings(site)
    assert site.run("--log", log, "create", "--bundle", site.bundle, "c1").code == 0

    assert (finding["severity"], finding["path"]) == ("warning", hook)
    assert finding["message"] in log.read_text()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"=", "is not TOML: Invalid statement (at line 1, column 1)"),
        (b"\xff", "is not UTF-8: byte 0xff at offset 0"),
    ],
)
def test_file_that_cannot_be_read(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(data)

    got = ctk.run("config", "validate", file)

    assert got == ctk.Ended(1, f"error: {file}: {says}\n", f"checked {file}: 1 error, 0 warnings\n")


def test_standard_input() -> None:
    got = ctk.run("config", "validate", "-", stdin=f'{CLI}.environment = ["A"]\n')

    says = f"error: stdin: {CLI}.environment: must be a list of NAME=VALUE, not with 'A' in it\n"
    assert (got.code, says in got.out) == (1, True)


def test_file_that_is_not_there(tmp_path: Path, site: Site) -> None:
    """Without the one that is read by default, the defaults hold."""
    site.config.unlink()
    assert findings(site) == []

    got = ctk.run("config", "validate", tmp_path / "none")

    assert got.err == f"nvidia-ctk: {tmp_path}/none: there is no such config.toml\n"
