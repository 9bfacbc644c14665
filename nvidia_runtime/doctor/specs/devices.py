# SPDX-License-Identifier: Apache-2.0
"""Which of this machine's GPUs CDI specs describe, and under which names."""

from __future__ import annotations

import os

from nvidia_runtime.compile import written
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.specs import faults, regeneration
from nvidia_runtime.errors import some
from nvidia_runtime.host import mig, proc
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.sources import renew
from nvidia_runtime.sources.unresolvable import INDEX, UUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import SpecFile
    from nvidia_runtime.doctor.specs.files import Specs

MINOR = "DeviceFileMinor"
ALL = "all"

MISSING = Code(
    "NCT-0331",
    WARNING,
    "a GPU of this machine is in no CDI spec",
    """
    A GPU was added, or MIG devices were made, after the spec had been written.  Containers that
    take GPUs by CDI get 'all' without it, and by its own name 'unresolvable CDI devices'.
    """,
    """
    'nvidia-ctk cdi generate --output=FILE' writes the spec anew; 'nvidia-ctk cdi watch', a service
    of systemd's, does so at each change.
    """,
)
NAMES = Code(
    "NCT-0332",
    NOTE,
    "GPUs have names of one kind only in the CDI specs",
    """
    A device is asked for by the name that its spec gives it.  Where there are only indices, a UUID
    is 'unresolvable', and the other way round; where there is only 'all', single GPUs are.
    """,
    """
    Ask for a name that is there ('nvidia-ctk cdi list'), or generate the spec with both kinds:
    'nvidia-ctk cdi generate --device-name-strategy=index,uuid --output=FILE'.
    """,
)
CODES = (MISSING, NAMES)


def check(specs: Specs) -> Iterator[Finding]:
    """Compare the devices of nvidia.com/gpu with the GPUs of this machine."""
    files = [file for file in specs.used if file.spec["kind"] == renew.GPU]
    if not files:
        return
    command, fix = regeneration.of(files[-1])
    described = {
        faults.host_path(node)
        for file in files
        for _, node in faults.items(file.spec, "deviceNodes")
    }
    missing = [name for path, name in _present() if path not in described and os.path.exists(path)]
    if missing and all(map(_is_for_all, files)):
        yield Finding(
            code=MISSING,
            what=f"{some(missing)} {'is' if len(missing) == 1 else 'are'} in none",
            where=files[-1].path,
            command=command,
            fix=fix,
        )
    names = [
        name.partition("=")[2]
        for name in specs.registry.devices
        if name.startswith(f"{renew.GPU}=")
    ]
    if lacking := _lacking(names):
        what = f"there is no {lacking} among {some(names)}"
        command = "nvidia-ctk cdi list"
        yield Finding(code=NAMES, what=what, where=files[-1].path, command=command)


def _is_for_all(file: SpecFile) -> bool:
    """Whether a spec was to describe all GPUs; of another writer's that is not known."""
    options = written.recall(file.path, file.sha256)
    return options is None or ALL in options.ids


def _lacking(names: list[str]) -> str:
    if names == [ALL]:
        return "single GPU"
    if not any(map(INDEX.fullmatch, names)):
        return "index"
    # The GPU of a SoC is called by its index.
    return "UUID" if proc.gpus("") and not any(map(UUID.fullmatch, names)) else ""


def _present() -> Iterator[tuple[str, str]]:
    """Return the nodes of this machine's GPUs and MIG instances that specs should have.

    Whether a GPU that can do MIG, and has no instance, is one to be used only NVML knows.
    """
    for gpu in proc.gpus(""):
        folder = f"{mig.CAPABILITIES}/gpu{gpu.minor}/mig"
        if gpu.minor >= 0 and not os.path.isdir(folder):
            yield f"/dev/nvidia{gpu.minor}", f"GPU {gpu.index} ({gpu.bus_id})"
        for instance in filter(lambda name: name.startswith("gi"), driver_root.names(folder)):
            fields = proc.information(f"{folder}/{instance}/access")
            if fields.get(MINOR, "").isdigit():
                name = f"GPU instance {instance[2:]} of GPU {gpu.index} ({gpu.bus_id})"
                yield f"{mig.NODE}{fields[MINOR]}", name
