# SPDX-License-Identifier: Apache-2.0
"""Device programs of control groups (cgroup v2), see bpf(2) and <linux/bpf.h>.

A group's rules for device nodes are programs of the kernel's BPF: each that is attached to a group,
or to one above it, has to allow what a process does.  Each call raises `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# By <asm/unistd.h>; a machine that is not here uses the numbers that new ones share.
CALLS = {"x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "s390x": 351}
SHARED_CALL = 280
PROG_LOAD, PROG_ATTACH, PROG_DETACH = 5, 8, 9
PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 13, 15, 16
TYPE_CGROUP_DEVICE, CGROUP_DEVICE = 15, 6
F_ALLOW_OVERRIDE, F_ALLOW_MULTI, F_REPLACE = 1, 2, 4
F_QUERY_EFFECTIVE = 1
# The kernel has up to 64 programs a group; those above it count with it.
MOST_PROGRAMS = 1024
INSTRUCTION = 8
LARGEST = 1 << 20  # bytes of instructions: runtimes' own programs have some hundred
LONGEST_NAME = 15
LICENSE = b"Apache-2.0"
# Room for the information of newer kernels; where the fields are that we read and write.
INFO = 256
TAG, XLATED_LENGTH, XLATED_POINTER, NAME = 8, 20, 32, 64
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A loaded program; ``instructions`` are None where the kernel shows none."""

    id: int
    name: str
    instructions: bytes | None


def query(group: int, *, effective: bool = False) -> tuple[list[int], int]:
    """Return the ids of a group's device programs, and the flags with which they are attached.

    ``group`` is a descriptor of its folder.  The ``effective`` ones include those above.
    """
    ids = (ctypes.c_uint32 * MOST_PROGRAMS)()
    attributes = bytearray(
        struct.pack(
            "=IIIIQI4x",
            group,
            CGROUP_DEVICE,
            F_QUERY_EFFECTIVE if effective else 0,
            0,
            ctypes.addressof(ids),
            MOST_PROGRAMS,
        ).ljust(64, b"\0")
    )
    _call(PROG_QUERY, attributes)
    _, _, _, flags, _, count = struct.unpack_from("=IIIIQI", attributes)
    return list(ids[:count]), flags


def read(number: int) -> Program:
    """Read a program by its id."""
    with opened(number) as descriptor:
        return read_descriptor(descriptor, number)


def read_descriptor(descriptor: int, number: int = 0) -> Program:
    """Read a program by a descriptor of it."""
    length = struct.unpack_from("=I", _info(descriptor), XLATED_LENGTH)[0]
    if length > LARGEST:
        return Program(id=number, name="", instructions=None)
    buffer = ctypes.create_string_buffer(max(length, 1))
    info = _info(descriptor, ctypes.addressof(buffer), length)
    # Without a pointer to it a hardened kernel (bpf_jit_harden) did not say it.
    is_shown = length and struct.unpack_from("=Q", info, XLATED_POINTER)[0]
    name = bytes(info[NAME : NAME + LONGEST_NAME + 1]).partition(b"\0")[0]
    return Program(
        id=number,
        name=name.decode("ascii", "replace"),
        instructions=buffer.raw[:length] if is_shown else None,
    )


def _info(descriptor: int, pointer: int = 0, length: int = 0) -> bytearray:
    info = (ctypes.c_char * INFO)()
    struct.pack_into("=I", info, XLATED_LENGTH, length)
    struct.pack_into("=Q", info, XLATED_POINTER, pointer)
    words = struct.pack("=IIQ", descriptor, INFO, ctypes.addressof(info))
    _call(OBJ_GET_INFO_BY_FD, bytearray(words))
    return bytearray(info.raw)


@contextmanager
def opened(number: int) -> Iterator[int]:
    """Open a program by its id; the descriptor is closed again."""
    descriptor = _call(PROG_GET_FD_BY_ID, bytearray(struct.pack("=III", number, 0, 0)))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def loaded(instructions: bytes, name: str) -> Iterator[int]:
    """Load a device program; it lives on if it is attached when the descriptor is closed."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(LICENSE)
    attributes = struct.pack(
        "=IIQQIIQII16s",
        TYPE_CGROUP_DEVICE,
        len(instructions) // INSTRUCTION,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
        *(0, 0, 0),  # no log
        *(0, 0),  # no version, no flags
        name.encode("ascii", "replace")[:LONGEST_NAME],
    )
    try:
        descriptor = _call(PROG_LOAD, bytearray(attributes))
    except OSError as error:  # Linux before 5.11 counts it as locked memory
        if error.errno != errno.EPERM or not _raise_limit():
            raise
        descriptor = _call(PROG_LOAD, bytearray(attributes))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _raise_limit() -> bool:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == unlimited:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return False
    return True


def attach(group: int, program: int, flags: int, replaced: int = 0) -> None:
    """Attach a program to a group; with ``replaced``, a descriptor, in the place of another."""
    flags |= F_REPLACE if replaced else 0
    words = struct.pack("=IIIII", group, program, CGROUP_DEVICE, flags, replaced)
    _call(PROG_ATTACH, bytearray(words))


def detach(group: int, program: int) -> None:
    """Take a program from a group."""
    _call(PROG_DETACH, bytearray(struct.pack("=IIII", group, program, CGROUP_DEVICE, 0)))


def replace(group: int, program: int, replaced: int, flags: int) -> None:
    """Attach a program to a group in the place of another, at no time without either.

    ``flags`` are those of the group.  One program alone is replaced by attaching another.
    """
    if not flags & F_ALLOW_MULTI:
        attach(group, program, flags)
        return
    try:
        attach(group, program, F_ALLOW_MULTI, replaced)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Linux before 5.6 has no such flag
            raise
        attach(group, program, F_ALLOW_MULTI)
        detach(group, replaced)


def _call(command: int, attributes: bytearray) -> int:
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    number = CALLS.get(platform.machine(), SHARED_CALL)
    result: int = LIBC.syscall(
        ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_uint(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
