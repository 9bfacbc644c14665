# SPDX-License-Identifier: Apache-2.0
"""What is not known of real drivers, asked in an order that disturbs no later answer.

First what wakes no GPU, then opening one, then NVML.  Prints JSON; runs as a process of its own,
since NVML may take long, or end it.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import time
from collections.abc import Callable
from typing import Any

PROC = "/proc/driver/nvidia"
NODES = "/dev/nvidia[0-9]*"
UNKNOWN = "?"


def main() -> None:
    """Ask everything; in place of an answer that fails is its error."""
    answers: dict[str, Any] = {}
    for name, ask in QUESTIONS.items():
        try:
            answers[name] = ask()
        except (OSError, ValueError, AttributeError) as error:
            answers[name] = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(answers))


def persistence() -> dict[str, Any]:
    """Say whether something keeps the GPUs awake."""
    return {
        "persistenced": os.path.exists("/run/nvidia-persistenced/socket"),
        "users": sorted({_command(pid) for pid in _holders()}),
    }


def information() -> dict[str, Any]:
    """Read what /proc says of each GPU, twice: what it costs, and whether it knows the UUID."""
    answers = {}
    for path in sorted(glob.glob(f"{PROC}/gpus/*/information")):
        first, text = _timed(_read, path)
        second, _ = _timed(_read, path)
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        uuid = fields.get("GPU UUID", UNKNOWN).strip()
        answers[path.split("/")[-2]] = {"first_ms": first, "second_ms": second, "uuid": uuid}
    return answers


def capabilities() -> dict[str, Any]:
    """List what the driver shows of MIG, before anybody asks NVML whether it is on."""
    return {
        folder: sorted(os.listdir(folder))
        for folder in sorted(glob.glob(f"{PROC}/capabilities/gpu*/mig"))
    } or {"none": []}


def opening() -> dict[str, Any]:
    """Open and close each GPU's node twice."""
    answers = {}
    for path in sorted(glob.glob(NODES)):
        times = []
        for _ in range(2):
            opened, descriptor = _timed(os.open, path, os.O_RDWR | os.O_CLOEXEC)
            closed, _ = _timed(os.close, descriptor)
            times += [opened, closed]
        answers[path] = dict(
            zip(("open_ms", "close_ms", "again_ms", "close_again_ms"), times, strict=True)
        )
    return answers


def nvml() -> dict[str, Any]:
    """Start NVML twice: how long it takes, and which GPUs' nodes it opens when."""
    load, library = _timed(ctypes.CDLL, "libnvidia-ml.so.1")
    answers: dict[str, Any] = {"load_ms": load, "rounds": []}
    for _ in range(2):
        start, code = _timed(library.nvmlInit_v2)
        if code:
            return answers | {"failed": f"nvmlInit_v2: {code}"}
        after_start = _open_nodes()
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        handles = []
        for index in range(count.value):
            took, handle = _timed(_handle, library, index)
            handles.append({"ms": took, "open": _open_nodes(), **_describe(library, handle)})
        end, _ = _timed(library.nvmlShutdown)
        answers["rounds"].append(
            {"init_ms": start, "open": after_start, "gpus": handles, "shutdown_ms": end}
        )
    return answers


def sandboxutils() -> list[str]:
    """Find the library that the toolkit asks first, if it is there."""
    folders = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib")
    return sorted(
        path for folder in folders for path in glob.glob(f"{folder}/libnvidia-sandboxutils.so*")
    )


def _handle(library: ctypes.CDLL, index: int) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    return handle


def _describe(library: ctypes.CDLL, handle: ctypes.c_void_p) -> dict[str, Any]:
    minor = ctypes.c_uint()
    library.nvmlDeviceGetMinorNumber(handle, ctypes.byref(minor))
    return {"minor": minor.value, "mig": _mig(library, handle)}


def _mig(library: ctypes.CDLL, handle: ctypes.c_void_p) -> dict[str, Any]:
    """Return whether MIG is on, and the instances in the order of NVML's indices."""
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    if library.nvmlDeviceGetMigMode(handle, ctypes.byref(current), ctypes.byref(pending)):
        return {"mode": "not supported"}
    most = ctypes.c_uint()
    library.nvmlDeviceGetMaxMigDeviceCount(handle, ctypes.byref(most))
    order = []
    for index in range(most.value):
        mig = ctypes.c_void_p()
        if library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index, ctypes.byref(mig)):
            continue
        gi, ci = ctypes.c_uint(), ctypes.c_uint()
        library.nvmlDeviceGetGpuInstanceId(mig, ctypes.byref(gi))
        library.nvmlDeviceGetComputeInstanceId(mig, ctypes.byref(ci))
        order.append([index, gi.value, ci.value])
    return {"mode": "on" if current.value else "off", "order": order}


def _open_nodes() -> list[str]:
    """List the nodes of GPUs that this process has open."""
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return sorted({link for link in links if link.startswith("/dev/nvidia")})


def _holders() -> list[str]:
    """List the processes that have a GPU open."""
    answers = []
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path).startswith("/dev/nvidia"):
                answers.append(path.split("/")[2])
        except OSError:
            continue
    return answers


def _command(pid: str) -> str:
    try:
        return _read(f"/proc/{pid}/comm").strip()
    except OSError:
        return UNKNOWN


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _timed(call: Callable[..., Any], *values: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = call(*values)
    return round((time.perf_counter() - begun) * 1e3, 3), result


QUESTIONS: dict[str, Callable[[], Any]] = {
    "persistence": persistence,
    "information": information,
    "capabilities": capabilities,
    "opening": opening,
    "nvml": nvml,
    "information_after": information,
    "sandboxutils": sandboxutils,
}

if __name__ == "__main__":
    main()
