# SPDX-License-Identifier: Apache-2.0
"""The bundle on a machine that has nothing: an interpreter of its own, busybox as sh and grep."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import shim

from nvidia_runtime.linux import mount

pytestmark = pytest.mark.long
HOME = Path("/usr/local/nvidia/toolkit")
PATH = f"{HOME}/bin:/usr/sbin"
NO_DRIVER = "nvidia driver modules are not yet loaded, invoking runc directly\n"
MIB = 1 << 20
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# A chroot is no place for pivot_root, but what is mounted there is.
ENTER = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" && exec chroot "$@"'


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was built: its folder and its archive."""

    folder: Path
    archive: Path


def build(folder: Path, architecture: str = "") -> Bundle:
    """Build a bundle."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("needs root and apt-get")
    architecture = architecture or ARCHITECTURES[os.uname().machine]
    words: list[str | Path] = [shim.TREE / "packaging/bundle/build", architecture, folder]
    got = subprocess.run(words, capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    (archive,) = folder.glob("*.tar.gz")
    return Bundle(folder / architecture, archive)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(tmp_path_factory.mktemp("bundle"))


class Bare:
    """A root with nothing in it but a bundle, runc and a container's root."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder = folder
        for name in ("proc", "sys", "dev", "run", "tmp", "etc", "var", "usr/sbin", "b/rootfs"):
            (folder / name).mkdir(parents=True)
        shutil.copytree(bundle.folder, self.at(HOME), symlinks=True)
        runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin")
        assert runc
        for file in [runc, *libraries(runc)]:
            self.at(Path(file)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, self.at(Path(file)))
        shutil.copy(bundle.folder / "bin/busybox", folder / "b/rootfs/busybox")

    def at(self, path: Path) -> Path:
        """Return the place of a path of this root on the host."""
        return self.folder / path.relative_to("/")

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program in the root, in namespaces of its own; no environment but PATH."""
        argv: Sequence[str | Path] = [
            *("unshare", "--mount", "--pid", "--fork", "sh", "-euc", ENTER, "sh", self.folder),
            *(HOME / "bin/busybox", "env", "-i", f"PATH={PATH}", *words),
        ]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def start(
        self, container: str, runtime: Path = HOME / "bin/nvidia-container-runtime"
    ) -> list[str]:
        """Create and start the container, as engines do; return the lines that it prints."""
        script = f"""
            {runtime} create -b /b {container} && {runtime} start {container} || exit
            while {runtime} state {container} | grep -q '"running"'; do sleep 0.1; done
            {runtime} delete {container}"""
        got = self.run(HOME / "bin/busybox", "sh", "-c", script)
        said = got.stderr.replace(NO_DRIVER, "")
        assert (got.returncode, said) == (0, "")
        return got.stdout.splitlines()

    def write(self, *env: str) -> None:
        """Write the container's config.json."""
        document = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/busybox", "env"],
                "env": list(env),
                "cwd": "/",
            },
            "root": {"path": "rootfs", "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        }
        (self.folder / "b/config.json").write_text(json.dumps(document))


def libraries(program: str) -> list[str]:
    """List what a program is linked with, its loader included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+)", listed, re.MULTILINE)


@pytest.fixture
def bare(bundle: Bundle, tmp_path: Path) -> Iterator[Bare]:
    folder = tmp_path / "bare"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    try:
        yield Bare(folder, bundle)
    finally:
        mount.detach(str(folder))


def test_container_starts_where_there_is_nothing_else(bare: Bare) -> None:
    bare.write("A=b")
    for number in range(3):
        assert bare.start(f"c{number}")[:1] == ["A=b"]
    shortcut = next((bare.folder / "run/nvidia-container-runtime").glob("low-level-runtime.*"))
    assert f"1:{HOME}/bin/grep" in shortcut.read_text().splitlines()


def test_request_is_answered_there(bare: Bare) -> None:
    bare.write("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0")
    (bare.folder / "etc/cdi").mkdir()
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "0", "containerEdits": {"env": ["GPU=zero"]}}],
    }
    (bare.folder / "etc/cdi/gpu.json").write_text(json.dumps(spec))

    for number in range(2):
        assert "GPU=zero" in bare.start(f"c{number}")
        bare.write("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0")


@pytest.mark.parametrize(
    "line",
    [
        "--version",
        "info --json",
        "doctor --json",
        "config default",
        "config validate --json",
        "config explain",
        "cdi list",
        "cdi generate --mode=management",
        "explain",
        "report --json --output=/tmp/r.tar.gz",
        "runtime status",
        "runtime configure --runtime=containerd --dry-run",
        "runtime configure --runtime=docker --dry-run",
        "simulate --list",
        "spec validate /b/config.json",
        "completion bash",
    ],
)
def test_command_runs_there(line: str, bare: Bare) -> None:
    bare.write("A=b")

    got = bare.run(HOME / "bin/nvidia-ctk", *line.split())

    for word in (
        "Traceback",
        "ModuleNotFound",
        "internal error",
        "NCT-0002",
        "cannot be read: lib",
    ):
        assert word not in got.stdout + got.stderr


def test_it_works_at_another_place(bare: Bare) -> None:
    place = Path("/opt/else where".replace(" ", "-"))
    bare.at(place).parent.mkdir()
    shutil.move(bare.at(HOME), bare.at(place))
    argv = ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", ENTER, "sh"]
    shell: list[str | Path] = [*argv, bare.folder, place / "bin/busybox", "sh"]

    moved = subprocess.run(
        [*shell, place / "relocate"], capture_output=True, text=True, check=False
    )
    got = subprocess.run(
        [*shell, "-c", f"{place}/bin/nvidia-ctk info"], capture_output=True, text=True, check=False
    )

    assert (moved.returncode, moved.stderr) == (0, "")
    assert f"package       {place}/lib/python3.11/site-packages/nvidia_runtime\n" in got.stdout


def test_it_installs_itself(bare: Bare) -> None:
    """As in an image: by its own interpreter, from where it is, to a folder of the host."""
    (bare.folder / "etc/docker").mkdir()
    place = Path("/opt/nvidia")
    flags = ("--host-root=/", "--driver-root=/", "--driver-root-ctr-path=/", "--restart-mode=none")
    words = (HOME / "bin/nvidia-toolkit", place, *flags)

    got = bare.run(*words, "--no-daemon")

    assert got.returncode == 0, got.stderr
    assert bare.run(*words, "--probe").returncode == 0
    assert bare.run(place / "toolkit/nvidia-ctk", "--version").returncode == 0
    bare.write("A=b")
    for name in ("nvidia-container-runtime", "nvidia-container-runtime.cdi"):
        assert bare.start(name, place / "toolkit" / name)[:1] == ["A=b"]


def test_size(bundle: Bundle) -> None:
    files = [path for path in bundle.folder.rglob("*") if path.is_file() and not path.is_symlink()]

    assert sum(-(-path.stat().st_size // 4096) * 4096 for path in files) <= 42 * MIB
    assert bundle.archive.stat().st_size <= 15 * MIB


def test_launcher_is_that_of_other_installations(bundle: Bundle) -> None:
    ours = (shim.TREE / "packaging/bin/nvidia-container-runtime").read_bytes()
    first, _, rest = (bundle.folder / "bin/nvidia-container-runtime").read_bytes().partition(b"\n")

    assert first == f"#!{HOME}/bin/busybox sh".encode()
    assert rest == ours.partition(b"\n")[2]


def test_licences_are_there(bundle: Bundle) -> None:
    packages = (bundle.folder / "share/debian-packages").read_text().splitlines()

    assert len(packages) == 10
    for line in packages:
        text = (bundle.folder / "share/licences" / line.split()[1]).read_text()
        assert "licen" in text.lower()
    site = bundle.folder / "lib/python3.11/site-packages"
    for info in site.glob("*.dist-info"):
        assert "icense" in (info / "METADATA").read_text()


def test_same_commit_makes_the_same_archive(bundle: Bundle, tmp_path: Path) -> None:
    again = build(tmp_path / "again")

    with tarfile.open(bundle.archive) as one, tarfile.open(again.archive) as other:
        assert one.getnames() == other.getnames()
    assert again.archive.read_bytes() == bundle.archive.read_bytes()


def test_other_architecture(tmp_path: Path) -> None:
    if os.uname().machine != "x86_64" or not shutil.which("qemu-aarch64-static"):
        pytest.skip("needs x86-64 and qemu-user-static")
    bundle = build(tmp_path, "arm64")
    emulator = ["qemu-aarch64-static", "-L", "/nowhere"]
    loader = bundle.folder / "lib/ld-linux-aarch64.so.1"
    python: list[str | Path] = [
        loader,
        "--library-path",
        bundle.folder / "lib",
        bundle.folder / "bin/python3",
        "-IS",
    ]

    got = subprocess.run(
        [*emulator, *python, bundle.folder / "bin/nvidia-ctk", "info", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert json.loads(got.stdout)["package"].startswith(str(bundle.folder)), got.stderr
