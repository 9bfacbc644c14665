# SPDX-License-Identifier: Apache-2.0
"""The child that talks to NVML: it writes a line of JSON for each step, and a line for each GPU.

Ring: elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal

from nvidia_runtime.host import nvml_calls
from nvidia_runtime.host.nvml_calls import Nvml, NvmlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Line = dict[str, Any]

NOWHERE = "/dev/null"
PR_SET_PDEATHSIG = 1


def become(library: str, known: set[int], writable: int, parent: int) -> NoReturn:
    """Ask about all GPUs but those that are known; whatever happens, never return.

    The child ends with us, and holds nothing that an engine waits for: it may hang in the kernel.
    """
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _detach(writable)
            _walk(library, known, writable)
            os._exit(0)
    finally:
        os._exit(1)


def _detach(writable: int) -> None:
    # A crash leaves no core dump: 1 is the limit that also holds for programs that take them.
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
    nowhere = os.open(NOWHERE, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    # Not up to the limit, which may be a billion.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != writable:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))


def _walk(library: str, known: set[int], writable: int) -> None:
    def say(**line: object) -> None:
        os.write(writable, json.dumps(line).encode() + b"\n")

    try:
        nvml = Nvml(library)
        driver, cuda = nvml_calls.driver_versions(nvml)
        count = nvml.number("nvmlDeviceGetCount_v2")
        say(driver=driver, cuda=cuda, count=count)
        for index in range(count):
            if index not in known:
                say(at=index)
                say(gpu=index, **_gpu(nvml, index))
        say(done=True)
    except OSError as error:
        say(error=0, text=str(error), call="dlopen")
    except NvmlError as error:
        say(error=error.code, text=error.text, call=error.call)


def _gpu(nvml: Nvml, index: int) -> Line:
    """Ask about a GPU; that the library lacks a function is no fault of the GPU."""
    try:
        return nvml_calls.gpu(nvml, index)
    except NvmlError as error:
        if error.code == nvml_calls.NO_SYMBOL:
            raise
        return {"error": error.code, "text": error.text, "call": error.call}
