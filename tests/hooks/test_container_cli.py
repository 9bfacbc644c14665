# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-cli: its words, where it is found, and how the hook becomes it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import shim
import waiting
from hook_host import CLI, HOOK, Hook, container
from shim import Ended, Site


def ignored() -> bytes:
    """Return what a program of ours is to ignore: what we do, but for what Python alone does."""
    (mask,) = [
        int(line.split()[1], 16)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("SigIgn:")
    ]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        mask &= ~(1 << (number - 1))
    return b"%016x" % mask


IGNORED = ignored()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Site() as site:
        yield Hook(site)


COMPAT = "modes.legacy.cuda-compat-mode"
THEIRS = "features.allow-cuda-compat-libs-from-container = true"


@pytest.mark.parametrize(
    ("top", "runtime", "expected"),
    [
        ("", "", "configure --cuda-compat-mode=ldconfig --ldconfig=@/l"),
        (THEIRS, "", "configure --cuda-compat-mode=ldconfig --ldconfig=@/l"),
        ("", f"{COMPAT} = 'mount'", "configure --cuda-compat-mode=mount --ldconfig=@/l"),
        ("", f"{COMPAT} = 'hook'", "configure --cuda-compat-mode=disabled --ldconfig=@/l"),
        (THEIRS, f"{COMPAT} = 'hook'", "configure --cuda-compat-mode=disabled --ldconfig=@/l"),
        ("", f"{COMPAT} = 'x'", "configure --cuda-compat-mode=disabled --ldconfig=@/l"),
        (THEIRS, f"{COMPAT} = 'x'", "configure --ldconfig=@/l"),
    ],
)
def test_compatibility_mode(top: str, runtime: str, expected: str, hook: Hook) -> None:
    hook.write_settings(top, "load-kmods = false", runtime=runtime)

    assert " ".join(hook.gives(container())[1:]).startswith(f"{expected} --device")


@pytest.mark.parametrize(
    ("exists", "setting", "expected"),
    [
        (("ldconfig.real",), "ldconfig", "ldconfig.real"),
        (("ldconfig.real",), "ldconfig.real", "ldconfig.real"),
        ((), "ldconfig.real", "ldconfig"),
        (("ldconfig",), "ldconfig", "ldconfig"),
    ],
)
def test_ldconfig(exists: tuple[str, ...], setting: str, expected: str, hook: Hook) -> None:
    for name in exists:
        (hook.site.folder / name).touch()
    hook.write_settings()
    text = hook.site.config.read_text()
    hook.site.write_config(text.replace("@/l", f"@{hook.site.folder}/{setting}"))

    assert f"--ldconfig=@{hook.site.folder}/{expected}" in hook.gives(container())


def test_program_of_path(hook: Hook) -> None:
    """Folders below the driver root go first, relative ones never."""
    script = 'echo "$0 $PATH"'
    for folder in ("driver/a", "b"):
        (hook.site.folder / folder).mkdir(parents=True)
    below = hook.site.folder / "driver" / "usr" / "bin" / CLI
    below.parent.mkdir(parents=True)
    below.write_bytes(hook.site.write_runtime(CLI, script).read_bytes())
    below.chmod(0o755)
    root = hook.site.folder / "driver"
    hook.write_settings(cli=f"path = ''\nroot = '{root}'")
    hook.site.write_bundle(container())

    got = hook.run(env={"PATH": f"relative:{hook.site.folder}/bin:/usr/bin:/bin"}).out.decode()

    program, path = got.split()
    ours = ["relative", f"{hook.site.folder}/bin", "/usr/bin", "/bin"]
    ours += ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"]
    assert program == str(below)
    assert path.split(":") == [f"{root}/{folder.lstrip('/')}" for folder in ours] + ours


NO_DRIVER = (
    "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1:"
    " cannot open shared object file: no such file or directory\n"
    "hint: no driver is installed below /absent; --root names another folder\n"
)


@pytest.mark.parametrize("timeout", [0, 9])
@pytest.mark.parametrize("path", ["", f"{shim.BIN}/{CLI}"])
def test_ours_does_the_work_where_there_is_no_other(path: str, timeout: int, hook: Hook) -> None:
    """In the hook's own process; what it says is what the program would say."""
    limit = f"{HOOK}.timeout = {timeout}"
    hook.write_settings(limit, cli=f"path = '{path}'\nroot = '/absent'\nload-kmods = false")
    hook.site.write_bundle(container())

    got = hook.run()

    assert (got.code, got.out, got.err) == (1, b"", NO_DRIVER)


def test_another_one_goes_before_ours(hook: Hook) -> None:
    """Also where ours comes first in PATH."""
    first = hook.site.folder / "first"
    first.mkdir()
    (first / CLI).symlink_to(shim.BIN / CLI)
    hook.write_settings(cli="path = ''")
    hook.site.write_bundle(container())

    got = hook.run(env={"PATH": f"{first}:{hook.cli.parent}:/usr/bin:/bin"})

    assert (got.code, got.runtime) == (0, CLI)


@pytest.mark.parametrize("timeout", [0, 9])
def test_program_that_cannot_be_executed(timeout: int, hook: Hook) -> None:
    hook.write_settings(f"{HOOK}.timeout = {timeout}", cli="path = '/absent'")

    assert hook.refuses(container()) == (
        "/absent: cannot be executed: no such file or directory | "
        "correct nvidia-container-cli.path, or leave it empty: ours does the work then"
    )


def test_environment_of_the_program(hook: Hook) -> None:
    hook.write_settings(cli='environment = ["A=1", "B=2=3", "C="]')
    hook.site.write_runtime(CLI, 'echo "$A $B $C. $D ${LC_CTYPE-unset}"')
    hook.site.write_bundle(container())

    got = hook.run(env={"A": "0", "D": "4", "LC_ALL": ""})

    assert got.out == b"1 2=3 . 4 unset\n"


@pytest.mark.parametrize("entry", ["A", "=1", ""])
def test_environment_entry_that_is_none(entry: str, hook: Hook) -> None:
    hook.write_settings(cli=f'environment = ["{entry}"]')

    says = f"{hook.site.config}: {CLI}.environment: must be a list of NAME=VALUE, not with "
    assert hook.refuses(container()).startswith(says)


def test_program_takes_our_place(hook: Hook) -> None:
    hook.site.write_runtime(CLI, "echo $$; grep SigIgn /proc/$$/status; exit 7")
    hook.site.write_bundle(container())

    process = hook.start("prestart")
    got = shim.end(process)

    assert got.code == 7
    assert got.out.split() == [str(process.pid).encode(), b"SigIgn:", IGNORED]


# The limit of its time.


@pytest.fixture
def limited(hook: Hook) -> Hook:
    hook.write_settings(f"{HOOK}.timeout = 1")
    hook.site.write_bundle(container())
    return hook


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_program_that_ends_in_time(script: str, code: int, limited: Hook) -> None:
    ignoring = "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status\n"
    limited.site.write_runtime(CLI, ignoring + script)

    got = limited.run()

    assert got == Ended(code, b"SigIgn:\t%s\nSigBlk:\t%s\n" % (IGNORED, b"0" * 16), "")


def test_program_that_hangs(limited: Hook) -> None:
    """What it started is killed too, or a reader of our stderr would wait for that."""
    limited.site.write_runtime(CLI, "sleep 1000 & sleep 1000")

    message = limited.refuses(container())

    assert message == (
        f"{limited.cli}: did not end within 1 s and was killed | "
        "does nvidia-smi answer, and what does dmesg say of the driver? "
        f"or raise {HOOK}.timeout"
    )


@contextmanager
def not_ignored(number: signal.Signals) -> Iterator[None]:
    """Start programs as a user does: below nohup, or in a script's background, some are ignored."""
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_is_handed_on(number: signal.Signals, hook: Hook) -> None:
    hook.write_settings(f"{HOOK}.timeout = 20")
    hook.site.write_bundle(container())
    ready = hook.site.folder / "ready"
    name = number.name.removeprefix("SIG")
    trap = f"trap 'echo {name}; exit 3' {name}"
    hook.site.write_runtime(CLI, f"{trap}\necho >{ready}\nwhile :; do sleep 0.01; done")

    with not_ignored(number):
        process = hook.start("prestart")
    waiting.eventually(ready.exists, "the program is ready", process)
    process.send_signal(number)

    assert shim.end(process) == Ended(3, f"{name}\n".encode(), "")


# Sends SIGHUP to the supervisor before the Nth line that it, or its child, executes.
AT_A_LINE = """
import os, signal, sys
from nvidia_runtime.hooks import supervisor
whose, number = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
parent, lines = os.getpid(), 0
def trace(frame, event, _):
    global lines
    if frame.f_code.co_filename != supervisor.__file__:
        return None
    if event == "line" and (os.getpid() == parent) == (whose == "parent"):
        lines += 1
        if lines == number:
            os.kill(parent, signal.SIGHUP)
    return trace
sys.settrace(trace)
supervisor.fork("sleep", 15, "setting")
sys.settrace(None)
os.execvp("sleep", ["sleep", "0" if lines < number else "60"])
"""


@pytest.mark.parametrize("whose", ["parent", "child"])
def test_signal_at_any_point(whose: str) -> None:
    """It ends the supervisor before there is a child, and the child from then on."""
    codes: list[int] = []
    while not codes or codes[-1]:
        words = [sys.executable, "-c", AT_A_LINE, whose, str(len(codes) + 1)]
        codes.append(subprocess.run(words, cwd=shim.TREE, check=False).returncode)

    outcomes = [code for code, _ in itertools.groupby(codes)]
    assert outcomes == ([-1, 129, 0] if whose == "parent" else [129, 0])
    assert len(codes) > 7


def test_output_is_repeated_at_the_end(limited: Hook) -> None:
    """Also what goes to /dev/stderr, the program's log of -debug, and only the end of it."""
    script = "echo out; echo one >&2; echo two >>/dev/stderr; echo three >&2; exit 1"
    limited.site.write_runtime(CLI, script)

    assert limited.run() == Ended(1, b"out\n", "one\ntwo\nthree\n")

    limited.site.write_runtime(CLI, "head -c 70000 /dev/zero; echo end")
    assert limited.run().out == b"\0" * (65536 - 4) + b"end\n"


def test_program_ends_with_a_hook_that_is_killed(hook: Hook) -> None:
    hook.write_settings(f"{HOOK}.timeout = 20")
    hook.site.write_bundle(container())
    file = hook.site.folder / "pid"
    hook.site.write_runtime(CLI, f"echo $$ >{file}.new; mv {file}.new {file}; exec sleep 1000")

    process = hook.start("prestart")
    waiting.eventually(file.exists, "the program runs", process)
    process.kill()

    assert shim.end(process).code == -signal.SIGKILL
    pid = int(file.read_text())
    waiting.eventually(lambda: not waiting.is_alive(pid), "the program has ended")
