# SPDX-License-Identifier: Apache-2.0
"""The RPM: built as by ``make rpm``, and installed by rpm itself, in a Debian that has it.

Names of packages are another distribution's there, so dependencies are looked at, not resolved.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from simulated import need_root

from . import hosts, images
from .hosts import Host

TREE = Path(__file__).resolve().parents[2]
NAME = "nvidia-container-runtime-py"
MODULE = "/usr/lib/python3/site-packages/nvidia_runtime"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
# Python's and its libraries' names, by what the system's rpm defines.
SYSTEMS = {
    "Fedora, RHEL": ("", {"python3", "python3-pyyaml", "/usr/bin/python3"}),
    "openSUSE Tumbleweed": (
        "--define 'suse_version 1699'",
        {"python3", "python3-PyYAML", "/usr/bin/python3"},
    ),
    "openSUSE Leap 15": (
        "--define 'suse_version 1500'",
        {"python311", "python311-PyYAML", "/usr/bin/python3.11"},
    ),
}

pytestmark = pytest.mark.long


def build(folder: Path, flags: str = "") -> Path:
    """Build the package for a system."""
    images.need("rpmbuild", "rpm")
    if not (TREE / ".git").exists():
        pytest.skip("needs a git checkout: the package is built from what is committed")
    done = subprocess.run(
        [TREE / "packaging/rpm/build", folder],
        env={**os.environ, "RPM_FLAGS": flags},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package."""
    return build(tmp_path_factory.mktemp("rpm") / "out")


def query(file: Path, *words: str) -> set[str]:
    """Ask rpm about a package; return the first word of each line."""
    done = subprocess.run(
        ["rpm", "--query", *words, "--package", str(file)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.skipif(not shutil.which("rpmlint"), reason="needs rpmlint")
def test_rpmlint_has_nothing_to_say(rpm: Path) -> None:
    folder = TREE / "packaging/rpm"
    words = ["rpmlint", f"--config={folder}/rpmlint.toml", str(rpm), f"{folder}/{NAME}.spec"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
    assert "0 errors, 0 warnings" in done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_dependencies(system: str, tmp_path: Path) -> None:
    flags, names = SYSTEMS[system]
    file = build(tmp_path / "out", flags)
    flavour = "python311" if "python311" in names else "python3"
    libraries = {f"{flavour}-{name}" for name in ("jsonschema", "plumbum", "tomlkit")}

    required = {name for name in query(file, "--requires") if not name.startswith("rpmlib(")}
    assert required == {"(runc", "/bin/sh", *libraries, *names}
    assert query(file, "--recommends") == {f"{flavour}-pyroute2"}


def test_the_same_commit_makes_the_same_bytes(rpm: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "out")

    assert again.name == rpm.name
    assert again.read_bytes() == rpm.read_bytes()


def install(host: Host, words: Sequence[str], file: Path) -> None:
    """Have rpm do something with a package; Debian's warns of itself, and has no dependencies."""
    host.succeed("rpm", *words, "--nodeps", "--force-debian", host.shared(file.name))


def test_life_of_the_package(rpm: Path, tmp_path: Path) -> None:
    need_root()
    below = hosts.base("bookworm", "rpm", (*hosts.NEEDS, "rpm"))
    share = tmp_path / "share"
    share.mkdir()
    for file in (rpm, TREE / "packaging/debian/tests/container"):
        shutil.copy2(file, share)
    with hosts.started(below, share) as host:
        before = host.listing()
        install(host, ["--install"], rpm)
        assert host.run("rpm", "--verify", "--nodeps", NAME).stdout == ""
        caches = host.path(f"{MODULE}/__pycache__")
        assert {"hot_path.cpython-311.pyc", "start.cpython-311.pyc"} <= {
            file.name for file in caches.iterdir()
        }
        assert "\n/dev/nvidia0\n" in host.succeed(host.shared("container"))
        assert host.succeed("nvidia-container-cli", "--version").startswith("cli-version: ")
        host.path(CONFIG).write_text("# mine\n")
        install(host, ["--upgrade", "--force"], rpm)
        assert (caches / "hot_path.cpython-311.pyc").exists()
        host.path("/etc/docker").mkdir()
        host.succeed("nvidia-ctk", "runtime", "configure", "--runtime=docker")
        done = host.run("rpm", "--erase", "--nodeps", NAME)
        assert done.returncode == 0, done
        assert "nvidia-ctk runtime unconfigure" in done.stderr
        after = host.listing()
        # What rpm keeps, the journal of changes, and folders that are of other packages elsewhere.
        others = (
            *("/var/lib/rpm/", "/var/lib/nvidia-container-runtime"),
            *("/usr/share/licenses", "/usr/lib/systemd/system-preset"),
        )
        left = {path for path in after.keys() - before.keys() if not path.startswith(others)}
        etc = ("/etc/docker", "/etc/docker/daemon.json", os.path.dirname(CONFIG), CONFIG)
        assert left == set(etc)
        assert host.path(CONFIG).read_text() == "# mine\n"
