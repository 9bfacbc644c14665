# SPDX-License-Identifier: Apache-2.0
"""A simulated machine: what a driver leaves in a file system, with no GPU and no driver behind it.

Character device nodes made by mknod, driver libraries that are true ELF files without code, and the
CDI spec that describes them, all in a scratch folder that is gone afterwards.  mknod needs root.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Documentation/admin-guide/devices.txt keeps this major for local use.  It is not NVIDIA's 195, so
# that opening a node answers ENXIO (no driver) on a machine with GPUs too.
MAJOR = 120
CONTROL_NODES = {"nvidiactl": 255, "nvidia-uvm": 254}
DRIVER_VERSION = "999.88.77"
LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
KIND = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine whose root is a folder: its device nodes are in ``dev``, and so on."""

    root: Path
    gpus: int

    @property
    def spec_dir(self) -> Path:
        """Give the folder of the CDI specs."""
        return self.root / "etc/cdi"

    @property
    def library_dir(self) -> Path:
        """Give the folder of the driver libraries."""
        return self.root / library_folder()[1:]

    def cdi_spec(self) -> dict[str, Any]:
        """Describe the GPUs, each alone and all together, as ``nvidia-ctk cdi generate`` would."""
        names = [f"nvidia{number}" for number in range(self.gpus)]
        devices = {str(number): [name] for number, name in enumerate(names)} | {"all": names}
        files = [f"{library}.{DRIVER_VERSION}" for library in LIBRARIES]
        return {
            "cdiVersion": "0.5.0",
            "kind": KIND,
            "devices": [
                {"name": device, "containerEdits": {"deviceNodes": self._nodes(nodes)}}
                for device, nodes in devices.items()
            ],
            "containerEdits": {
                "env": [
                    "NVIDIA_VISIBLE_DEVICES=void",
                    f"NVIDIA_CTK_LIBCUDA_DIR={library_folder()}",
                ],
                "deviceNodes": self._nodes(list(CONTROL_NODES)),
                "mounts": [self._mount(f"{library_folder()}/{file}") for file in files],
            },
        }

    def _nodes(self, names: list[str]) -> list[dict[str, str]]:
        dev = self.root / "dev"
        return [{"path": f"/dev/{name}", "hostPath": os.fspath(dev / name)} for name in names]

    def _mount(self, path: str) -> dict[str, Any]:
        return {
            "hostPath": f"{self.root}{path}",
            "containerPath": path,
            "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
        }


@contextmanager
def machine(*, gpus: int = 2) -> Iterator[Machine]:
    """Build a machine in a scratch folder; nothing of it stays.  mknod raises PermissionError."""
    folder = Path(tempfile.mkdtemp(prefix="nvcr-sim-"))
    try:
        folder.chmod(0o755)  # as a container in a user namespace would meet it
        made = Machine(root=folder, gpus=gpus)
        _make_nodes(made)
        _make_libraries(made)
        made.spec_dir.mkdir(parents=True)
        (made.spec_dir / "nvidia.json").write_text(json.dumps(made.cdi_spec(), indent=2))
        yield made
    finally:
        shutil.rmtree(folder)


def library_folder() -> str:
    """Give the folder of libraries on a Debian of this architecture."""
    return f"/usr/lib/{platform.machine()}-linux-gnu"


def _make_nodes(made: Machine) -> None:
    dev = made.root / "dev"
    dev.mkdir()
    minors = {f"nvidia{number}": number for number in range(made.gpus)} | CONTROL_NODES
    for name, minor in minors.items():
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(MAJOR, minor))
        (dev / name).chmod(0o666)  # whatever the umask


def _make_libraries(made: Machine) -> None:
    """Write the libraries, with the links that ldconfig would make."""
    made.library_dir.mkdir(parents=True)
    for library in LIBRARIES:
        file = made.library_dir / f"{library}.{DRIVER_VERSION}"
        file.write_bytes(shared_object(f"{library}.1"))
        (made.library_dir / f"{library}.1").symlink_to(file.name)


ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
DT_STRTAB, DT_STRSZ, DT_SONAME = 5, 10, 14
HEADER, PROGRAM_HEADER, SECTION_HEADER = 64, 56, 64


def shared_object(soname: str) -> bytes:
    """Make an ELF64 shared object that has a SONAME and no code.

    It has section headers, by which the toolkit reads DT_SONAME, and program headers, by which
    ldconfig does.  No compiler is needed.
    """
    strings = b"\0" + soname.encode() + b"\0"
    sections = b"\0.dynstr\0.dynamic\0.shstrtab\0"
    strings_at = HEADER + 2 * PROGRAM_HEADER
    dynamic_at = _aligned(strings_at + len(strings))
    entries = ((DT_SONAME, 1), (DT_STRTAB, strings_at), (DT_STRSZ, len(strings)), (0, 0))
    dynamic = b"".join(struct.pack("<qQ", tag, value) for tag, value in entries)
    sections_at = dynamic_at + len(dynamic)
    headers_at = _aligned(sections_at + len(sections))
    size = headers_at + 4 * SECTION_HEADER
    parts = {
        0: _elf_header(headers_at)
        + struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 0x1000)  # PT_LOAD
        + struct.pack("<IIQQQQQQ", 2, 4, *[dynamic_at] * 3, *[len(dynamic)] * 2, 8),  # PT_DYNAMIC
        strings_at: strings,
        dynamic_at: dynamic,
        sections_at: sections,
        headers_at: bytes(SECTION_HEADER)
        + _section(1, 3, 2, strings_at, len(strings), 0, 0)  # .dynstr
        + _section(9, 6, 2, dynamic_at, len(dynamic), 1, 16)  # .dynamic, of .dynstr's strings
        + _section(18, 3, 0, sections_at, len(sections), 0, 0),  # .shstrtab
    }
    image = bytearray(size)
    for offset, part in parts.items():
        image[offset : offset + len(part)] = part
    return bytes(image)


def _aligned(offset: int) -> int:
    return (offset + 7) & ~7


def _elf_header(section_headers_at: int) -> bytes:
    """Make the header of an ELF64 shared object (type 3) of this architecture, see elf(5)."""
    machine = ELF_MACHINES.get(platform.machine(), 0)
    sizes = (HEADER, PROGRAM_HEADER, 2, SECTION_HEADER, 4, 3)
    return struct.pack(
        "<4s4B8xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0),
        *(3, machine, 1, 0, HEADER, section_headers_at, 0),
        *sizes,
    )


def _section(
    name: int, kind: int, flags: int, offset: int, size: int, link: int, entry: int
) -> bytes:
    """Make a section header; an allocated section lies in memory where it lies in the file."""
    address = offset if flags else 0
    return struct.pack("<IIQQQQIIQQ", name, kind, flags, address, offset, size, link, 0, 8, entry)
