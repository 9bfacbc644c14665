# SPDX-License-Identifier: Apache-2.0
"""Legacy mode with real engines: the prestart hook and the nvidia-container-cli that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import waiting
from cli import ctk

from . import cgroups, legacy_cli, processes
from . import docker as dockers
from .bundles import Bundles, await_exit
from .docker import Docker
from .installed import require
from .legacy_cli import LDCONFIG, Call, Cli
from .machine import Machine
from .podman import Podman
from .rootfs import IMAGE

Live = Docker | Podman | Bundles
ENGINES = ("runc_v1", "runc_v2", "crun_v1", "docker", "podman")
ALL = {"NVIDIA_VISIBLE_DEVICES": "all"}
BOTH = {"NVIDIA_VISIBLE_DEVICES": "0,1", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
VIDEO = {"NVIDIA_VISIBLE_DEVICES": "1", "NVIDIA_DRIVER_CAPABILITIES": "video"}
VOID = {"NVIDIA_VISIBLE_DEVICES": "void"}
CONFIGURE = ["--load-kmods", "configure", "--cuda-compat-mode=ldconfig", f"--ldconfig={LDCONFIG}"]
OF_ALL = [*CONFIGURE, "--device=all", "--compute", "--utility"]
SHOW = "for kind in pid mnt; do busybox readlink /proc/self/ns/$kind; done; cat /proc/self/cgroup"
LOOK = ("sh", "-c", f"cat {legacy_cli.INJECTED}; {SHOW}")
TIMEOUT = "timeout = 1"
OF_SHELLS = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})  # what some set, whoever asks

WAITS = pytest.mark.parametrize(
    "lines", [pytest.param((), id="for ever"), pytest.param(("timeout = 30",), id="with timeout")]
)


@pytest.fixture(scope="module")
def cli(machine: Machine, busybox: str) -> Cli:
    """Build the nvidia-container-cli; find the hook under test."""
    hook = machine.shim.parent / legacy_cli.HOOK
    assert os.access(hook, os.X_OK), f"no hook under test: {hook}; set NVCR_BIN"
    cli = Cli(folder=machine.scratch / "legacy", hook=hook)
    cli.build(busybox)
    return cli


@pytest.fixture(autouse=True)
def forgetful(cli: Cli) -> Iterator[None]:
    """Begin without calls; see that no process of one stays."""
    cli.reset()
    yield
    left = [pid for pid in cli.processes() if legacy_cli.is_alive(pid)]
    for pid in left:
        os.kill(pid, 9)
    assert left == []


@pytest.fixture(scope="module")
def live_gpu_docker(
    machine: Machine,
    cli: Cli,
    image: Path,
    containerd_socket: Path,
    group: str,
    daemon_env: dict[str, str],
) -> Iterator[Docker]:
    """Run a dockerd that knows --gpus: at its start it finds the hook in PATH, and the CLI.

    Containers of --gpus get the daemon's environment for their hook, so this one needs no wrapper.
    """
    require("dockerd")
    require("docker")
    runtime = machine.runtime("gpu-docker", require("runc"))
    path = f"{cli.path.parent}:{cli.hook.parent}:{os.environ['PATH']}"
    config = os.fspath(runtime.path.parent / "config.toml")
    with dockers.daemon(
        machine.scratch / "g",
        containerd=containerd_socket,
        group=group,
        runtimes={"nvidia": runtime.path},
        env={**daemon_env, "PATH": path, "NVIDIA_CTK_CONFIG_FILE_PATH": config},
    ) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        live = Docker(docker=client, runtime=runtime, debug_runtime=runtime)
        yield live
        live.clean()


@pytest.fixture
def gpu_docker(live_gpu_docker: Docker) -> Iterator[Docker]:
    """Return that docker without containers, whatever the test before did."""
    yield live_gpu_docker
    live_gpu_docker.clean()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Live]:
    """Take each engine in turn."""
    name = "live_gpu_docker" if request.param == "docker" else f"live_{request.param}"
    live: Live = request.getfixturevalue(name)
    yield live
    live.clean()


@pytest.fixture(params=["runc_v1", "crun_v1"])
def bundles(request: pytest.FixtureRequest) -> Iterator[Bundles]:
    """Take runc and crun."""
    live: Bundles = request.getfixturevalue(f"live_{request.param}")
    yield live
    live.clean()


@pytest.fixture
def podman(live_podman: Podman) -> Iterator[Podman]:
    """Return podman without containers, whatever the test before did."""
    yield live_podman
    live_podman.clean()


def run(engine: Live, *command: str, asked: Mapping[str, str]) -> CompletedProcess[str]:
    """Run a container with some variables to its end and remove it."""
    options = (*legacy_cli.variables(asked), "--rm")
    if isinstance(engine, Docker):
        words = (*engine.run_words(None, "nvidia"), *options, IMAGE, *command)
        return processes.run(words)
    if isinstance(engine, Podman):
        words = (*engine.podman(engine.runtime), "run", *engine.run_words(None), *options)
        return processes.run([*words, "--rootfs", engine.root(), *command], env=engine.env)
    return run_bundle(engine, command, lambda spec: ask(spec, asked))


def run_bundle(
    bundles: Bundles, command: tuple[str, ...], change: Callable[[dict[str, Any]], None]
) -> CompletedProcess[str]:
    """Run a bundle whose config.json was changed."""
    words = bundles.words(bundles.runtime)
    bundle = bundles.bundle(command, None)
    document = json.loads((bundle / "config.json").read_text())
    change(document)
    (bundle / "config.json").write_text(json.dumps(document))
    code = bundles.create(bundle, words)
    if code == 0:
        container = bundles.begin(bundle, words)
        code = await_exit(container.pid)
        container.remove()
    said, errors = (bundle / "stdout").read_text(), (bundle / "stderr").read_text()
    return CompletedProcess(words, code, said, errors)


def ask(spec: dict[str, Any], asked: Mapping[str, str]) -> None:
    """Set variables of a container."""
    spec["process"]["env"] += [f"{name}={value}" for name, value in asked.items()]


def only_call(cli: Cli) -> Call:
    """Return the call, of which there must be one."""
    calls = cli.calls()
    assert len(calls) == 1
    return calls[0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(BOTH, ["--device=0,1", "--compute", "--utility"], id="0,1"),
        pytest.param(VIDEO, ["--device=1", "--video"], id="video of 1"),
    ],
)
def test_command_line(
    asked: Mapping[str, str], expected: list[str], engine: Live, cli: Cli
) -> None:
    with cli.legacy(engine.runtime):
        done = run(engine, "sh", "-c", "exit 42", asked=asked)

    assert done.returncode == 42, done.stderr
    call = only_call(cli)
    assert call.argv[:-2] == [os.fspath(cli.path), *CONFIGURE, *expected]
    assert call.argv[-2] == f"--pid={call.pid}"
    assert call.environment["NVCR_TEST"] == "of config.toml"


def test_driver_arrives_before_the_container_starts(
    engine: Live, cli: Cli, machine: Machine, group: str
) -> None:
    """As the real CLI does: from the host, through the pid and the root file system it is given."""
    cli.reset(legacy_cli.INJECT)
    with cli.legacy(engine.runtime):
        done = run(engine, *LOOK, asked=ALL)

    assert (done.returncode, done.stderr) == (0, "")
    injected, pid, mnt, *seen = done.stdout.splitlines()
    call = only_call(cli)
    assert call.argv[:-2] == [os.fspath(cli.path), *OF_ALL]
    container, own, host = call.container.namespaces, call.own.namespaces, legacy_cli.namespaces()
    assert injected == "yes"
    assert (container["pid"], container["mnt"]) == (pid, mnt)
    assert call.container.pids == [call.pid, 1]
    assert call.root.is_absolute()
    assert call.root.is_relative_to(machine.scratch)
    assert any(name.startswith(f"/{group}/") for name in call.container.cgroups)
    assert call.own.cgroups != call.container.cgroups
    if container["cgroup"] == host["cgroup"]:
        assert [row.split(":", 2)[2] for row in seen] == call.container.cgroups
    if isinstance(engine, Bundles) and engine.enter:
        host["mnt"] = own["mnt"]  # the view of the control groups is a namespace of our own making
    assert own == host
    assert own["mnt"] != mnt


@pytest.mark.parametrize("asked", [pytest.param({}, id="unset"), pytest.param(VOID, id="void")])
def test_container_without_gpus(asked: Mapping[str, str], engine: Live, cli: Cli) -> None:
    with cli.legacy(engine.runtime):
        done = run(engine, "sh", "-c", "exit 42", asked=asked)

    assert (done.returncode, cli.calls()) == (42, []), done.stderr


def test_failing_cli(engine: Live, cli: Cli) -> None:
    """Why the CLI failed is in the engine's own error, but crun's, which drops what hooks say."""
    cli.reset(legacy_cli.FAIL)
    with cli.legacy(engine.runtime):
        done = run(engine, "sh", "-c", "echo started", asked=ALL)

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert says(engine, done, legacy_cli.COMPLAINT), done.stderr
    assert len(cli.calls()) == 1
    assert engine.containers() == []


def test_hanging_cli(engine: Live, cli: Cli) -> None:
    """With a timeout, a CLI that ignores SIGTERM is ended, and its children, which hold pipes."""
    cli.reset(legacy_cli.HANG)
    with cli.legacy(engine.runtime, TIMEOUT):
        done = run(engine, "sh", "-c", "echo started", asked=ALL)

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert says(engine, done, f"{legacy_cli.HOOK}.timeout"), done.stderr
    assert len(cli.processes()) == 2
    assert [pid for pid in cli.processes() if legacy_cli.is_alive(pid)] == []
    assert engine.containers() == []


@pytest.fixture
def freezer() -> Iterator[Path]:
    """Return a control group of v1's freezer that ends with what is in it."""
    hierarchy = cgroups.ROOT / "freezer"
    if cgroups.mounts().get(os.fspath(hierarchy)) != "cgroup":
        pytest.skip(f"no cgroup v1 freezer is mounted at {hierarchy}")
    group = hierarchy / f"nvcr-{os.getpid()}-frozen"
    group.mkdir()

    def end() -> None:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        (group / "freezer.state").write_text("THAWED\n")

    # A hook that waits fails the test, but not the engine.
    timer = threading.Timer(waiting.PATIENCE / 2, end)
    timer.start()
    yield group
    timer.cancel()
    end()
    waiting.eventually(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
    group.rmdir()


@pytest.mark.parametrize("name", ["live_runc_v1", "live_crun_v1", "live_gpu_docker"])
def test_cli_that_cannot_be_killed(
    name: str, request: pytest.FixtureRequest, cli: Cli, freezer: Path
) -> None:
    """One that waits in the driver must not make the engine wait, by its pipes or as our child."""
    engine: Live = request.getfixturevalue(name)
    cli.reset(legacy_cli.FREEZE.format(group=freezer))
    with cli.legacy(engine.runtime, TIMEOUT):
        done = run(engine, "sh", "-c", "echo started", asked=ALL)

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert says(engine, done, "it hangs in the kernel"), done.stderr
    assert [pid for pid in cli.processes() if legacy_cli.is_alive(pid)] != []
    assert engine.containers() == []


def says(engine: Live, done: CompletedProcess[str], what: str) -> bool:
    """Whether an engine hands on what a hook said; crun says that one failed, and which."""
    is_crun = isinstance(engine, Bundles) and engine.folder.name.startswith("crun")
    return (f"{legacy_cli.HOOK}`" if is_crun else what) in done.stderr


def test_cli_that_is_not_installed(bundles: Bundles, cli: Cli) -> None:
    cli.path.rename(cli.path.with_suffix(".away"))
    try:
        with cli.legacy(bundles.runtime):
            done = run(bundles, "sh", "-c", "echo started", asked=ALL)
    finally:
        cli.path.with_suffix(".away").rename(cli.path)

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert says(bundles, done, os.fspath(cli.path)), done.stderr
    assert bundles.containers() == []


def test_hook_that_is_there_is_not_added_again(bundles: Bundles, cli: Cli) -> None:
    """As docker's --gpus and hooks.d leave it."""
    with cli.legacy(bundles.runtime) as hook:
        there = {"prestart": [{"path": os.fspath(hook), "args": [hook.name, "prestart"]}]}

        def change(spec: dict[str, Any]) -> None:
            ask(spec, ALL)
            spec["hooks"] = there

        done = run_bundle(bundles, ("sh", "-c", "exit 42"), change)

    assert done.returncode == 42, done.stderr
    assert only_call(cli).argv[-2].startswith("--pid=")


@pytest.mark.parametrize("runtime", ["runc", "nvidia"])
def test_gpus_of_docker(runtime: str, gpu_docker: Docker, cli: Cli) -> None:
    """The daemon adds the hook itself; our runtime, if it is there, sees that and adds none."""
    options = ("--gpus", '"device=0,1"', "--rm")
    with cli.legacy(gpu_docker.runtime):
        words = (*gpu_docker.run_words(None, runtime), *options, IMAGE, "sh", "-c", "exit 42")
        done = processes.run(words)

    assert done.returncode == 42, done.stderr
    assert only_call(cli).argv[:-2] == [
        os.fspath(cli.path), *CONFIGURE, "--device=0,1", "--compute", "--utility"
    ]  # fmt: skip


def test_gpus_of_docker_in_another_mode(gpu_docker: Docker, cli: Cli) -> None:
    """The hook injects in legacy mode only, and its advice reaches the user."""
    with cli.legacy(gpu_docker.runtime, mode="cdi"):
        words = (*gpu_docker.run_words(None, "runc"), "--gpus", "all", "--rm", IMAGE, "true")
        done = processes.run(words)

    assert (done.returncode, cli.calls()) == (125, [])
    assert "--runtime=nvidia" in done.stderr


def write_hook_file(machine: Machine, cli: Cli, *lines: str) -> Path:
    """Let nvidia-ctk write a hook file, into a folder with the settings that its hook reads."""
    folder = machine.scratch / "hooks.d"
    config = folder / "config.toml"
    hook = cli.write_hook(folder, config)
    machine.write_config(config, require("runc"))
    text = config.read_text().replace('mode = "cdi"', 'mode = "legacy"')
    config.write_text(text + cli.settings(hook, *lines))
    file = folder / "nvidia.json"
    flags = (f"--oci-hook-path={file}", f"--nvidia-runtime-hook-path={hook}")
    wrote = ctk.run("--quiet", "runtime", "configure", "--config-mode=oci-hook", *flags)
    assert wrote == ctk.Ended(0, "", "")
    return file


@pytest.mark.parametrize("low_level", ["runc", "crun", "nvidia"])
def test_hooks_dir_of_podman(low_level: str, podman: Podman, machine: Machine, cli: Cli) -> None:
    """Without our runtime; and with it, which adds no second hook."""
    cli.reset(legacy_cli.INJECT)
    program = os.fspath(podman.runtime.path) if low_level == "nvidia" else require(low_level)
    file = write_hook_file(machine, cli)
    with cli.legacy(podman.runtime):
        done = run_podman(podman, file, program, *LOOK)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("yes\n")
    call = only_call(cli)
    assert call.argv[:-2] == [os.fspath(cli.path), *OF_ALL]
    assert call.container.pids == [call.pid, 1]


def test_failing_cli_by_hooks_dir_of_podman(podman: Podman, machine: Machine, cli: Cli) -> None:
    cli.reset(legacy_cli.FAIL)
    file = write_hook_file(machine, cli)
    done = run_podman(podman, file, require("runc"), "sh", "-c", "echo started")

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert legacy_cli.COMPLAINT in done.stderr
    assert podman.containers() == []


@WAITS
def test_engine_that_kills_the_hook(
    lines: Sequence[str], podman: Podman, machine: Machine, cli: Cli
) -> None:
    """By `timeout` of the hook file, which is runc's to hold: the CLI ends with the hook."""
    cli.reset(legacy_cli.SLEEP)
    file = write_hook_file(machine, cli, *lines)
    document = json.loads(file.read_text())
    document["hook"]["timeout"] = 1
    file.write_text(json.dumps(document))
    done = run_podman(podman, file, require("runc"), "sh", "-c", "echo started")

    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "hook ran past specified timeout" in done.stderr
    assert len(cli.processes()) == 1
    assert [pid for pid in cli.processes() if legacy_cli.is_alive(pid)] == []
    assert podman.containers() == []


def run_podman(podman: Podman, file: Path, program: str, *command: str) -> CompletedProcess[str]:
    """Run a container of podman by another runtime, with a folder of hooks."""
    is_crun = program.endswith("/crun")  # it refuses control groups of both versions at once
    enter = cgroups.enter(cgroups.usual(), "crun") if is_crun else ()
    words = (*enter, *podman.podman(podman.runtime)[:-1], program)
    head = (*words, "--hooks-dir", os.fspath(file.parent))
    words = (*head, "run", *podman.run_words("all"), "--rm", "--rootfs", podman.root(), *command)
    return processes.run(words, env=podman.env)


@pytest.fixture
def asking_bundle(tmp_path: Path) -> Path:
    """Make a bundle that asks for the first GPU; its root is a relative path."""
    (tmp_path / "rootfs").mkdir()
    spec = {"ociVersion": "1.0.2", "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]}}
    (tmp_path / "config.json").write_text(json.dumps({**spec, "root": {"path": "rootfs"}}))
    return tmp_path


def call_hook(hook: dict[str, Any], bundle: Path) -> CompletedProcess[str]:
    """Call a hook as cri-o lets runc do: these words, that environment, the state on stdin."""
    state = {"ociVersion": "1.0.2", "id": "c", "pid": os.getpid(), "bundle": os.fspath(bundle)}
    return subprocess.run(
        hook["args"],
        executable=hook["path"],
        env=dict(entry.split("=", 1) for entry in hook["env"]),
        input=json.dumps(state),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE,
        check=False,
    )


@WAITS
def test_hook_file(lines: Sequence[str], machine: Machine, cli: Cli, asking_bundle: Path) -> None:
    """Nothing of ours shows in the CLI: environment, folder and signals are as the engine's."""
    processes.succeed([os.fspath(cli.path)])
    directly = only_call(cli).signals
    cli.reset()
    file = write_hook_file(machine, cli, *lines)
    hook = json.loads(file.read_text())["hook"]
    done = call_hook(hook, asking_bundle)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    call = only_call(cli)
    assert call.argv == [
        os.fspath(cli.path), *CONFIGURE, "--device=0", "--compute", "--utility",
        f"--pid={os.getpid()}", f"{asking_bundle}/rootfs",
    ]  # fmt: skip
    given = {name: value for name, value in call.environment.items() if name not in OF_SHELLS}
    assert given == {
        "PATH": hook["env"][0].removeprefix("PATH="),
        "NVIDIA_CTK_CONFIG_FILE_PATH": os.fspath(file.parent / "config.toml"),
        "NVCR_TEST": "of config.toml",
    }
    assert call.cwd == "/"
    assert call.signals == directly


@WAITS
def test_exit_code_of_the_cli_is_the_hooks(
    lines: Sequence[str], machine: Machine, cli: Cli, asking_bundle: Path
) -> None:
    cli.reset("echo said; echo wrong >&2; exit 7")
    file = write_hook_file(machine, cli, *lines)
    done = call_hook(json.loads(file.read_text())["hook"], asking_bundle)

    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "wrong\n")
