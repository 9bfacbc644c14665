# SPDX-License-Identifier: Apache-2.0
"""What cuInit answers in a container, and what that means: see cuda.h, CUresult."""

from __future__ import annotations

from nvidia_runtime.doctor.finding import ERROR, Code

NO_DEVICE = Code(
    "NCT-0830",
    ERROR,
    "CUDA finds no GPU in a container (cuInit: 100)",
    """
    CUDA_ERROR_NO_DEVICE: the library is there, and no GPU that it could use.  Nodes are missing or
    may not be opened, CUDA_VISIBLE_DEVICES is empty, or all GPUs are in MIG mode without instances.
    """,
    """
    Other findings of the trial name nodes that are wrong.  If there are none, nvidia-smi on the
    host must list the GPUs, and 'nvidia-smi mig -lgi' their instances where MIG is on.
    """,
)
MISMATCH = Code(
    "NCT-0831",
    ERROR,
    "libcuda in a container does not fit the kernel module (cuInit: 803)",
    """
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver
    combination": the libraries that the container gets are not of the version of the loaded module.
    An update of the driver without a restart, or a CDI spec that names old files, does that; so
    does an image with a libcuda of its own.
    """,
    """
    'cat /proc/driver/nvidia/version' is the module's version; restart the machine after an update.
    Then 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml', or 'nvidia-ctk cdi refresh'.
    """,
)
NOT_READY = Code(
    "NCT-0832",
    ERROR,
    "the GPUs' fabric is not ready (cuInit: 802)",
    """
    CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized": on machines with NVSwitch (HGX, DGX)
    CUDA starts only when nvidia-fabricmanager runs, in the version of the driver, and has
    initialised the fabric.
    """,
    """
    'systemctl start nvidia-fabricmanager', and 'nvidia-smi -q' must say "Fabric ... State :
    Completed".  Its package must have the driver's very version.
    """,
)
UNKNOWN = Code(
    "NCT-0833",
    ERROR,
    "CUDA does not start in a container, for a reason that it does not know (cuInit: 999)",
    """
    CUDA_ERROR_UNKNOWN or CUDA_ERROR_OPERATING_SYSTEM (304): nearly always the node /dev/nvidia-uvm
    is missing, has old numbers, or its module does not answer, as after the machine has slept.
    """,
    """
    On the host: 'modprobe nvidia-uvm' and 'nvidia-modprobe -u -c 0', after a sleep 'rmmod
    nvidia_uvm; modprobe nvidia_uvm'.  Then the container has to be created anew.
    """,
)
STUB = Code(
    "NCT-0834",
    ERROR,
    "a container has a stub in the place of libcuda (cuInit: 34)",
    """
    CUDA_ERROR_STUB_LIBRARY: the file that is loaded as libcuda.so.1 is the one for linking in the
    CUDA toolkit's folder lib64/stubs, on the host or mounted from there.
    """,
    """
    Take that folder out of /etc/ld.so.conf.d and LD_LIBRARY_PATH of the host, run ldconfig, and
    write the CDI spec anew.
    """,
)
OTHER = Code(
    "NCT-0835",
    ERROR,
    "CUDA does not start in a container",
    """
    cuInit answers with another error than those that have a code of their own; cuda.h and NVIDIA's
    documentation of the CUDA driver API name it.
    """,
    """
    If a CUDA program on the host fails in the same way, it is the driver: see dmesg.  If it works
    there, compare with 'nvidia-ctk doctor --try runc', which takes no engine.
    """,
)
CODES = (NO_DEVICE, MISMATCH, NOT_READY, UNKNOWN, STUB, OTHER)
OPERATING_SYSTEM = 304
MEANINGS = {
    34: ("CUDA_ERROR_STUB_LIBRARY", STUB, ""),
    100: ("CUDA_ERROR_NO_DEVICE", NO_DEVICE, ""),
    OPERATING_SYSTEM: ("CUDA_ERROR_OPERATING_SYSTEM", UNKNOWN, "nvidia-modprobe -u -c 0"),
    802: ("CUDA_ERROR_SYSTEM_NOT_READY", NOT_READY, "systemctl start nvidia-fabricmanager"),
    803: ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", MISMATCH, ""),
    999: ("CUDA_ERROR_UNKNOWN", UNKNOWN, "nvidia-modprobe -u -c 0"),
    # These have no code of their own.
    2: ("CUDA_ERROR_OUT_OF_MEMORY", OTHER, ""),
    46: ("CUDA_ERROR_DEVICE_UNAVAILABLE", OTHER, ""),
    101: ("CUDA_ERROR_INVALID_DEVICE", OTHER, ""),
    800: ("CUDA_ERROR_NOT_PERMITTED", OTHER, ""),
    801: ("CUDA_ERROR_NOT_SUPPORTED", OTHER, ""),
    804: ("CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", OTHER, ""),
}


def meaning(result: int) -> tuple[str, Code, str]:
    """Return the name of an error, its code, and the command to run next, "" for none."""
    return MEANINGS.get(result, ("an error that is not known here", OTHER, ""))
