# SPDX-License-Identifier: Apache-2.0
"""Gather what a machine without network lacks: wheels, runc, busybox, a C library, the probe.

Packages come through pip and apt-get; the probe is compiled here, so the architecture is ours.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
DEFAULT = TREE / "build/gpu"
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
# Two of the dependencies' own are compiled: pip takes wheels for these and for no C library else.
PLATFORMS = ("manylinux_2_17", "manylinux2014", "manylinux_2_28")
DEBS = ("runc", "libseccomp2", "busybox-static")
# What the probe, nvidia-smi and the driver's libraries want of a system.
LIBRARIES = (
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
)


def main() -> int:
    """Gather everything into a folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gather_wheels(folder / "wheels")
    gather_debs(folder / "debs")
    make_programs(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) >> 20
    print(f"{folder}: {size} MiB for {platform.machine()}; it travels with the tree")
    print(f"there: tests/gpu/run --pack {folder}")
    return 0


def gather_wheels(folder: Path) -> None:
    """Download our dependencies for every Python that may be there."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    for version in PYTHONS:
        platforms = [f"--platform={name}_{platform.machine()}" for name in PLATFORMS]
        call(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--only-binary=:all:", f"--python-version={version}", *platforms),
            *("--constraint", str(TREE / "tests/pins.txt")),
            *("--dest", str(folder), *project["dependencies"]),
        )


def gather_debs(folder: Path) -> None:
    """Download the packages, as the user that apt downloads as may not write everywhere."""
    folder.mkdir()
    call("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *DEBS, cwd=folder)


def make_programs(folder: Path) -> None:
    """Make what depends on the architecture: the probe, and the libraries beside it."""
    folder.mkdir(exist_ok=True)
    compile_probe(folder / "probe")
    gather_libraries(folder / "lib", folder / "probe")
    (folder / "architecture").write_text(platform.machine() + "\n")


def compile_probe(file: Path) -> None:
    """Compile the CUDA program, without CUDA."""
    source = Path(__file__).with_name("probe.c")
    call("cc", "-O1", "-Wall", "-Werror", "-o", str(file), str(source), "-ldl")


def gather_libraries(folder: Path, program: Path) -> None:
    """Copy the loader that a program names, and the libraries beside the C library."""
    folder.mkdir()
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    words = [word for line in lines.splitlines() for word in line.split()]
    loader = next(word for word in words if os.path.basename(word).startswith("ld-linux"))
    shutil.copy(loader, folder)
    (folder / "loader").write_text(loader + "\n")
    libc = next(word for word in words if word.startswith("/") and "libc.so" in word)
    for name in LIBRARIES:
        file = Path(libc).with_name(name)
        if file.exists():
            shutil.copy(file, folder)


def call(*words: str, cwd: Path | None = None) -> None:
    """Run a program; what it says of a failure is enough."""
    try:
        subprocess.run(words, check=True, cwd=cwd)
    except FileNotFoundError:
        sys.exit(f"tests/gpu/pack: needs {words[0]}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"tests/gpu/pack: {' '.join(words[:4])} … ended with {error.returncode}")


if __name__ == "__main__":
    sys.exit(main())
