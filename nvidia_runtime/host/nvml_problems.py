# SPDX-License-Identifier: Apache-2.0
"""What is wrong if NVML fails, in sentences, each with its next step."""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Line = dict[str, Any]

# Ours: the library lacks the function.
NO_SYMBOL = -1
# nvmlReturn_t: what it means here, and what to do about it.
INITIALISATION = {
    4: ("NVML may not talk to the driver", "are the permissions of /dev/nvidiactl right?"),
    9: (
        "the NVIDIA kernel module is not loaded",
        "load it with 'modprobe nvidia', or look into dmesg why that fails",
    ),
    18: (
        "the driver's libraries are of another version than the loaded kernel module",
        "the driver was updated: reboot, or unload and load its kernel modules",
    ),
}
# Those that the kernel module is to blame for: it is not loaded, or of another version.
BY_MODULE = (9, 18)
OF_GPU = {
    4: ("may not be opened", "are the permissions of /dev/nvidia* right?"),
    14: ("has a corrupt infoROM", "'nvidia-smi -q' says more; it may have to be replaced"),
    15: (
        "is lost: it has fallen off the bus or is otherwise out of reach",
        "look for 'Xid' in dmesg; 'nvidia-smi --gpu-reset' or a reboot may bring it back",
    ),
    16: ("needs a reset", "'nvidia-smi --gpu-reset' does it while nobody uses the GPU"),
    17: (
        "is kept from us by the operating system",
        "a cgroup or SELinux denies access to its device node",
    ),
}
HEALTH = "does 'nvidia-smi' answer, and what does dmesg say of NVRM?"
PERSISTENCE = "'systemctl enable --now nvidia-persistenced' keeps GPUs ready"
LIBRARY = "is the driver completely installed, and all of it in one version?"


class Words(Exception):  # noqa: N818 (what is raised has it as its cause)
    """What the library, or the loader, says itself; ``is_loading`` is which of the two."""

    def __init__(self, text: str, *, is_loading: bool) -> None:
        super().__init__(text)
        self.is_loading = is_loading


def initialisation(library: str, line: Line) -> NvidiaRuntimeError:
    """Say why NVML as a whole cannot be used; the cause has its own words."""
    error = _initialisation(library, line)
    error.__cause__ = Words(line["text"], is_loading=line["call"] == "dlopen")
    return error


def _initialisation(library: str, line: Line) -> NvidiaRuntimeError:
    code, call, text = line["error"], line["call"], line["text"]
    if call == "dlopen":
        return NvidiaRuntimeError(f"cannot be loaded: {text}", where=library, hint=LIBRARY)
    if code == NO_SYMBOL:
        what = f"lacks the function {call}"
        return NvidiaRuntimeError(what, where=library, hint=LIBRARY)
    what, hint = INITIALISATION.get(code, (f"{call} fails: {text}", HEALTH))
    if code in INITIALISATION:
        what += f" ({text})"
    return NvidiaRuntimeError(what, where=library, hint=hint)


def silent(library: str, problem: str) -> NvidiaRuntimeError:
    """Say that NVML did not start."""
    return NvidiaRuntimeError(f"NVML {problem} while it was started", where=library, hint=HEALTH)


def gpu(index: int, line: Line) -> str:
    """Say why a GPU cannot be used."""
    code, call, text = line["error"], line["call"], line["text"]
    what, hint = OF_GPU.get(code, (f"does not answer: {call} fails: {text}", HEALTH))
    return f"GPU {index} {what}; {hint}"


def lost_child(index: int, problem: str) -> str:
    """Say that NVML crashed or hung for a GPU."""
    return f"GPU {index}: NVML {problem} when asked about it; {HEALTH}"


def not_asked(index: int) -> str:
    """Say that others took all the time."""
    return f"GPU {index} was not asked: NVML took too long before"


def slow(seconds: float, count: int) -> str:
    """Say that GPUs took long to initialise, which persistence mode avoids."""
    gpus = "one GPU" if count == 1 else f"{count} GPUs"
    what = f"it took {seconds:.1f} s to initialise {gpus}"
    return f"{what}: is persistence mode off? {PERSISTENCE}"
