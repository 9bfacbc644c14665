# SPDX-License-Identifier: Apache-2.0
"""What a run needs, in a scratch folder: our programs with their libraries, runc, busybox.

From a pack neither pip nor dpkg is needed: wheels are zip files, packages ar archives of tar
archives.  Without one, this machine has to have everything, a C compiler too.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gpu import packing

TREE = Path(__file__).resolve().parents[2]
AR = b"!<arch>\n"
AR_HEADER = 60
CTK = """#!{python}
import sys
sys.path[:0] = [{root!r}, {site!r}]
from nvidia_runtime.cli import main
main()
"""
RUNC = """#!/bin/sh
LD_LIBRARY_PATH={libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec {runc} "$@"
"""


class MissingError(Exception):
    """Something is not there, and a sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """Where everything is."""

    work: Path
    pack: Path
    runc: Path
    busybox: Path

    @property
    def bin(self) -> Path:
        """Return the folder of our programs."""
        return self.work / "bin"

    def environment(self, settings: Path | None = None) -> dict[str, str]:
        """Return an environment with our programs in front, and a config.toml's folder."""
        path = f"{self.bin}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
        kept = ("HOME", "LANG", "LD_LIBRARY_PATH", "NVIDIA_CTK_")
        keep = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        return keep | {"PATH": path, "XDG_CONFIG_HOME": str(settings or self.work / "nowhere")}


def prepare(pack: Path, work: Path) -> Outfit:
    """Unpack; raises `MissingError` for what neither the pack nor the machine has."""
    if not pack.exists():
        pack = work / "pack"
        packing.make_programs(pack)
    made_for = (pack / "architecture").read_text().strip()
    if made_for != platform.machine():
        raise MissingError(f"{pack} is for {made_for}, and this is {platform.machine()}")
    _unpack_wheels(pack / "wheels", work / "site")
    for name in ("nvidia_runtime", "schemas"):
        (work / name).symlink_to(TREE / name)
    programs = work / "bin"
    shutil.copytree(TREE / "packaging/bin", programs)
    text = CTK.format(python=sys.executable, root=str(work), site=str(work / "site"))
    _write_program(programs / "nvidia-ctk", text)
    for deb in sorted((pack / "debs").glob("*.deb")):
        _unpack_deb(deb, work / "debian")
    return Outfit(work=work, pack=pack, runc=_runc(work), busybox=_busybox(work))


def _unpack_wheels(wheels: Path, site: Path) -> None:
    """Unpack the wheels that this interpreter can use."""
    tags = {"py3", "py2.py3", f"cp{sys.version_info[0]}{sys.version_info[1]}"}
    for wheel in sorted(wheels.glob("*.whl")):
        if wheel.stem.split("-")[-3] in tags:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)


def _unpack_deb(deb: Path, folder: Path) -> None:
    data = deb.read_bytes()
    if not data.startswith(AR):
        raise MissingError(f"{deb} is no Debian package")
    at = len(AR)
    while at < len(data):
        name = data[at : at + 16].decode().strip().rstrip("/")
        size = int(data[at + 48 : at + 58])
        start = at + AR_HEADER
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[start : start + size])) as archive:
                # As Debian packed it; extractall's own argument is younger than Debian 12's Python.
                archive.extraction_filter = lambda member, _path: member
                archive.extractall(folder)
        at = start + size + size % 2


def _runc(work: Path) -> Path:
    """Return this machine's own runc, or a program that calls the one that came along."""
    if own := shutil.which("runc", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"):
        return Path(own)
    came = _find(work, "runc")
    libraries = next(came.parents[1].rglob("libseccomp.so.2")).parent
    program = work / "bin/runc"
    _write_program(program, RUNC.format(runc=came, libraries=libraries))
    return program


def _busybox(work: Path) -> Path:
    """Return a static busybox: the one that came along is one, and this machine's may be."""
    own = shutil.which("busybox")
    return Path(own) if own and not (work / "debian").exists() else _find(work, "busybox")


def _find(work: Path, name: str) -> Path:
    for folder in ("usr/sbin", "usr/bin", "sbin", "bin"):
        file = work / "debian" / folder / name
        if file.exists():
            return file
    raise MissingError(f"there is no {name}: tests/gpu/pack, where a network is, gathers it")


def _write_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)
