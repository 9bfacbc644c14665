# SPDX-License-Identifier: Apache-2.0
"""The programs at the top of a tree: without the driver runc alone, with it ours, at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import builders
import pytest
import shim

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import wrappers

from .node import Node

pytestmark = shim.needs_root
RUNTIMES = wrappers.RUNTIMES
# A machine with the driver's module, or without: a namespace of its own, and no file that stays.
ENTER = """
/bin/mount -t tmpfs tmpfs /sys/module
[ "$0" = none ] || /bin/mkdir /sys/module/nvidia
exec "$@"
"""


def call(
    node: Node,
    name: str,
    *words: str,
    driver: bool,
    stdin: str = "",
    path: str = "",
    level: str = "",
) -> subprocess.CompletedProcess[str]:
    """Call a runtime of the tree."""
    runc = node.runc()
    where = "driver" if driver else "none"
    argv = [
        "/usr/bin/unshare",
        "--mount",
        "/bin/sh",
        "-euc",
        ENTER,
        where,
        str(node.toolkit / name),
        *words,
    ]
    env = {
        "PATH": path or f"{runc.parent}:{os.environ['PATH']}",
        "RUNC_ENVIRONMENT": f"{node.folder}/environment",
        "A": "b c",
        **({"SHLVL": level} if level else {}),
    }
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=env)


def processes(node: Node, name: str, *words: str, driver: bool) -> list[str]:
    """Return the programs that a call executes, and the processes that it makes, by strace."""
    log = node.folder / "strace"
    argv = ["strace", "-f", "-o", str(log), "-e", "trace=execve,fork,vfork,clone,clone3"]
    runc = node.folder / "sbin/runc"
    runc.write_text("#!/bin/busybox true\n")  # which ends at once
    module = "driver" if driver else "none"
    got = subprocess.run(
        [
            "/usr/bin/unshare",
            "--mount",
            "/bin/sh",
            "-euc",
            ENTER,
            module,
            *argv,
            node.toolkit / name,
            *words,
        ],
        check=False,
        env={"PATH": f"{runc.parent}:{os.environ['PATH']}"},
    )
    assert got.returncode == 0
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines()]
    return [line.partition("(")[0] for line in calls if "= -1" not in line and "exited" not in line]


@pytest.fixture
def installed(node: Node) -> Node:
    """Install once more where a test changes something."""
    node.runc()
    assert node.install("--no-daemon").code == 0
    return node


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("driver", [False, True])
def test_call_is_passed_on_untouched(name: str, driver: bool, installed: Node) -> None:
    words = ("--root", "/a b", "kill", "", "*", "c1")

    got = call(installed, name, *words, driver=driver, stdin="in\n")

    runc = f"{installed.folder}/sbin/runc"
    assert (got.returncode, got.stderr) == (7, "")
    assert got.stdout.splitlines() == [runc, *words, "in"]


def test_environment_is_the_engines_without_the_driver(installed: Node) -> None:
    call(installed, RUNTIMES[0], "state", "c1", driver=False)

    assert (installed.folder / "environment").read_text().splitlines() == [
        "A=b c",
        f"PATH={installed.folder}/sbin:{os.environ['PATH']}",
        f"PWD={os.getcwd()}",  # of the low-level runtime here, which is a shell's script
        f"RUNC_ENVIRONMENT={installed.folder}/environment",
    ]


@pytest.mark.parametrize("driver", [False, True])
@pytest.mark.parametrize("level", ["", "1", "5"])
def test_shells_are_not_counted(level: str, driver: bool, installed: Node) -> None:
    got = call(installed, RUNTIMES[0], "state", driver=driver, level=level)

    assert got.returncode == 7
    lines = (installed.folder / "environment").read_text().splitlines()
    # The shells around the call do not count, but for its runc, which dash runs.
    assert [line for line in lines if line.startswith("SHLVL")] == (
        [f"SHLVL={level}"] if level else []
    )


def test_tree_comes_first_in_path_with_the_driver(installed: Node) -> None:
    call(installed, RUNTIMES[0], "state", "c1", driver=True)

    lines = (installed.folder / "environment").read_text().splitlines()
    tree = installed.tree()
    path = f"{installed.toolkit}:{installed.folder}/sbin:{os.environ['PATH']}:{tree}/bin"
    assert f"PATH={path}" in lines
    config = f"{tree}/.config/nvidia-container-runtime/config.toml"
    assert f"NVIDIA_CTK_CONFIG_FILE_PATH={config}" in lines


def test_create_says_why_there_is_no_gpu(installed: Node) -> None:
    got = call(installed, RUNTIMES[0], "create", "c1", driver=False)

    said = "nvidia driver modules are not yet loaded, invoking runc directly\n"
    assert (got.returncode, got.stderr) == (7, said)


@pytest.mark.parametrize("path", ["/nowhere", "relative:/nowhere", "/a*:/nowhere"])
def test_runtime_that_is_not_in_path(path: str, installed: Node) -> None:
    """The usual folders have it, or Python says what is missing."""
    got = call(installed, RUNTIMES[0], "--version", driver=False, path=path)

    assert (got.returncode == 0) == any(
        os.path.exists(f"{folder}/runc") for folder in wrappers.FOLDERS.split(":")
    )


def test_runtime_by_its_path_and_none_that_is_ours(installed: Node) -> None:
    """A link called runc that leads back to ours would call itself for ever."""
    other = installed.folder / "other/mine"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho mine\n")
    other.chmod(0o755)
    runtimes = f"{installed.toolkit}/nvidia-container-runtime,{other}"
    installed.install("--no-daemon", NVIDIA_CONTAINER_RUNTIME_RUNTIMES=runtimes)

    assert call(installed, RUNTIMES[0], "state", driver=False).stdout == "mine\n"


@pytest.mark.parametrize("driver", [False, True])
def test_no_process_is_started(driver: bool, installed: Node) -> None:
    words = ("state", "c1")
    config = installed.toolkit / wrappers.CONFIG
    os.utime(config, (1e9, 1e9))  # what has just been written is not relied on
    for _ in range(2):  # once to learn
        call(installed, RUNTIMES[0], *words, driver=driver)

    programs = processes(installed, RUNTIMES[0], *words, driver=driver)

    assert set(programs) == {"execve"}
    # strace itself, the runtime by busybox, runc by busybox.
    assert len(programs) <= 2


def test_driver_that_comes_later(installed: Node) -> None:
    """The same containers get their GPUs from then on, and nothing is restarted."""
    spec = builders.cdi_spec(builders.device("0", env=["GPU=zero"]))
    bundle, specs = installed.folder / "bundle", installed.folder / "cdi"
    for folder in (bundle, specs):
        folder.mkdir()
    (specs / "nvidia.json").write_text(builders.encode(spec).decode())
    config = installed.toolkit / wrappers.CONFIG
    text = config.read_text().replace('["/etc/cdi", "/var/run/cdi"]', f'["{specs}"]')
    config.write_text(text)
    document = builders.asking("nvidia.com/gpu=0")
    seen = []
    for driver in (False, True):
        (bundle / "config.json").write_text(builders.encode(document).decode())
        words = ("create", "--bundle", str(bundle), "c1")
        got = call(installed, RUNTIMES[1], *words, driver=driver)
        assert got.returncode == 7, got.stderr
        seen.append("GPU=zero" in (bundle / "config.json").read_text())

    assert seen == [False, True]


def test_another_launcher_is_refused() -> None:
    with pytest.raises(NvidiaRuntimeError, match="the launcher of this bundle is another one"):
        wrappers.texts("/t", "/l", "/s", "#!/bin/sh\nexec runc\n", ["runc"])


@pytest.mark.parametrize("name", [*RUNTIMES, *wrappers.HOOKS, wrappers.CDI_HOOK])
def test_text_is_that_of_a_shell(name: str, tmp_path: Path) -> None:
    launcher = (shim.TREE / "packaging/bin/nvidia-container-runtime").read_text()
    text = wrappers.texts("/t", "/l", "/s", launcher, ["runc", "/a b/c'd"])[name]

    assert text.startswith("#!/t/bin/busybox sh\n")
    assert "/t/bin/" + name in text
    (tmp_path / name).write_text(text)
    subprocess.run(["sh", "-n", tmp_path / name], check=True)
