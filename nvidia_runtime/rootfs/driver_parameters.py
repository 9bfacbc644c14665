# SPDX-License-Identifier: Apache-2.0
"""The driver's parameters, by which it is told to make device nodes or to leave them alone.

NVML, as root with CAP_MKNOD, makes the nodes of GPUs that a container was not given, unless the
file says that it may not.  Ring: create, where it is used.
"""

import posix

PATH = "/proc/driver/nvidia/params"
SETTING = b"ModifyDeviceFiles:"
LARGEST = 64 << 10


def without_modification(path: str = PATH) -> bytes:
    """Return the host's parameters with the setting off, b"" where it is off already."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY)
    except OSError:
        return b""
    try:
        data = posix.read(descriptor, LARGEST)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(SETTING):
            if line[len(SETTING) :].strip() == b"0":
                return b""
            lines[number] = SETTING + b" 0"
            return b"\n".join(lines)
    return b""
