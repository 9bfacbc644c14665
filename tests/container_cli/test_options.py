# SPDX-License-Identifier: Apache-2.0
"""The words of nvidia-container-cli, as getopt_long(3) and argp(3) read them."""

from __future__ import annotations

import pytest

from nvidia_runtime.container_cli import options, usage
from nvidia_runtime.errors import NvidiaRuntimeError

# What enroot's 98-nvidia.sh, Charliecloud's ch-fromhost, Apptainer --nvccli, LXD's hook, gVisor and
# the prestart hook call, by their documentation and sources.
KNOWN_CALLS = {
    "enroot": (
        "--user --debug=/dev/stderr configure --no-cgroups --ldconfig=@/sbin/ldconfig"
        " --device=all --compute --compat32 --display --graphics --utility --video"
        " --require=cuda>=11.0 /root"
    ),
    "charliecloud": "list --binaries --libraries",
    "apptainer": (
        "--user configure --no-cgroups --device=0,1 --compute --utility --ldconfig=@/sbin/ldconfig"
        " --require=cuda>=9.0 /root"
    ),
    "lxd": (
        "--load-kmods --root=/run/driver --ldcache=/etc/ld.so.cache configure --ldconfig=@/l"
        " --no-cgroups --no-devbind --device=all --utility --compute /root"
    ),
    "gvisor": "--load-kmods configure --ldconfig=@/sbin/ldconfig --no-cgroups --utility --compute"
    " --pid=7 --device=GPU-1 /root",
    "the hook": (
        "--root=/ --load-kmods --no-create-imex-channels --no-pivot --debug=/l --ldcache=/c"
        " --user=root:video configure --cuda-compat-mode=ldconfig --ldconfig=@/l --no-cgroups"
        " --device=all --mig-config=all --mig-monitor=all --imex-channel=0 --ngx --utility"
        " --require=cuda>=12 --pid=7 /root"
    ),
}


@pytest.mark.parametrize("call", KNOWN_CALLS.values(), ids=KNOWN_CALLS)
def test_known_call_is_read_to_the_end(call: str) -> None:
    words = call.split()

    program, command = options.parse(words)

    assert command is not None
    assert command.arguments == (["/root"] if "configure" in words else [])
    read = [name for part in (program, command) for name in part.values]
    said = [word.removeprefix("--").partition("=")[0] for word in words if word[:2] == "--"]
    assert sorted(read) == sorted(set(said))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--pid=7", "/r"], {"pid": ["7"]}, id="behind ="),
        pytest.param(["--pid", "7", "/r"], {"pid": ["7"]}, id="the next word"),
        pytest.param(["-p7", "/r"], {"pid": ["7"]}, id="short"),
        pytest.param(["-p", "7", "/r"], {"pid": ["7"]}, id="short, the next word"),
        pytest.param(
            ["-cup7", "/r"], {"compute": [""], "utility": [""], "pid": ["7"]}, id="cluster"
        ),
        pytest.param(["/r", "-D"], {"display": [""]}, id="behind the argument"),
        pytest.param(["--comput", "/r"], {"compute": [""]}, id="shortened"),
        pytest.param(["--no-dev", "/r"], {"no-devbind": [""]}, id="shortened at a dash"),
        pytest.param(["--device=", "/r"], {"device": [""]}, id="empty"),
        pytest.param(["-d0", "-d", "1,2", "/r"], {"device": ["0", "1,2"]}, id="repeated"),
        pytest.param(["-c", "--", "/r"], {"compute": [""]}, id="the end of options"),
    ],
)
def test_options_of_a_command(words: list[str], expected: dict[str, list[str]]) -> None:
    _, command = options.parse(["configure", *words])

    assert command is not None
    assert (command.values, command.arguments) == (expected, ["/r"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--user", "info"], {"user": [""]}, id="no argument but behind ="),
        pytest.param(["--user=0:0", "info"], {"user": ["0:0"]}, id="behind ="),
        pytest.param(["-u0", "info"], {"user": ["0"]}, id="short"),
        pytest.param(["-kd", "/l", "info"], {"load-kmods": [""], "debug": ["/l"]}, id="cluster"),
        pytest.param(["--ro", "/d", "info"], {"root": ["/d"]}, id="shortened"),
    ],
)
def test_options_of_the_program(words: list[str], expected: dict[str, list[str]]) -> None:
    program, command = options.parse(words)

    assert program.values == expected
    assert command is not None
    assert command.table is options.INFO


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--nope"], "unrecognized option '--nope'"),
        (["configure", "--csv"], "unrecognized option '--csv'"),
        (["list", "-x"], "invalid option -- 'x'"),
        (["list", "--device"], "option '--device' requires an argument"),
        (["list", "-d"], "option requires an argument -- 'd'"),
        (["info", "--csv=1"], "option '--csv' doesn't allow an argument"),
        (
            ["list", "--mig"],
            "option '--mig' is ambiguous; possibilities: '--mig-config' '--mig-monitor'",
        ),
        (["nope"], "there is no command 'nope'"),
    ],
)
def test_words_that_are_no_call(words: list[str], expected: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as raised:
        options.parse(words)

    assert raised.value.what == expected
    name = f"{options.NAME} {words[0]}" if words[0] in options.COMMANDS else options.NAME
    assert raised.value.hint == f"'{name} --help' lists what it takes"


@pytest.mark.parametrize(
    "table", [options.PROGRAM, *options.COMMANDS.values()], ids=options.Table.program
)
def test_help_has_every_option(table: options.Table) -> None:
    full, short = usage.full(table), usage.short(table)

    assert full.startswith(f"Usage: {table.program()} [OPTION...]")
    for option in table.options:
        assert full.count(f"--{option.long}{'[' if option.kind == options.OPTIONAL else ''}") >= 1
        assert f"[--{option.long}" in short
        if option.short:
            assert f"  -{option.short}, --{option.long}" in full
    assert max(map(len, short.splitlines())) < 80


def test_lists() -> None:
    _, command = options.parse(["list", "--device=0,,1", "-d", "2"])

    assert command is not None
    assert command.ids("device") == ("0", "1", "2")
