# SPDX-License-Identifier: Apache-2.0
"""Settings of a user's own: launcher and Python agree on the file, with HOME and without.

podman hands HOME to create, and nothing but XDG_RUNTIME_DIR to kill and delete.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
import shim
from shim import NAME, SECOND, Site, needs_root

Shell = tuple[str, str]
CREATE = ("create", "--bundle", "bundle", "c1")
KILL = ("kill", "c1")


@pytest.fixture(params=shim.shells())
def shell(request: pytest.FixtureRequest) -> Shell:
    choice: Shell = request.param
    return choice


class Home:
    """A user of a site, whose HOME has settings: the low-level runtime ``own``."""

    def __init__(self, site: Site, shell: Shell) -> None:
        self.site = site
        self.folder = site.folder / "home"
        self.options: dict[str, Any] = {**site.unprivileged(), "shell": shell}
        self.runtimes: list[str | None] = []
        # Without settings it is that in PATH.
        site.write_runtime("runc").rename(site.folder / "bin" / "runc")
        site.config.unlink()
        site.environment["NVIDIA_CTK_CONFIG_FILE_PATH"] = ""
        self.write("own")

    def write(self, runtime: str) -> None:
        """Write settings with a runtime."""
        self.site.config = self.folder / ".config" / NAME / "config.toml"
        self.site.config.parent.mkdir(parents=True, exist_ok=True)
        self.site.write_config(runtimes=[str(self.site.write_runtime(runtime))])

    def run(self, *words: str, home: str | Path = "", **env: str) -> str:
        """Return which low-level runtime a call reaches, twice: by Python, and then without."""
        given = {**self.options.get("env", {}), **env}
        options = {**self.options, "env": given | ({"HOME": str(home)} if home else {})}
        calls = [self.site.run(*words, **options) for _ in range(2)]
        names = {call.runtime or call.err for call in calls}
        return " and ".join(sorted(map(str, names)))


@pytest.fixture
def home(shell: Shell) -> Iterator[Home]:
    with Site() as site:
        site.write_bundle(builders.spec())
        yield Home(site, shell)


@needs_root
def test_calls_without_home_reach_what_create_did(home: Home) -> None:
    assert home.run(*CREATE, home=home.folder) == "own"
    assert home.run(*KILL) == "own"
    assert home.run("start", "c1", PATH=f"{home.site.folder}/bin:/bin") == "own"


@needs_root
def test_without_settings_there_those_of_the_machine_count(home: Home) -> None:
    shutil.rmtree(home.folder / ".config")

    assert home.run(*CREATE, home=home.folder) == "runc"
    assert home.run(*KILL) == "runc"
    assert not (home.site.folder / "user" / NAME / "home").exists()


@needs_root
def test_settings_that_come_and_go(home: Home) -> None:
    home.run(*CREATE, home=home.folder)
    home.write("other")
    home.site.date_config(time.time_ns() - 7 * SECOND)

    assert home.run(*KILL) == "other"

    home.site.config.unlink()

    assert home.run(*KILL) == "runc"


@needs_root
def test_home_of_the_call_goes_before_that_of_the_last_create(home: Home) -> None:
    home.run(*CREATE, home=home.folder)
    other = home.site.folder / "other"
    shutil.copytree(home.folder, other)
    home.folder = other
    home.write("others")

    assert home.run(*CREATE, home=other) == "others"
    assert home.run(*KILL) == "others"


@needs_root
def test_create_without_settings_there_forgets_the_last(home: Home) -> None:
    home.run(*CREATE, home=home.folder)

    assert home.run(*CREATE, home=home.site.folder) == "runc"
    assert home.run(*KILL) == "runc"


@needs_root
@pytest.mark.parametrize("value", ["home", "./home", ""])
def test_home_that_is_no_absolute_path(value: str, home: Home) -> None:
    """The working directory is the bundle's, or its engine's."""
    assert home.run(*CREATE, home=value) == "runc"


@needs_root
def test_variables_go_first(home: Home) -> None:
    elsewhere = home.site.folder / "xdg"

    assert home.run(*CREATE, home=home.folder, XDG_CONFIG_HOME=str(elsewhere)) == "runc"
    named = {"NVIDIA_CTK_CONFIG_FILE_PATH": str(elsewhere / "config.toml")}
    assert home.run(*CREATE, home=home.folder, **named) == "runc"


@needs_root
def test_root_has_none_at_home(home: Home) -> None:
    """sudo leaves HOME as it is where it is told so: a user's file is not for root."""
    home.options = {"shell": home.options["shell"]}

    assert home.run(*CREATE, home=home.folder) == "runc"


@needs_root
@pytest.mark.parametrize("owner", [0, 4711])
def test_home_that_another_has_written_down(owner: int, home: Home) -> None:
    """It would be settings of another's choosing."""
    state = home.site.folder / "user" / NAME
    state.mkdir()
    (state / "home").write_text(f"{home.folder}\n")
    os.chown(state, shim.NOBODY, shim.NOBODY)
    os.chown(state / "home", owner, owner)

    assert home.run(*KILL) == "runc"


@needs_root
def test_prestart_hook_is_told_of_them(home: Home) -> None:
    """It heeds no HOME, which is the container's where an engine hands that on."""
    site = home.site
    site.write_config(mode="legacy", runtimes=[str(site.write_runtime("own"))])
    site.write_bundle(builders.asking())
    site.bundle.chmod(0o777)

    home.run(*CREATE, home=home.folder)

    (hook,) = site.read_bundle()["hooks"]["prestart"]
    assert hook["args"][1:] == ["-config", str(site.config), "prestart"]
