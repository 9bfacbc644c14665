# SPDX-License-Identifier: Apache-2.0
"""The low-level runtime gets the process as the shim got it (design, decision D1).

It is a program of one system call, which waits to be looked at through /proc; a caller sets a
process up and executes either the runtime or the shim in front of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime import TOOLKIT, __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

Shell = tuple[str, str]
State = dict[str, object]
Setup = dict[str, Any]

pytestmark = shim.needs_x86_64

# Executes a program with an environment as it stands, which no mapping could hold: duplicates,
# order, entries that set nothing. CPython's own ignoring of signals is undone first.
CALLER = """
import ctypes, json, os, resource, signal, sys

order = json.loads(sys.argv[1])
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for number in order.get("ignored", ()):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, order.get("blocked", ()))
for number in order.get("open", ()):
    descriptor = os.open("/dev/zero", os.O_RDWR)
    os.dup2(descriptor, number, inheritable=True)
    if descriptor != number:
        os.close(descriptor)
os.umask(order.get("umask", 0o022))
os.nice(order.get("nice", 0))
for name, limits in order.get("limits", {}).items():
    resource.setrlimit(getattr(resource, name), limits)
for number in order.get("closed", ()):
    os.close(number)
def pointers(texts):
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts), None)
ctypes.CDLL(None).execve(
    os.fsencode(order["program"]), pointers(order["argv"]), pointers(order["environment"])
)
"""

# What a shell in front of us cannot keep: launcher, section 2.2.
SHELL_KEEPS_NOT = ("PWD=", "OLDPWD=", "SHLVL=", "_=")

SETUPS: dict[str, Setup] = {
    "nothing special": {},
    "SIGPIPE ignored, as by conmon": {"ignored": [signal.SIGPIPE]},
    "SIGXFSZ ignored": {"ignored": [signal.SIGXFSZ]},
    "signals ignored": {
        "ignored": [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1]
    },
    "signals blocked, as by podman": {"blocked": [signal.SIGUSR1, signal.SIGTERM]},
    "descriptors 3, 7 and 200": {"open": [3, 7, 200]},
    "descriptors 9 to 12 and 63": {"open": [9, 10, 11, 12, 63]},
    "stdin closed": {"closed": [0]},
    "stdout closed": {"closed": [1]},
    "stdin and stdout closed": {"closed": [0, 1]},
    "a strict umask": {"umask": 0o077},
    "no umask": {"umask": 0},
    "nice": {"nice": 5},
    "in another folder": {"cwd": "/proc"},
    "limits": {"limits": {"RLIMIT_NOFILE": [64, 128], "RLIMIT_CORE": [0, 0]}},
}
# Setups that all the shells keep.
TOGETHER: Setup = {
    "ignored": [signal.SIGPIPE, signal.SIGUSR2],
    "open": [3, 7, 200],
    "umask": 0o027,
    "nice": 3,
}
# The ways to the low-level runtime: the words, and whether the launcher has its shortcut.
WAYS = {
    "the shortcut": ("state", True),
    "Python": ("state", False),
    "create without devices": ("create", False),
    "create with devices": ("create 0", False),
}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.runtime.write_bytes(shim.program(shim.PAUSE))
        machine.write_specs(nvidia=builders.cdi_spec())
        yield machine


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, site: Site) -> list[str]:
    """Return the words of a call, with the machine made so that it goes that way."""
    words, short = WAYS[request.param]
    command, _, devices = words.partition(" ")
    site.write_bundle(builders.asking(devices) if devices else builders.spec())
    if short:
        process = site.start("state", "c1")
        await_runtime(site, process)
        finish(process)
        assert site.shortcut() is not None
        site.python.unlink()  # nobody needs it any more
        site.python.symlink_to("/bin/false")
    else:
        site.date_config(1)
    bundle = ["--bundle", str(site.bundle)] if command == "create" else []
    return ["--root", "/x y", command, *bundle, "c1"]


def await_runtime(site: Site, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has become the low-level runtime, and that waits for us."""
    until = time.monotonic() + shim.PATIENCE
    while True:
        try:
            program = os.readlink(f"/proc/{process.pid}/exe")
            if program == str(site.runtime) and is_asleep(process.pid):
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            finish(process)
            raise AssertionError((site.folder / "err").read_text())
        time.sleep(0.002)


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"S"


def finish(process: subprocess.Popen[bytes]) -> None:
    """End a process that waits."""
    process.kill()
    shim.end(process)


def observe(
    site: Site, argv: list[str], environment: list[str], setup: Setup, shell: Shell | None = None
) -> State:
    """Set a process up, execute the words, and describe the low-level runtime that it became."""
    words = [shell[0], *argv] if shell else argv
    program = shell[1] if shell else argv[0]
    order = {**setup, "program": program, "argv": words, "environment": environment}
    with (site.folder / "out").open("wb") as out, (site.folder / "err").open("wb") as err:
        process = site.execute(
            [os.path.realpath(site.folder / "python"), "-I", "-S", "-c", CALLER, json.dumps(order)],
            stdout=out,
            stderr=err,
            cwd=setup.get("cwd", site.folder),
        )
    try:
        await_runtime(site, process)
        return describe(f"/proc/{process.pid}")
    finally:
        finish(process)


def describe(proc: str) -> State:
    """Read from /proc all that one program leaves to the next."""

    def read(name: str) -> bytes:
        return Path(proc, name).read_bytes()

    status = dict(line.split(":\t", 1) for line in read("status").decode().splitlines())
    names = [
        *("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Umask", "Uid", "Gid", "Groups"),
        *("NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp"),
    ]
    return {
        **{name: status[name] for name in names},
        "words": read("cmdline").split(b"\0")[:-1],
        "environment": read("environ").split(b"\0")[:-1],
        "nice": read("stat").rpartition(b")")[2].split()[16],
        "limits": read("limits"),
        "cwd": os.readlink(f"{proc}/cwd"),
        "root": os.readlink(f"{proc}/root"),
        "oom_score_adj": read("oom_score_adj"),
        "descriptors": {
            number: (os.readlink(f"{proc}/fd/{number}"), read(f"fdinfo/{number}"))
            for number in sorted(os.listdir(f"{proc}/fd"))
        },
    }


def environment(site: Site, *entries: str) -> list[str]:
    return [f"{name}={value}" for name, value in site.environment.items()] + list(entries)


def differences(left: State, right: State) -> dict[str, tuple[object, object]]:
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}


@pytest.fixture(autouse=True)
def interpreter(site: Site) -> None:
    """Keep an interpreter for the caller, whatever becomes of the shim's."""
    (site.folder / "python").symlink_to(os.path.realpath(site.python))


@pytest.mark.parametrize("setup", [pytest.param(SETUPS[name], id=name) for name in SETUPS])
def test_process_is_as_in_a_direct_call(setup: Setup, way: list[str], site: Site) -> None:
    entries = environment(site)
    direct = observe(site, [str(site.runtime), *way], entries, setup)

    shimmed = observe(site, [str(site.launcher), *way], entries, setup)

    direct["environment"] = sorted(entry.encode() for entry in entries)
    shimmed["environment"] = sorted(without_shell(shimmed["environment"]))
    assert differences(direct, shimmed) == {}
    assert (site.folder / "out").read_bytes() == b""
    assert (site.folder / "err").read_bytes() == b""


def without_shell(entries: object) -> list[bytes]:
    """Drop the variables that shells set."""
    assert isinstance(entries, list)

    dropped = tuple(name.encode() for name in SHELL_KEEPS_NOT)
    return [entry for entry in entries if not entry.startswith(dropped)]


@pytest.mark.parametrize("shell", shim.shells())
def test_process_is_as_in_a_direct_call_by_any_shell(
    shell: Shell, way: list[str], site: Site
) -> None:
    entries = environment(site)
    direct = observe(site, [str(site.runtime), *way], entries, TOGETHER)

    shimmed = observe(site, [str(site.launcher), *way], entries, TOGETHER, shell)

    direct["environment"] = sorted(entry.encode() for entry in entries)
    shimmed["environment"] = sorted(without_shell(shimmed["environment"]))
    assert differences(direct, shimmed) == {}


# A C locale makes CPython set LC_CTYPE; an environment that has it keeps it.
LOCALES = [
    [],
    ["LANG="],
    ["LANG=C"],
    ["LANG=POSIX"],
    ["LANG=C.UTF-8"],
    ["LANG=xx_XX.UTF-8"],
    ["LC_CTYPE=C"],
    ["LC_CTYPE=POSIX"],
    ["LC_CTYPE=C.UTF-8"],
    ["LC_CTYPE=UTF-8"],
    ["LC_CTYPE="],
    ["LC_ALL="],
    ["LC_ALL=C"],
    ["LC_ALL=", "LC_CTYPE=C", "LANG=C.UTF-8"],
    ["LC_ALL=POSIX", "LC_CTYPE=C.UTF-8"],
]
# What a real environment may have in it, and what an unreal one has.
ODD = [
    "EMPTY=",
    "BLANKS=  a  b ",
    "TWO_LINES=a\nb\n",
    "EQUALS==a=b=",
    "QUOTES='\"`$(x)\\",
    "BYTES=\udcff\udcfe",
    "HOME=/root",
    "TWICE=1",
    "MIDDLE=2",
    "TWICE=3",
    "LISTEN_FDS=1",
    "_OCI_STARTPIPE=4",
    "a.b=no identifier",
    "BASH_FUNC_f%%=() { :; }",
    "no equals sign",
    "=no name",
    "9=a digit",
    "_CONTAINERS_ROOTLESS_UID=1000",
    "OLDPWD=/",
    "LONG=" + "x" * 100_000,
]


@pytest.mark.parametrize("shell", shim.shells())
@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: " ".join(locale) or "no locale")
def test_locale_is_as_the_shell_leaves_it(locale: list[str], shell: Shell, site: Site) -> None:
    site.date_config(1)
    del site.environment["LC_ALL"]

    check_environment(site, ["state", "c1"], locale, shell)


@pytest.mark.parametrize("shell", shim.shells())
def test_environment_is_as_the_shell_leaves_it(shell: Shell, way: list[str], site: Site) -> None:
    check_environment(site, way, ODD, shell)


def check_environment(site: Site, words: list[str], extra: list[str], shell: Shell) -> None:
    """Compare with a script that only executes: order, duplicates, every byte."""
    script = site.folder / "script"
    script.write_text(f'unset PWD\nexec {site.runtime} "$@"\n')
    entries = environment(site, *extra)
    through_script = observe(site, [str(script), *words], entries, {}, shell)

    shimmed = observe(site, [str(site.launcher), *words], entries, {}, shell)

    # All the same but mksh's `_`, which names the program that the shell executed.
    assert without_shell(shimmed["environment"]) == without_shell(through_script["environment"])


@pytest.mark.parametrize("shell", shim.shells())
def test_environment_lacks_only_what_no_shell_keeps(
    shell: Shell, way: list[str], site: Site
) -> None:
    identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
    entries = environment(site, *(entry for entry in ODD if not entry.startswith("TWICE=")))
    kept = [os.fsencode(entry) for entry in entries if identifier.match(entry)]

    shimmed = observe(site, [str(site.launcher), *way], entries, {}, shell)

    variables = set(without_shell(shimmed["environment"]))
    assert set(without_shell(kept)) - variables == set()
    assert {entry for entry in variables - set(kept) if identifier.match(entry.decode())} == set()


@pytest.mark.parametrize("code", [0, 1, 2, 42, 126, 127, 255])
@pytest.mark.parametrize("command", ["state", "create", "create 0"])
def test_exit_code_comes_through(command: str, code: int, site: Site) -> None:
    assert run_script(site, command, f"exit {code}").code == code


@pytest.mark.parametrize("name", ["KILL", "TERM", "PIPE", "SEGV"])
@pytest.mark.parametrize("command", ["state", "create", "create 0"])
def test_death_by_a_signal_comes_through(command: str, name: str, site: Site) -> None:
    got = run_script(site, command, f"ulimit -c 0; kill -{name} $$")

    assert got.code == -signal.Signals[f"SIG{name}"]


def run_script(site: Site, command: str, script: str) -> shim.Ended:
    site.write_runtime("runc", script)
    command, _, devices = command.partition(" ")
    site.write_bundle(builders.asking(devices) if devices else builders.spec())
    for _ in range(2):  # through Python, then by the shortcut
        got = site.create() if command == "create" else site.run(command, "c1")
    return got


def test_stdout_and_stderr_are_the_runtimes(site: Site) -> None:
    got = run_script(site, "create 0", 'cat; echo out "$3"; echo err >&2')

    assert got == shim.Ended(0, f"out {site.bundle}\n".encode(), "err\n")


BANNER = (
    f"NVIDIA Container Runtime version {TOOLKIT}\n"
    f"implementation: nvidia-container-runtime {__version__}\nspec: 1.3.0\n\n"
)


@pytest.mark.parametrize(
    ("words", "banner"),
    [
        (["--version"], BANNER),
        (["-version"], BANNER),
        (["--root", "/x", "--version"], BANNER),
        (["--debug", "--version", "state"], BANNER),
        (["-v"], ""),
        (["--root", "--version", "state", "c1"], ""),
        (["--", "--version"], ""),
        (["state", "--version"], ""),
        (["exec", "c1", "nvcc", "--version"], ""),
        (["exec", "c1", "sh", "-c", "create --version"], ""),
        (["--versions"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_banner_is_only_for_the_global_flag(words: list[str], banner: str, site: Site) -> None:
    site.write_runtime("runc", 'echo "runc $*"')

    got = site.run(*words)

    assert got == shim.Ended(0, f"{banner}runc {' '.join(words)}\n".encode(), "")
