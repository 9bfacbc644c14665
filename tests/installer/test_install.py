# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk install as a process: what it does, what it takes back, and what it refuses."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import shim
import waiting
from engines.files import listener

from nvidia_runtime.installer import readiness

from .node import DAEMON_JSON, PROGRAM, VERSION, Node, bundle, contents

pytestmark = shim.needs_root
RUNTIMES = {
    "nvidia": "nvidia-container-runtime",
    "nvidia-cdi": "nvidia-container-runtime.cdi",
    "nvidia-legacy": "nvidia-container-runtime.legacy",
}
PROGRAMS = {
    *RUNTIMES.values(),
    *("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-cdi-hook", "nvidia-ctk"),
    "nvidia-container-cli",
}


def settings(node: Node) -> dict[str, object]:
    file = node.toolkit / ".config/nvidia-container-runtime/config.toml"
    return tomllib.loads(file.read_text())


def test_all_is_there_and_engine_knows_it(node: Node) -> None:
    got = node.install("--no-daemon")

    assert got.code == 0, got.err
    assert re.fullmatch(rf"toolkit-{VERSION}-[0-9a-f]{{12}}", node.tree().name)
    assert {path.name for path in node.toolkit.iterdir()} >= PROGRAMS
    runtimes = node.document()["runtimes"]
    assert {name: entry["path"] for name, entry in runtimes.items()} == {
        name: f"{node.toolkit}/{program}" for name, program in RUNTIMES.items()
    }
    assert node.document()["default-runtime"] == "nvidia"
    assert node.document()["log-level"] == "info"
    assert not (node.run_folder / "toolkit.pid").exists()
    assert node.install("--probe").code == 0


def test_second_run_changes_nothing(node: Node) -> None:
    node.install("--no-daemon")
    before = contents(node.folder)

    got = node.install("--no-daemon")

    after = contents(node.folder)
    assert "wrote" not in got.err
    assert "writing" not in got.err
    ready = "run/toolkit.ready"  # has the new process id
    assert {name for name in before if before[name] != after.get(name)} <= {ready}


def test_configuration_is_the_toolkits(node: Node) -> None:
    (node.folder / "driver/sbin").mkdir(parents=True)
    (node.folder / "driver/sbin/ldconfig.real").touch()
    flags = ["--driver-root=/run/nvidia/driver", f"--driver-root-ctr-path={node.folder}/driver"]
    more = [
        "--nvidia-container-runtime.debug=/var/log/x",
        "--opt-in-features=ignore-imex-channel-requests",
    ]
    unprivileged = {"ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED": "false"}

    got = node.install("--no-daemon", *flags, *more, **unprivileged)

    assert got.code == 0, got.err
    document = settings(node)
    assert document["accept-nvidia-visible-devices-envvar-when-unprivileged"] is False
    assert document["accept-nvidia-visible-devices-as-volume-mounts"] is False
    assert document["nvidia-container-cli"]["root"] == "/run/nvidia/driver"  # type: ignore[index]
    ldconfig = document["nvidia-container-cli"]["ldconfig"]  # type: ignore[index]
    assert ldconfig == "@/run/nvidia/driver/sbin/ldconfig.real"
    assert document["nvidia-container-runtime"]["debug"] == "/var/log/x"  # type: ignore[index]
    assert document["nvidia-ctk"] == {"path": f"{node.toolkit}/nvidia-ctk"}
    assert document["nvidia-container-runtime-hook"] == {
        "path": f"{node.toolkit}/nvidia-container-runtime-hook",
        "skip-mode-detection": True,
    }
    assert document["features"] == {"ignore-imex-channel-requests": True}


def test_what_a_user_wrote_into_it_stays(node: Node) -> None:
    node.install("--no-daemon", "--nvidia-container-runtime.debug=/var/log/x")
    file = node.toolkit / ".config/nvidia-container-runtime/config.toml"
    text = file.read_text().replace('log-level = "info"', 'log-level = "debug" # mine')
    file.write_text(text)
    (node.source.parent / "two").mkdir(exist_ok=True)
    node.source = bundle(node.folder / "newer/bundle", "2.0")

    node.install("--no-daemon")

    assert "-2.0-" in node.tree().name
    text = file.read_text()
    assert 'log-level = "debug" # mine' in text
    assert '\n#debug = "/var/log/nvidia-container-runtime.log"\n' in text  # the flag has gone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_signal_takes_back_what_the_engine_was_told(number: int, node: Node) -> None:
    with node.installed(ending=number) as process:
        assert node.document()["default-runtime"] == "nvidia"
        assert (node.run_folder / "toolkit.pid").read_text() == f"{process.pid}\n"
        assert node.install("--probe").code == 0

    assert process.returncode == 0
    assert node.config.read_text() == DAEMON_JSON
    assert list(node.run_folder.iterdir()) == []
    assert (node.toolkit / "nvidia-container-runtime").exists()  # containers that run need it
    assert node.install("--probe").code == 1


def test_removal_leaves_nothing(node: Node) -> None:
    before = contents(node.folder)
    node.install("--no-daemon")

    got = node.install("--remove")

    assert got.code == 0, got.err
    shutil.rmtree(node.run_folder)
    assert contents(node.folder) == before


@pytest.mark.parametrize(
    "document",
    [
        {"engine": {"name": "another"}},
        {"engine": {"nam": "docker"}},
        {"engine": {"name": [], "config": 1, "drop_in": 2, "drop_in_there": 3, "mode": 4}},
        {"spec": [1, 2], "hook": [3, 4], "folders": [5], "aside": [6, 7, 8]},
    ],
)
def test_removal_with_a_record_that_cannot_be_used(document: dict[str, object], node: Node) -> None:
    node.install("--no-daemon")
    (node.local / ".toolkit-state/state.json").write_text(json.dumps(document))

    got = node.install("--remove")

    assert (got.code, "internal error" in got.err) == (0, False), got.err
    assert not node.toolkit.exists()


def test_probe_does_not_keep_an_installation_from_its_start(node: Node) -> None:
    """A probe looks at the lock that a killed installation has left."""
    node.run_folder.mkdir()
    with (node.run_folder / "toolkit.pid").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()

        with readiness.locked(f"{node.run_folder}/toolkit.pid"):
            timer.join()


def test_only_one_runs(node: Node) -> None:
    with node.installed():
        got = node.install("--no-daemon")

    where = f"unable to initialize: unable to get flock on pidfile: {node.run_folder}/toolkit.pid"
    assert got.code == 1
    assert got.err.splitlines()[0] == (f"nvidia-ctk: {where}: resource temporarily unavailable")


def test_killed_one_is_no_obstacle_and_all_is_taken_back(node: Node) -> None:
    with node.installed(ending=signal.SIGKILL):
        pass
    assert node.install("--probe").code == 1

    with node.installed():
        pass

    assert node.config.read_text() == DAEMON_JSON


def test_other_flags_take_back_what_the_earlier_ones_did(node: Node) -> None:
    node.install("--no-daemon")
    other = node.folder / "etc/other.json"
    other.write_text("{}\n")

    got = node.install("--no-daemon", f"--config={other}")

    assert got.code == 0, got.err
    assert node.config.read_text() == DAEMON_JSON
    assert "nvidia-cdi" in json.loads(other.read_text())["runtimes"]


def test_engine_is_left_alone_where_that_is_asked_for(node: Node) -> None:
    assert node.install("--no-daemon", NO_RUNTIME_CONFIG="true").code == 0

    assert node.config.read_text() == DAEMON_JSON


@pytest.mark.parametrize("name", ["nvidia-cdi", "special"])
def test_name_of_the_runtime(name: str, node: Node) -> None:
    assert node.install("--no-daemon", NVIDIA_RUNTIME_NAME=name).code == 0

    first = "nvidia" if name == "nvidia-cdi" else name
    assert set(node.document()["runtimes"]) == {first, "nvidia-cdi", "nvidia-legacy"}
    assert node.document()["default-runtime"] == name


def test_default_stays_where_that_is_asked_for(node: Node) -> None:
    assert node.install("--no-daemon", DOCKER_SET_AS_DEFAULT="false").code == 0

    assert "default-runtime" not in node.document()


def test_low_level_runtimes_are_the_engines(node: Node) -> None:
    document = {"default-runtime": "mine", "runtimes": {"mine": {"path": "/opt/mine"}}}
    node.config.write_text(json.dumps(document))

    node.install("--no-daemon")

    runtime = settings(node)["nvidia-container-runtime"]
    assert runtime["runtimes"] == ["/opt/mine", "runc", "crun"]  # type: ignore[index]
    node.install("--no-daemon")  # when the default is ours
    runtime = settings(node)["nvidia-container-runtime"]
    assert runtime["runtimes"][-2:] == ["runc", "crun"]  # type: ignore[index]


def test_signal_to_who_listens(node: Node) -> None:
    socket = node.folder / "docker.sock"
    node.flags[-1] = "--restart-mode=signal"
    with listener.running("dockerd", socket) as daemon:
        reloaded = Path(f"{socket}.reloaded")
        with node.installed(f"--socket={socket}"):
            waiting.eventually(reloaded.exists, "docker was told", daemon)
            reloaded.unlink()
        waiting.eventually(reloaded.exists, "docker was told again", daemon)
        reloaded.unlink()
        with node.installed(f"--socket={socket}", ending=signal.SIGKILL):
            waiting.eventually(reloaded.exists, "docker was told", daemon)
            reloaded.unlink()
        with node.installed(f"--socket={socket}"):
            assert not reloaded.exists()  # nothing has changed


def test_engine_that_was_not_told_is_told_by_the_next_run(node: Node) -> None:
    socket = node.folder / "docker.sock"
    node.install("--no-daemon")
    record = node.local / ".toolkit-state/state.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "unread": 1e11}))  # later than any daemon began
    node.flags[-1] = "--restart-mode=signal"

    with listener.running("dockerd", socket) as daemon:
        assert node.install("--no-daemon", f"--socket={socket}").code == 0

        waiting.eventually(Path(f"{socket}.reloaded").exists, "docker was told", daemon)
    assert json.loads(record.read_text())["unread"] == 0


def test_engine_that_was_not_told_is_told_before_the_tree_goes(node: Node) -> None:
    """An earlier run has put its file back, and was heard by nobody."""
    socket = node.folder / "docker.sock"
    node.install("--no-daemon")
    node.config.write_text(DAEMON_JSON)
    record = node.local / ".toolkit-state/state.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "unread": 1e11}))  # later than any daemon began
    node.flags[-1] = "--restart-mode=signal"

    with listener.running("dockerd", socket) as daemon:
        assert node.install("--remove", f"--socket={socket}").code == 0

        waiting.eventually(Path(f"{socket}.reloaded").exists, "docker was told", daemon)
    assert not node.toolkit.exists()


@pytest.mark.parametrize("text", ["{", '{"engine": {"name": "rkt"}}'], ids=["cut", "odd"])
def test_removal_without_a_record(node: Node, text: str) -> None:
    """The engine must not name a runtime that is gone: by the flags, it is found all the same."""
    node.install("--no-daemon")
    (node.local / ".toolkit-state/state.json").write_text(text)

    got = node.install("--remove")

    assert got.code == 0, got.err
    assert f"{node.local}/.toolkit-state/state.json cannot be used" in got.err
    assert node.config.read_text() == DAEMON_JSON
    assert not node.toolkit.exists()


@pytest.mark.parametrize("is_ours", [True, False], ids=["names us", "names others"])
def test_removal_where_the_engines_file_is_damaged(node: Node, *, is_ours: bool) -> None:
    """What was never told has nothing to forget; else the node could not be left."""
    if is_ours:
        node.install("--no-daemon")
    damaged = node.config.read_text() + "{"
    node.config.write_text(damaged)
    assert node.install("--no-daemon").code == 1

    got = node.install("--remove")

    assert got.code == int(is_ours), got.err
    assert ("it has nothing of ours, and stays" in got.err) == (not is_ours)
    assert node.config.read_text() == damaged
    assert node.toolkit.exists() == is_ours


def test_ready_file_that_is_none_stays(node: Node) -> None:
    """/dev/null was replaced, and removed at the end."""
    null = node.folder / "null"
    os.mknod(null, 0o020666, os.makedev(1, 3))

    got = node.install("--no-daemon", f"--ready-file={null}")

    assert got.code == 1
    assert f"{null}: is not a regular file" in got.err
    assert null.is_char_device()
    assert not node.toolkit.exists()


CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""


def containerd(node: Node) -> tuple[list[str | Path], Path, Path]:
    """Lay out a container of the operator's: return its flags, containerd's file, and the drop-in."""
    host = node.folder / "host"
    (host / "etc/containerd").mkdir(parents=True)
    (node.folder / "runtime").mkdir()
    (node.folder / "runtime/config-dir").symlink_to(host / "etc/containerd")
    (node.folder / "runtime/config-dir.d").symlink_to(host / "etc/containerd/conf.d")
    (host / "etc/containerd/config.toml").write_text(CONTAINERD)
    node.flags = [
        "--runtime=containerd",
        f"--host-root={host}",
        f"--config={node.folder}/runtime/config-dir/config.toml",
        f"--drop-in-config={node.folder}/runtime/config-dir.d/99-nvidia.toml",
        "--drop-in-config-host-path=/etc/containerd/conf.d/99-nvidia.toml",
        "--restart-mode=none",
    ]
    (host / "etc/containerd/conf.d").mkdir()
    return [], host / "etc/containerd/config.toml", host / "etc/containerd/conf.d/99-nvidia.toml"


def test_containerd_from_a_container(node: Node) -> None:
    _, file, drop_in = containerd(node)
    before = contents(node.folder / "host")
    with node.installed(RUNTIME_CONFIG_SOURCE="file", CDI_ENABLED="false", RUNTIME_ENABLE_CDI="1"):
        own = tomllib.loads(file.read_text())
        cri = tomllib.loads(drop_in.read_text())["plugins"]["io.containerd.grpc.v1.cri"]

        assert own["imports"] == ["/etc/containerd/conf.d/*.toml"]
        assert cri["enable_cdi"] is True
        assert cri["containerd"]["default_runtime_name"] == "nvidia"
        entry = cri["containerd"]["runtimes"]["nvidia-cdi"]
        program = f"{node.toolkit}/nvidia-container-runtime.cdi"
        assert entry["options"] == {"SystemdCgroup": True, "BinaryName": program}
        first = drop_in.read_text()

    assert contents(node.folder / "host") == before
    with node.installed(RUNTIME_CONFIG_SOURCE="file", RUNTIME_ENABLE_CDI="1"):
        assert drop_in.read_text() == first
        assert node.install("--probe").code == 0


def test_signal_ends_the_wait_for_an_engine(node: Node) -> None:
    """containerd ends at the signal, and does not come back: its file must not wait for that."""
    containerd(node)
    node.flags[-1] = "--restart-mode=signal"
    before, socket = contents(node.folder / "host"), node.folder / "c.sock"
    words = node.words(f"--socket={socket}")
    with listener.running("containerd", socket) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stderr=subprocess.PIPE,
            text=True,
            env=node.environment(RUNTIME_CONFIG_SOURCE="file"),
        )
        waiting.eventually(Path(f"{socket}.reloaded").exists, "containerd was told", process)
        assert contents(node.folder / "host") != before
        process.terminate()
        waiting.eventually(
            lambda: contents(node.folder / "host") == before, "the file is put back", process
        )
        daemon.kill()
    with listener.running("containerd", socket):
        said = process.communicate(timeout=waiting.PATIENCE)[1]

    assert (process.returncode, "ending: SIGTERM" in said) == (0, True), said


def test_containerd_reads_annotations_and_imports_of_its_host(node: Node) -> None:
    _, file, drop_in = containerd(node)
    file.write_text('version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n')
    drop_in.with_name("10-crun.toml").write_text(
        CONTAINERD.replace("runc]", "crun]").replace("runc.options", "crun.options")
    )
    prefixes = {"NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES": "cdi.k8s.io/,a/"}

    got = node.install("--no-daemon", RUNTIME_CONFIG_SOURCE="file", **prefixes)

    assert got.code == 0, got.err
    assert file.read_text().count("imports") == 1
    cri = tomllib.loads(drop_in.read_text())["plugins"]["io.containerd.grpc.v1.cri"]
    entry = cri["containerd"]["runtimes"]["nvidia"]
    assert entry["options"]["SystemdCgroup"] is True
    assert entry["container_annotations"] == ["cdi.k8s.io/*", "a/*"]
    runtime = settings(node)["nvidia-container-runtime"]
    assert runtime["modes"]["cdi"]["annotation-prefixes"] == ["cdi.k8s.io/", "a/"]  # type: ignore[index]


def test_hook_mode_of_crio(node: Node) -> None:
    hooks = node.folder / "hooks.d"
    node.flags = ["--runtime=crio", f"--config={node.folder}/etc/crio.conf", "--restart-mode=none"]
    with node.installed(CRIO_CONFIG_MODE="hook", CRIO_HOOKS_DIR=str(hooks)):
        document = json.loads((hooks / "oci-nvidia-hook.json").read_text())

        assert document["hook"]["path"] == f"{node.toolkit}/nvidia-container-runtime-hook"
        assert not (node.folder / "etc/crio.conf.d").exists()
    assert list(hooks.iterdir()) == []


def test_names_of_it(node: Node) -> None:
    for name in ("nvidia-ctk-installer", "nvidia-toolkit"):
        code = f"import sys; sys.argv[0] = '/x/{name}'; {PROGRAM}"
        argv = [sys.executable, "-c", code, "--runtime=x", str(node.local)]
        got = subprocess.run(
            argv, capture_output=True, text=True, check=False, env=node.environment()
        )

        assert got.returncode == 1
        assert 'invalid runtime "x"; expected one of [containerd | crio | docker]' in got.stderr


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "--runtime=podman",
            'invalid runtime "podman"; expected one of [containerd | crio | docker]',
        ),
        ("--pid-file=/x/y", "invalid toolkit.pid path /x/y"),
        (
            "--enable-nri-plugin",
            "the NRI namespace must be specified when the NRI plugin is enabled",
        ),
        ("--nri-plugin-index=100", "nri-plugin-index must be in the range [0,99]"),
        ("--cdi-kind=/gpu", "invalid --cdi-kind value: '/gpu'"),
        ("--create-device-nodes=foo", "invalid --create-device-nodes value: foo"),
        ("--config-mode=foo", 'invalid cri-o config: invalid cri-o config mode: "foo"'),
        ("--toolkit-package-type=zip", "failed to resolve source root: invalid package type: zip"),
        ("--toolkit-install-dir=", "the install root must be specified"),
        ("--toolkit-install-dir=here", "the install root must be an absolute path, not 'here'"),
        ("--runtime-name=", "invalid --runtime-name value: ''"),
        ("--runtime-name=a\nb", "invalid --runtime-name value: 'a\\nb'"),
        ("--restart-mode=soon", 'invalid --restart-mode value: "soon"'),
        ("--config-source=hope", 'invalid --config-source value: "hope"'),
        ("--toolkit-source-root=/nowhere", "/nowhere: is no bundle to install from"),
        ("--toolkit-source-root=", "this program is not in a bundle"),
        ("--no-such-flag", "unknown flag --no-such-flag"),
        ("--no-daemon=perhaps", "--no-daemon: must be true or false, not 'perhaps'"),
    ],
)
def test_what_is_refused(flag: str, said: str, node: Node) -> None:
    before = contents(node.folder)

    got = node.install("--no-daemon", flag)

    assert (got.code, got.err.splitlines()[0]) == (1, f"nvidia-ctk: {said}")
    assert contents(node.folder) == before


def test_broken_file_of_the_engine(node: Node) -> None:
    node.config.write_text("{")

    got = node.install("--no-daemon")

    assert got.code == 1
    assert f"nvidia-ctk: {node.config}" in got.err
    assert node.config.read_text() == "{"


def test_place_that_is_read_only(node: Node) -> None:
    node.local.mkdir()
    script = 'mount -t tmpfs -o ro tmpfs "$1" && shift && exec "$@"'
    argv = [sys.executable, "-c", PROGRAM, *node.words("--no-daemon")]
    got = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", node.local, *argv],
        capture_output=True,
        text=True,
        check=False,
        env=node.environment(),
    )

    assert got.returncode == 1
    assert got.stderr.splitlines()[-2:] == [
        f"nvidia-ctk: {node.local}/.toolkit-state: cannot be written: read-only file system",
        "hint: mount --toolkit-install-dir where it can be written",
    ]
    assert node.config.read_text() == DAEMON_JSON
    assert os.listdir(node.local) == []
