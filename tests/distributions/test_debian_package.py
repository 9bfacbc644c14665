# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built as by ``make deb``, and installed, used and removed in a Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated import need_root

from . import hosts, images
from .hosts import Host

TREE = Path(__file__).resolve().parents[2]
NAME = "nvidia-container-runtime-py"
BUILD = TREE / "packaging/debian/build"
PACKAGE = "/usr/lib/python3/dist-packages/nvidia_runtime"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
LAUNCHERS = sorted(path.name for path in (TREE / "packaging/bin").iterdir())
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


def test_life_of_the_package(deb: Path, tmp_path: Path) -> None:
    """From the installation to a purge, after which there is what was before, byte for byte."""
    with debian("bookworm", tmp_path, deb) as host:
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


def installed(host: Host) -> None:
    """See that all is in its place, compiled for the interpreter that is there."""
    compiled = [path.name for path in host.path(f"{PACKAGE}/__pycache__").iterdir()]
    assert "hot_path.cpython-311.pyc" in compiled
    assert "start.cpython-311.pyc" in compiled
    assert "[nvidia-container-runtime]" in host.path(CONFIG).read_text()
    for name in LAUNCHERS:
        file = host.path(f"/usr/bin/{name}")
        assert file.read_bytes() == (TREE / "packaging/bin/nvidia-container-runtime").read_bytes()
        assert not file.is_symlink()
    said = host.succeed("nvidia-container-runtime", "--version")
    assert said.startswith("NVIDIA Container Runtime version")
    said = host.succeed("/usr/bin/python3", "-I", "-c", LISTEN)
    assert said.startswith("apt-get install python3-pyroute2")
