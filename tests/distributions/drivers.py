# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's real driver as Debian packages it, without a kernel module, and machines that have it.

Nothing of it is in this tree: apt fetches the packages of Debian's non-free component into roots
that are kept as those of `images`.  The kernel of such a machine is simulated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import shim
import simulated
import waiting
from cli import ctk

import nvidia_runtime

from . import images
from .images import Recipe
from .site import Site

COMPONENTS = "main contrib non-free non-free-firmware"
LIB = "usr/lib/x86_64-linux-gnu"
# A machine whose GPUs are known without NVML, which of the real driver cannot be asked.
MACHINE = "t4x1"
# Needless, unlike the manual pages, to which alternatives lead.
APT = ("var/cache/apt", "var/lib/apt")
# No service is started, see invoke-rc.d(8).
POLICY = "#!/bin/sh\nexit 101\n"
# Nothing of this machine's: neither its settings nor its PATH.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **ctk.HOOK}
ENTER = """
import dataclasses, json, os, sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.linux import mount
from nvidia_runtime.simulate import catalogue, device_nodes, namespace, run
from nvidia_runtime.simulate import tree as trees
name, version, lower, folder, binds = json.loads(sys.argv[1])
machine = dataclasses.replace(catalogue.find(name), driver=version)
namespace.enter_kernel(machine, folder + "/simulated")
for layer in ("upper", "work", "root"):
    os.mkdir(f"{{folder}}/{{layer}}")
os.chmod(f"{{folder}}/upper", 0o755)
root = f"{{folder}}/root"
mount.mount("overlay", root, f"lowerdir={{lower}},upperdir={{folder}}/upper,workdir={{folder}}/work")
trees.write(device_nodes.tree(machine), root)
for path in binds:
    os.makedirs(root + path, exist_ok=True)
    mount.bind(path, root + path)
run.become(sys.argv[2:], {{}})
"""


def packaged(*packages: str) -> Recipe:
    """Return the recipe of a Debian with packages of the driver, and Python to run ours in it."""

    def make(folder: Path) -> None:
        images.run("cp", "-a", f"{images.get('bookworm')}/.", folder)
        (folder / "usr/sbin/policy-rc.d").write_text(POLICY)
        (folder / "usr/sbin/policy-rc.d").chmod(0o755)
        apt(folder, "bookworm", "install", "--yes", "--no-install-recommends", "python3", *packages)
        for path in APT:
            shutil.rmtree(folder / path)

    return make


def downloaded(*packages: str, suite: str) -> Recipe:
    """Return the recipe of a folder with the files of packages."""

    def make(folder: Path) -> None:
        root = folder / "root"
        images.run("cp", "-a", f"{images.get('bookworm')}/.", root)
        (root / "packages").mkdir()
        apt(root, suite, "download", *packages, inside="/packages")
        for path in sorted((root / "packages").iterdir()):
            path.rename(folder / path.name)
        images.run("rm", "-r", root)

    return make


def apt(root: Path, suite: str, *words: str, inside: str = "/") -> None:
    """Run apt-get in a root, for a suite of Debian with all that is not free."""
    sources = f"deb {images.MIRROR} {suite} {COMPONENTS}\n"
    (root / "etc/apt/sources.list").write_text(sources)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True, exist_ok=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    enter = (
        "chroot",
        root,
        "env",
        "-C",
        inside,
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-qq",
    )
    images.run(*enter, "update")
    # As another user, apt could not write into the folder of a download.
    images.run(*enter, "--option", "APT::Sandbox::User=root", *words)


COMPUTE = ("libcuda1", "nvidia-smi", "libnvcuvid1", "libnvidia-encode1", "libnvidia-cfg1")
GRAPHICS = (
    *("nvidia-driver-libs", "nvidia-driver-bin", "nvidia-vulkan-icd", "nvidia-vdpau-driver"),
    *("libglx-nvidia0", "libgles-nvidia1", "libgles-nvidia2", "libnvidia-allocator1"),
    *("libnvidia-fbc1", "libnvidia-ngx1", "libnvidia-opticalflow1", "libnvidia-rtcore"),
    *("libnvoptix1", "libnvidia-egl-gbm1", "libnvidia-egl-wayland1", "libnvidia-api1"),
    *("nvidia-opencl-icd", "nvidia-cuda-mps", "nvidia-persistenced", "firmware-nvidia-gsp"),
    "xserver-xorg-video-nvidia",
)
TESLA_470 = (
    *("libnvidia-tesla-470-cuda1", "nvidia-tesla-470-smi", "libnvidia-tesla-470-nvcuvid1"),
    *("libnvidia-tesla-470-encode1", "libnvidia-tesla-470-cfg1"),
)
TESLA_470_GRAPHICS = (
    *("nvidia-tesla-470-driver-libs", "nvidia-tesla-470-driver-bin"),
    *("nvidia-tesla-470-vulkan-icd", "libglx-nvidia-tesla-470-0"),
    *("libnvidia-tesla-470-allocator1", "libnvidia-tesla-470-nvoptix1"),
    *("nvidia-tesla-470-vdpau-driver", "xserver-xorg-video-nvidia-tesla-470"),
)
TESLA_535 = ("libnvidia-tesla-535-cuda1", "nvidia-tesla-535-smi")
RECIPES = {
    "driver": packaged(*COMPUTE, *GRAPHICS),
    "driver-compute": packaged(*COMPUTE),
    "driver-tesla-470": packaged(*TESLA_470, *TESLA_470_GRAPHICS),
    "driver-tesla-535": packaged(*TESLA_535),
    "driver-two": packaged(*COMPUTE, *TESLA_470),
}
# What an upgrade of "driver-compute" brings.
NEWER = (
    *("libcuda1", "nvidia-smi", "libnvcuvid1", "libnvidia-encode1", "libnvidia-cfg1"),
    *("libnvidia-ml1", "libnvidia-ptxjitcompiler1", "libnvidia-pkcs11-openssl3"),
    "nvidia-alternative",
)


def get(name: str) -> Path:
    """Return a root with a driver, which is never changed."""
    return images.get(name, RECIPES[name])


def newer() -> list[Path]:
    """Return the packages of a newer driver."""
    return sorted(images.get("driver-newer", downloaded(*NEWER, suite="trixie")).glob("*.deb"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine with a driver below a root; its /proc and /sys are those of the version."""

    site: Site
    root: str
    version: str
    lower: Path

    def path(self, path: str) -> Path:
        """Return a file below the root as this process reaches it."""
        return self.site.path(f"{self.root}/{path.lstrip('/')}")

    def ctk(self, *words: str, inside: bool = False) -> CompletedProcess[str]:
        """Run nvidia-ctk beside the root, or with the root as its own."""
        return self.run(sys.executable, "-c", ctk.PROGRAM, *words, inside=inside)

    def run(self, *words: str, inside: bool = True, **more: str) -> CompletedProcess[str]:
        """Run a program with the root as its own, or beside it."""
        ended = self.site.run(*self.words(*words, inside=inside, **more))
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def words(self, *words: str, inside: bool = True, **more: str) -> list[str]:
        """Return the words that do so on the machine."""
        package = os.fspath(Path(nvidia_runtime.__file__).parents[1])
        variables = {**ENVIRONMENT, "PYTHONPATH": package, "XDG_CONFIG_HOME": ctk.NOWHERE, **more}
        chroot = ("chroot", self.root) if inside else ()
        settings = (f"{name}={value}" for name, value in variables.items())
        return [*chroot, "env", "-i", *settings, *words]

    def spec(self, *options: str, inside: bool = False) -> dict[str, Any]:
        """Generate the CDI spec, without a warning."""
        where = () if inside else (f"--driver-root={self.root}", f"--dev-root={self.root}")
        got = self.ctk("cdi", "generate", "--format=json", *where, *options, inside=inside)
        assert got.returncode == 0, got.stderr
        assert "warning" not in got.stderr, got.stderr
        document: dict[str, Any] = json.loads(got.stdout)
        return document


def is_in_an_environment() -> bool:
    """Whether this Python is one of venv(1)'s, with packages of its own."""
    return sys.prefix != sys.base_prefix


def can_be_entered(lower: Path) -> bool:
    """Whether our program runs with such a root as its own: by a Python of the same path."""
    program = os.path.realpath(sys.executable).lstrip("/")
    return is_in_an_environment() and (lower / program).exists()


@contextmanager
def hold(name: str, scratch: Path, launcher: Path) -> Iterator[Machine]:
    """Keep a machine with a driver."""
    simulated.need_root()
    lower = get(name)
    scratch.mkdir()
    (library,) = {
        path.name for path in (lower / LIB).glob("**/libcuda.so.*.*") if not is_other(name, path)
    }
    version = library.removeprefix("libcuda.so.")
    binds = ["/proc", "/sys", os.fspath(shim.TREE), *[sys.prefix] * is_in_an_environment()]
    request = json.dumps([MACHINE, version, *map(os.fspath, (lower, scratch)), binds])
    script = ENTER.format(tree=os.fspath(shim.TREE))
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script, request, "sleep", "infinity"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    site = Site(machine=MACHINE, pid=holder.pid, scratch=scratch, shim=launcher)
    try:
        waiting.becomes(holder, "sleep", f"{name} is there")
        yield Machine(site=site, root=f"{scratch}/root", version=version, lower=lower)
    finally:
        holder.kill()
        holder.communicate()


def is_other(name: str, library: Path) -> bool:
    """Whether a library is of the driver beside the loaded one."""
    return name == "driver-two" and "470" in library.parent.name


def start(machine: Machine, *words: str) -> subprocess.Popen[str]:
    """Start a program with the root as its own."""
    return subprocess.Popen(
        [*machine.site.enter, *machine.words(*words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
