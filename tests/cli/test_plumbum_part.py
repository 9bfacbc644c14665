# SPDX-License-Identifier: Apache-2.0
"""plumbum.cli without the rest of plumbum, and the rest when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shim

BEGIN = f"""
import sys
sys.path.insert(0, {str(shim.TREE)!r})
from nvidia_runtime.cli import plumbum_part
plumbum_part.load()
from plumbum.cli.application import Application
from plumbum.cli.switches import Flag, SwitchAttr
"""
REST = {"plumbum.machines", "plumbum.commands", "plumbum.path", "urllib.request"}


def run(code: str) -> list[str]:
    got = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=True
    )
    assert got.stderr == ""
    return got.stdout.splitlines()


def test_rest_is_not_loaded() -> None:
    assert run(f"print({REST} & set(sys.modules), Application.__module__)") == [
        "set() plumbum.cli.application"
    ]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import plumbum; print(plumbum.local.env['HOME'] != '')", "True"),
        ("from plumbum import local; print(local['sh'])", "sh"),
        ("from plumbum import cli; print(cli.Flag is Flag, cli.Set('a', 'b')('a'))", "True a"),
        ("from plumbum import colors; print(repr(str(colors.red)))", ""),
        ("from plumbum import colors; print(colors.filter('x'))", "x"),
        ("from plumbum.colorlib.styles import ANSIStyle, Style; print(issubclass(ANSIStyle, Style))", "True"),
        ("import plumbum.colorlib; print(plumbum.colorlib.ansicolors.filter('x'))", "x"),
        ("from plumbum import FG, SshMachine; print(SshMachine.__name__)", "SshMachine"),
    ],
)  # fmt: skip
def test_rest_comes_when_it_is_asked_for(code: str, says: str) -> None:
    assert says in run(code)[-1]


def test_application_with_all_that_plumbum_offers() -> None:
    """Our commands use little of it; what they may come to use works."""
    code = """
class Program(Application):
    "Does something."
    quiet = Flag(["-q", "--quiet"], help="say nothing")
    def main(self, *words):
        print(self.quiet, words)
Program.run(["program", "-q", "a"], exit=False)
Program.run(["program", "--help"], exit=False)
"""
    lines = run(code)

    assert lines[0] == "True ('a',)"
    assert any("--quiet" in line for line in lines[1:])


def test_plumbum_that_is_loaded_already_stays() -> None:
    code = "import plumbum\nbefore = plumbum.local\nplumbum_part.load()\nprint(plumbum.local is before)"

    assert run(code) == ["True"]


def test_plumbum_of_another_form_is_imported_as_a_whole() -> None:
    """One whose parts are elsewhere: nothing of what was made by hand is left."""
    code = f"""
import sys
sys.path.insert(0, {str(shim.TREE)!r})
from nvidia_runtime.cli import plumbum_part
plumbum_part.PARTS["plumbum.elsewhere"] = {{}}
plumbum_part.load()
print([name for name in sys.modules if name.startswith("plumbum")])
from plumbum import cli
print(cli.Application.__name__)
"""
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert got.stdout.splitlines() == ["[]", "Application"]
