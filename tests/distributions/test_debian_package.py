# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built as by ``make deb``, and installed, used and removed in a Debian."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import waiting
from engines import bundles
from simulated import need_root

from . import foreign, hosts, images, toolkit_packages
from .hosts import Host

TREE = Path(__file__).resolve().parents[2]
NAME = "nvidia-container-runtime-py"
BUILD = TREE / "packaging/debian/build"
PACKAGE = "/usr/lib/python3/dist-packages/nvidia_runtime"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
CLI = "nvidia-container-cli"
LAUNCHERS = sorted({path.name for path in (TREE / "packaging/bin").iterdir()} - {CLI})
OURS = f"../libexec/nvidia-container-runtime/{CLI}"
# What only recommended python3-pyroute2 is for, and what is said without it.
LISTEN = """
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.watch import uevents
try:
    uevents.Listener()
except NvidiaRuntimeError as error:
    print(error.hint)
"""
# What users wrote, and not as a program would: indented, commented, in other places.
ENGINES = {
    "docker": ("/etc/docker/daemon.json", '{\n\t"log-level":"warn" }\n'),
    "containerd": (
        "/etc/containerd/config.toml",
        "# mine\nversion = 2\n\n[debug]\n  level='warn'\n",
    ),
    "crio": ("", ""),
    "podman": ("/etc/containers/containers.conf", "[engine] # mine\nevents_logger = 'file'\n"),
}


def build(folder: Path, version: str = "") -> Path:
    """Build the package, of a version of one's own."""
    for program, package in (("dh", "debhelper"), ("dh_python3", "dh-python")):
        images.need(program, package)
    if not (TREE / ".git").exists():
        pytest.skip("needs a git checkout: the package is built from what is committed")
    done = subprocess.run(
        [BUILD, folder],
        env={**os.environ, "VERSION": version},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package."""
    return build(tmp_path_factory.mktemp("deb") / "out")


@contextmanager
def debian(suite: str, folder: Path, *debs: Path) -> Iterator[Host]:
    """Keep a Debian that has what the package needs; packages are in its shared folder."""
    need_root()
    below = hosts.base(suite, "package", hosts.NEEDS)
    share = folder / "share"
    share.mkdir()
    for file in debs:
        shutil.copy2(file, share)
    with hosts.started(below, share) as host:
        yield host


def install(host: Host, *debs: Path) -> None:
    """Install packages as a person does, by apt."""
    words = ("apt-get", "install", "--yes", "--no-install-recommends", "--allow-downgrades")
    host.succeed(*words, *(host.shared(file.name) for file in debs))


def write_engines(host: Host) -> None:
    """Write the files of engines that are there before us."""
    for path, text in filter(lambda pair: pair[0], ENGINES.values()):
        host.path(path).parent.mkdir(parents=True, exist_ok=True)
        host.path(path).write_text(text)


def configure(host: Host) -> None:
    """Tell all engines of our runtime."""
    for engine in ENGINES:
        host.succeed("nvidia-ctk", "runtime", "configure", f"--runtime={engine}")
    assert "nvidia-container-runtime" in host.path(ENGINES["docker"][0]).read_text()


@pytest.mark.skipif(not shutil.which("lintian"), reason="needs lintian")
def test_lintian_has_nothing_to_say(deb: Path) -> None:
    words = ["lintian", "--allow-root", "--tag-display-limit=0", "--fail-on=warning,info", str(deb)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "suite",
    ["bookworm", *(pytest.param(suite, marks=pytest.mark.long) for suite in ("trixie", "sid"))],
)
def test_life_of_the_package(suite: str, deb: Path, tmp_path: Path) -> None:
    """From the installation to a purge, after which there is what was before, byte for byte."""
    with debian(suite, tmp_path, deb) as host:
        write_engines(host)
        before = host.listing()
        install(host, deb)
        installed(host)
        configure(host)
        shutil.copy2(TREE / "packaging/debian/tests/container", host.share)
        assert "\n/dev/nvidia0\n" in host.succeed(host.shared("container"))
        host.succeed("apt-get", "remove", "--yes", NAME)
        assert "nvidia-container-runtime" in host.path(ENGINES["docker"][0]).read_text()
        assert not host.path(PACKAGE).exists()
        host.succeed("apt-get", "purge", "--yes", NAME)
        after = host.listing()
        for path, text in filter(lambda pair: pair[0], ENGINES.values()):
            assert host.path(path).read_text() == text
            before[path] = after[path]  # but for its time
        assert after == before


def tag(host: Host) -> str:
    """Name the interpreter that is there, as compiled files do."""
    said = host.succeed("/usr/bin/python3", "-c", "import sys; print(sys.implementation.cache_tag)")
    return said.strip()


def compiled(host: Host, tag: str) -> set[str]:
    """List what is compiled for an interpreter."""
    files = host.path(f"{PACKAGE}/__pycache__").glob(f"*.{tag}.pyc")
    return {file.name.partition(".")[0] for file in files}


def installed(host: Host) -> None:
    """See that all is in its place, compiled for the interpreter that is there."""
    assert {"hot_path", "start", "runtime"} <= compiled(host, tag(host))
    assert "[nvidia-container-runtime]" in host.path(CONFIG).read_text()
    for name in LAUNCHERS:
        file = host.path(f"/usr/bin/{name}")
        assert file.read_bytes() == (TREE / "packaging/bin/nvidia-container-runtime").read_bytes()
        assert not file.is_symlink()
    said = host.succeed("nvidia-container-runtime", "--version")
    assert said.startswith("NVIDIA Container Runtime version")
    assert os.readlink(host.path(f"/usr/bin/{CLI}")) == OURS
    for program in (CLI, f"/usr/libexec/nvidia-container-runtime/{CLI}"):
        assert host.succeed(program, "--version").startswith("cli-version: ")
    said = host.succeed("/usr/bin/python3", "-I", "-c", LISTEN)
    assert said.startswith("apt-get install python3-pyroute2")


EDITED = {
    CONFIG: '# mine\n[nvidia-container-runtime]\nlog-level = "warn"\n',
    toolkit_packages.ENVIRONMENT: "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/etc/cdi/mine.yaml\n",
    # By NVIDIA's configure.
    ENGINES["docker"][0]: '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
}


def states(host: Host) -> dict[str, str]:
    """Return what dpkg knows of packages of the toolkit's: installed, or config-files of it."""
    said = host.succeed("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n")
    rows = [line.split() for line in said.splitlines()]
    names = (NAME, *toolkit_packages.REPLACED, *toolkit_packages.KEPT)
    return {row[0]: row[1] for row in rows if row[0] in names and row[1] != "not-installed"}


def texts(host: Host) -> dict[str, str]:
    """Read what the user has edited."""
    return {path: host.path(path).read_text() for path in EDITED}


@pytest.mark.parametrize("program", ["apt", pytest.param("dpkg", marks=pytest.mark.long)])
def test_over_the_packages_of_nvidia_and_back(program: str, deb: Path, tmp_path: Path) -> None:
    theirs = toolkit_packages.build(tmp_path)
    tools, replaced = toolkit_packages.KEPT, toolkit_packages.REPLACED
    with debian("bookworm", tmp_path, deb, *theirs) as host:
        install(host, *theirs)
        host.succeed("apt-mark", "auto", *tools)
        for path, text in EDITED.items():
            host.path(path).parent.mkdir(exist_ok=True)
            host.path(path).write_text(text)

        change(host, program, deb)
        assert states(host)[NAME] == "installed"
        assert {states(host).get(name, "") for name in replaced} <= {"config-files", ""}
        assert {states(host)[name] for name in tools} == {"installed"}
        assert texts(host) == EDITED
        assert ours(host)
        assert "libnvidia" not in host.succeed("apt-get", "autoremove", "--dry-run")
        give_way(host, *(file for file in theirs if "libnvidia" in file.name))
        host.succeed("nvidia-ctk", "runtime", "configure", "--runtime=containerd")
        told = host.path(ENGINES["containerd"][0]).read_text()
        # What they left may go without a trace in what is ours.
        host.succeed("dpkg", "--purge", toolkit_packages.TOOLKIT)
        assert ours(host)

        back = [file for file in theirs if "libnvidia" not in file.name]
        if program == "dpkg":  # theirs do not say that they replace ours
            host.succeed("dpkg", "--remove", NAME)
        change(host, program, *back)
        assert states(host) == {
            NAME: "config-files",
            **dict.fromkeys((*replaced, *tools), "installed"),
        }
        said = host.succeed("dpkg", "--purge", NAME)
        assert "another package has taken over" in said
        assert texts(host) == EDITED
        assert host.path(ENGINES["containerd"][0]).read_text() == told
        for path, text in [
            pair for files in toolkit_packages.FILES.values() for pair in files.items()
        ]:
            assert path in EDITED or host.path(path).read_text() == text
        assert host.sh("readlink /usr/bin/nvidia-container-toolkit").startswith("/usr/bin/")


def give_way(host: Host, *debs: Path) -> None:
    """See that ours has the name only while nobody else has it, whoever comes and goes."""
    file = host.path(f"/usr/bin/{CLI}")
    for _ in range(2):
        assert file.read_text() == toolkit_packages.THEIRS
        host.succeed("dpkg", "--remove", *toolkit_packages.KEPT)
        assert os.readlink(file) == OURS
        install(host, *debs)
        host.succeed("apt-mark", "auto", *toolkit_packages.KEPT)


def change(host: Host, program: str, *debs: Path) -> None:
    """Install packages in the place of others, by one of Debian's programs."""
    if program == "apt":
        install(host, *debs)
    else:
        files = [host.shared(file.name) for file in debs]
        host.succeed("dpkg", "--install", "--auto-deconfigure", *files)


def ours(host: Host) -> bool:
    """Whether each file of our package is there and is what was in it."""
    said = host.run("dpkg", "--verify", NAME)
    return (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.long
def test_the_same_commit_makes_the_same_bytes(
    deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, zone and language, with another umask."""
    for name, value in {"TZ": "Pacific/Chatham", "LC_ALL": "C", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        again = build(tmp_path / "a longer name for a folder")
    finally:
        os.umask(before)

    assert again.name == deb.name
    assert again.read_bytes() == deb.read_bytes()


def other_version(deb: Path, folder: Path) -> Path:
    """Make the package as a later version that writes its files in other formats."""
    root = folder / "other"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(root)], check=True)
    edits = {
        "DEBIAN/control": ("\nVersion: ", "\nVersion: 9."),
        f"{PACKAGE[1:]}/__init__.py": ('__version__ = "', '__version__ = "9.'),
        f"{PACKAGE[1:]}/engines/journal.py": ("\nVERSION = ", "\nVERSION = 9"),
        f"{PACKAGE[1:]}/store/snapshot.py": ("\nFORMAT = ", "\nFORMAT = 9"),
        f"{PACKAGE[1:]}/store/machine_file.py": ("\nFORMAT = ", "\nFORMAT = 9"),
        f"{PACKAGE[1:]}/start.py": ("hot path v", "hot path v9"),
    }
    for name, (old, new) in edits.items():
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))
    file = folder / deb.name.replace("_", "_9.", 1)
    words = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(file)]
    subprocess.run(words, check=True, capture_output=True)
    return file


# What a machine without a GPU has, under another name.
SPEC = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/device",
    "containerEdits": {},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["EXAMPLE=is there"],
                "deviceNodes": [{"path": "/dev/example", "hostPath": "/dev/null"}],
            },
        }
    ],
}


@contextmanager
def containers(host: Host, group: str) -> Iterator[Callable[[str], None]]:
    """Return what starts a container as an engine does, and see that all end."""
    names: list[str] = []

    def start(name: str) -> None:
        bundle = host.share / name
        (bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy2(host.path("/bin/busybox"), bundle / "rootfs/bin/sleep")
        command = ("sleep", "100000")
        config = bundles.spec(command, gpus="example.com/device=one", group=f"{group}/{name}")
        (bundle / "config.json").write_text(json.dumps(config))
        names.append(name)
        call = f"nvidia-container-runtime create --bundle {host.shared(name)} {name}"
        host.sh(f"{call} </dev/null >/dev/null 2>{host.shared(name)}/stderr")
        host.succeed("nvidia-container-runtime", "start", name)
        said = json.loads((bundle / "config.json").read_text())
        assert "EXAMPLE=is there" in said["process"]["env"]
        assert state(host, name) == "running"

    file = host.path("/etc/cdi/example.json")
    file.parent.mkdir()
    file.write_text(json.dumps(SPEC))
    try:
        yield start
    finally:
        for name in names:
            host.run("runc", "delete", "--force", name)


def state(host: Host, name: str) -> str:
    """Ask our runtime for a container's state."""
    document = json.loads(host.succeed("nvidia-container-runtime", "state", name))
    return str(document["status"])


def stop(host: Host, name: str) -> None:
    """Stop and delete a container as an engine does."""
    host.succeed("nvidia-container-runtime", "kill", name, "KILL")
    waiting.eventually(lambda: state(host, name) == "stopped", f"{name} has stopped")
    host.succeed("nvidia-container-runtime", "delete", name)


@pytest.mark.long
def test_upgrade_and_downgrade(deb: Path, tmp_path: Path, group: str) -> None:
    """Each version meets what the other has left: journal, records, snapshots, a container."""
    other = other_version(deb, tmp_path)
    with debian("bookworm", tmp_path, deb, other) as host:
        write_engines(host)
        install(host, deb)
        host.path(CONFIG).write_text(EDITED[CONFIG])
        before = host.path(ENGINES["docker"][0]).read_text()
        host.succeed("nvidia-ctk", "runtime", "configure", "--runtime=docker")
        with containers(host, group) as start:
            start("old")
            install(host, other)
            assert host.path(CONFIG).read_text() == EDITED[CONFIG]
            assert "example.com/device=one" in host.succeed("nvidia-ctk", "explain", "old")
            start("new")
            stop(host, "old")
            # This one makes nothing of the older journal, and says so.
            host.succeed("nvidia-ctk", "runtime", "configure", "--runtime=podman")

            install(host, deb)
            assert "example.com/device=one" in host.succeed("nvidia-ctk", "explain", "new")
            start("newest")
            for name in ("new", "newest"):
                stop(host, name)
        done = host.run("nvidia-ctk", "runtime", "unconfigure", "--runtime=docker")
        assert done.returncode == 0, done.stderr
        assert "another version of nvidia-ctk wrote it" in done.stderr
        document = json.loads(host.path(ENGINES["docker"][0]).read_text())
        assert document == json.loads(before)
        assert {"hot_path", "start"} <= compiled(host, tag(host))


@pytest.mark.long
def test_debian_is_upgraded(deb: Path, tmp_path: Path, group: str) -> None:
    """To another Python, while a container runs, which is stopped afterwards."""
    with debian("bookworm", tmp_path, deb) as host:
        write_engines(host)
        install(host, deb)
        configure(host)
        with containers(host, group) as start:
            start("old")
            host.sh("sed -i s/bookworm/trixie/ /etc/apt/sources.list && apt-get -qq update")
            words = ("apt-get", "full-upgrade", "--yes", "--no-install-recommends")
            done = host.run(*words, timeout=1200)
            assert done.returncode == 0, done
            assert tag(host) == "cpython-313"
            assert {"hot_path", "start", "runtime"} <= compiled(host, "cpython-313")
            assert "hot_path" not in compiled(host, "cpython-311")
            assert state(host, "old") == "running"
            start("new")
            for name in ("old", "new"):
                stop(host, name)
        host.succeed("apt-get", "purge", "--yes", NAME)
        assert not host.path(PACKAGE).exists()
        for path, text in filter(lambda pair: pair[0], ENGINES.values()):
            assert host.path(path).read_text() == text


@pytest.mark.long
def test_purge_leaves_what_was_changed_after_the_removal(deb: Path, tmp_path: Path) -> None:
    """Without Python, which may go first, nobody can tell what of it is ours."""
    with debian("bookworm", tmp_path, deb) as host:
        write_engines(host)
        install(host, deb)
        configure(host)
        host.succeed("apt-get", "remove", "--yes", NAME)
        docker, podman = (host.path(ENGINES[name][0]) for name in ("docker", "podman"))
        docker.write_text(docker.read_text() + "\n")
        changed = docker.read_text()
        host.sh("mv /usr/bin/python3 /usr/bin/python3.gone")
        done = host.run("dpkg", "--purge", NAME)

        assert done.returncode == 0, done
        assert "/etc/docker/daemon.json was changed after the removal and stays" in done.stderr
        assert docker.read_text() == changed
        assert podman.read_text() == ENGINES["podman"][1]
        assert host.path("/var/lib/nvidia-container-runtime/backups").is_dir()
        assert not host.path(CONFIG).exists()


CHANGELOG = f"""\
{NAME} (0.1.0) unstable; urgency=medium

  * For autopkgtest, which wants one.

 -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""


@pytest.mark.long
def test_by_debians_own_program(deb: Path, tmp_path: Path) -> None:
    with debian("bookworm", tmp_path, deb) as host:
        shutil.copytree(TREE / "packaging/debian", host.share / "tree/debian")
        (host.share / "tree/debian/changelog").write_text(CHANGELOG)
        words = ("apt-get", "install", "--yes", "--no-install-recommends")
        host.sh("apt-get -qq update")
        host.succeed(*words, "autopkgtest", "dpkg-dev")
        tree, package = host.shared("tree/"), host.shared(deb.name)
        said = host.succeed("autopkgtest", "--no-built-binaries", package, tree, "--", "null")

        assert said.splitlines().count("container            PASS") == 1


# A low-level runtime that says how it was called: qemu cannot run a real one.
STAND_IN = '#!/bin/sh\n[ "$1" != --version ] || echo runc version 1.0\necho "runc $*"\n'


@pytest.mark.long
def test_another_architecture(deb: Path, tmp_path: Path) -> None:
    """The package is of all architectures; here it is on arm64."""
    need_root()
    with foreign.copy(tmp_path / "root") as root:

        def succeed(*words: str) -> str:
            done = foreign.run(root, *words)
            assert done.returncode == 0, done
            return done.stdout

        shutil.copy2(deb, root / "root")
        words = ("apt-get", "install", "--yes", "--no-install-recommends")
        succeed(*words, f"/root/{deb.name}")
        assert succeed("uname", "-m").strip() == "aarch64"
        assert succeed("nvidia-container-runtime", "--version").count("runc version 1.") == 1
        assert (root / CONFIG[1:]).exists()
        names = {file.name for file in (root / PACKAGE[1:] / "__pycache__").iterdir()}
        assert {"hot_path.cpython-311.pyc", "start.cpython-311.pyc"} <= names

        (root / "usr/sbin/runc").unlink()
        (root / "usr/sbin/runc").write_text(STAND_IN)
        (root / "usr/sbin/runc").chmod(0o755)
        (root / "etc/cdi").mkdir()
        (root / "etc/cdi/example.json").write_text(json.dumps(SPEC))
        config = bundles.spec(("true",), gpus="example.com/device=one", group="none")
        (root / "bundle/rootfs").mkdir(parents=True)
        (root / "bundle/config.json").write_text(json.dumps(config))
        call = ("nvidia-container-runtime", "create", "--bundle", "/bundle", "one")
        assert succeed(*call) == "runc create --bundle /bundle one\n"
        said = json.loads((root / "bundle/config.json").read_text())
        assert "EXAMPLE=is there" in said["process"]["env"]
        assert succeed("nvidia-container-runtime", "state", "one") == "runc state one\n"
        assert "example.com/device=one" in succeed("nvidia-ctk", "cdi", "list")
        succeed("apt-get", "purge", "--yes", NAME)
        assert not (root / PACKAGE[1:]).exists()
