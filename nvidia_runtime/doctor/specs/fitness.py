# SPDX-License-Identifier: Apache-2.0
"""CDI specs that do not fit this machine, or its engines, any more."""

from __future__ import annotations

import os
import time

from nvidia_runtime.cdi import engine_support, versions
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.specs import faults as spec_faults
from nvidia_runtime.doctor.specs import files as spec_files
from nvidia_runtime.doctor.specs import regeneration
from nvidia_runtime.engines import native_cdi, supported
from nvidia_runtime.errors import some
from nvidia_runtime.generate import changes
from nvidia_runtime.host import proc
from nvidia_runtime.sources import renew
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import SpecFile
    from nvidia_runtime.cdi.spec import Spec
    from nvidia_runtime.doctor.specs.files import Specs

NODES = "/dev/nvidia"
# Those that the driver makes for all GPUs: where one is missing, the spec is not what is wrong.
CONTROL = ("ctl", "-uvm", "-uvm-tools", "-modeset")

OTHER_DRIVER = Code(
    "NCT-0311",
    WARNING,
    "a CDI spec is for another version of the driver",
    """
    The names of the driver's libraries end in its version, and the spec lists those of another one:
    the driver was updated, and the spec was not generated anew.  podman and docker say 'lstat
    /usr/lib/.../libcuda.so.535.104.05: no such file or directory', or 'unresolvable CDI devices';
    programs say 'Driver/library version mismatch'.

    Our runtime renews a spec that it wrote itself when a container asks for it; no other engine
    does.
    """,
    """
    'nvidia-ctk cdi generate --output=FILE' writes it anew.  'nvidia-ctk system install-units' has
    systemd do that after each update of the driver.
    """,
)
GONE = Code(
    "NCT-0312",
    WARNING,
    "a CDI spec mounts files that are not there",
    """
    A spec is all or nothing: if one of its files is missing, no container with its devices starts:
    'error mounting "/usr/..." to rootfs: no such file or directory'.  A package of the driver was
    removed or updated after the spec had been written.
    """,
    "Generate it anew: 'nvidia-ctk cdi generate --output=FILE'.",
)
NO_NODE = Code(
    "NCT-0313",
    WARNING,
    "a CDI spec names device nodes that are not there",
    """
    A GPU or a MIG device that the spec describes is gone, or its nodes are.  Containers that ask
    for it, or for 'all', do not start: 'failed to stat CDI host device "/dev/nvidia3": no such file
    or directory'.
    """,
    "After a change of GPUs or of MIG devices: 'nvidia-ctk cdi generate --output=FILE'.",
)
OTHER_NUMBERS = Code(
    "NCT-0314",
    WARNING,
    "a CDI spec has device numbers that are no longer right",
    """
    The kernel gives nvidia-uvm and nvidia-caps a major number anew at each load of the module, and
    the spec has an earlier one.  Engines make the node with that number, which belongs to nothing
    or to another driver: nvidia-smi works in the container, but CUDA fails with error 999
    (cudaErrorUnknown), 100 (no device) or 'CUDA unknown error'.

    Our own runtime takes the numbers of the machine, whatever the spec says.
    """,
    "Generate it anew: 'nvidia-ctk cdi generate --output=FILE'.",
)
NO_PROGRAM = Code(
    "NCT-0315",
    WARNING,
    "a CDI spec names a hook program that is not there",
    """
    Containers with its devices do not start: 'error running hook #0: fork/exec
    /usr/bin/nvidia-cdi-hook: no such file or directory', under crun 'error executing hook'.  The
    toolkit was removed, or moved, after the spec had been written.
    """,
    """
    Install nvidia-cdi-hook at that place, or generate the spec anew: 'nvidia-ctk cdi generate
    --output=FILE'; '--nvidia-cdi-hook-path' names the program.
    """,
)
TOO_NEW = Code(
    "NCT-0316",
    WARNING,
    "an engine does not know the CDI version of a spec",
    """
    An engine leaves out a spec of a CDI version that is newer than its CDI library, with all its
    devices: 'unresolvable CDI devices nvidia.com/gpu=all'; podman 4 says 'unknown field
    "additionalGids"'.
    """,
    """
    'nvidia-ctk cdi generate --output=FILE' asks the engines of this machine for their versions, and
    writes a spec that all of them read; or update the engine.
    """,
)
LEFT_OVER = Code(
    "NCT-0317",
    WARNING,
    "a CDI spec of Kubernetes does not fit any more",
    """
    NVIDIA's DRA driver and device plugin write a spec for what a pod was given
    (k8s.gpu.nvidia.com-claim_....yaml).  This one is of another version of the driver, or names
    files or devices that are gone: its pod was deleted while nobody tidied up, or the driver was
    updated below a running pod.
    """,
    """
    Its writer has to write it anew: restart the DRA driver or the device plugin on this node, or
    delete the pod.  'nvidia-ctk cdi generate' must not write over it: that would be another kind.
    """,
)
CODES = (OTHER_DRIVER, GONE, NO_NODE, OTHER_NUMBERS, NO_PROGRAM, TOO_NEW, LEFT_OVER)


def check(specs: Specs, file: SpecFile) -> Iterator[Finding]:
    """Compare a spec with this machine."""
    faults = [*_of_driver(file.spec), *_of_nodes(file.spec), *_of_hooks(file.spec)]
    hint = regeneration.writer(file.spec["kind"])
    if faults and hint:
        what = "; ".join(text for _, text, _ in faults)
        yield Finding(code=LEFT_OVER, what=f"{what}: {hint}{_age(file.path)}", where=file.path)
        return
    command, fix = regeneration.of(file)
    severity, engine = specs.weight(file.spec["kind"], is_ours=fix is not None)
    for code, what, place in faults:
        is_next = not (code is OTHER_DRIVER and renew.repair(file.spec["kind"]))
        # What our runtime does not take from a spec harms others only.
        is_others = code is OTHER_NUMBERS and not engine
        yield Finding(
            code=code,
            what=what,
            where=f"{file.path}: {place}" if place else file.path,
            command=command if is_next else "",
            severity=WARNING if is_others else severity,
            engine="" if is_others else engine,
            fix=fix if is_next else None,
        )


def check_engines(specs: Specs) -> Iterator[Finding]:
    """Compare the versions of specs with what the engines of this machine read."""
    spec_versions = {
        file.path: file for file in specs.used if spec_files.is_nvidias(file.spec["kind"])
    }
    if not spec_versions:
        return
    newest = engine_support.by_engine()
    for file in spec_versions.values():
        version = file.spec["cdiVersion"].removeprefix("v")
        command, fix = regeneration.of(file)
        for engine, supported_version in newest.items():
            if versions.is_older(supported_version, version):
                name = engine.partition(" ")[0]
                yield Finding(
                    code=TOO_NEW,
                    what=f"{engine} reads CDI up to {supported_version}, and this is CDI {version}",
                    where=file.path,
                    command=command,
                    engine=name,
                    severity=_weight_for(engine, file.spec["kind"]),
                    fix=fix,
                )


def _weight_for(called: str, kind: str) -> str:
    """Return how much a spec matters to an engine, called by its name and version."""
    name, _, version = called.partition(" ")
    if name == spec_files.BY_SPECS and kind == renew.GPU:
        return ERROR
    numbers = tuple(map(int, version.split(".")))
    # Where it is off unless a file says otherwise, mostly nobody uses it.
    is_on = native_cdi.is_on(supported.ENGINES[name], numbers, None)
    return WARNING if is_on else NOTE


def _of_driver(spec: Spec) -> Iterator[tuple[Code, str, str]]:
    """Return what is wrong with the files: those of another driver are not also missing."""
    of_spec, loaded = changes.driver_version(spec), files.loaded_driver()
    missing = spec_faults.missing_mounts(spec)
    if of_spec and loaded and of_spec != loaded:
        what = f"it is for driver {of_spec}, but {loaded} is loaded"
        if missing:
            what += f", and {len(missing)} of its files are gone"
        yield OTHER_DRIVER, what, ""
    elif missing:
        paths = list(dict.fromkeys(path for _, path in missing))
        yield GONE, f"{some(paths)} {_is_or_are(paths)} not there", missing[0][0]


def _of_nodes(spec: Spec) -> Iterator[tuple[Code, str, str]]:
    present = {f"{NODES}{gpu.minor}" for gpu in proc.gpus("")}
    present |= {NODES + name for name in CONTROL}
    places = dict(spec_faults.items(spec, "deviceNodes"))
    missing = {
        place: spec_faults.host_path(places[place]) for place, _ in spec_faults.missing_nodes(spec)
    }
    gone = {place: path for place, path in missing.items() if path not in present}
    if gone:
        paths = list(dict.fromkeys(gone.values()))
        yield NO_NODE, f"{some(paths)} {_is_or_are(paths)} not there", next(iter(gone))
    other = spec_faults.other_nodes(spec)
    if other:
        texts = list(dict.fromkeys(text for _, text in other))
        yield OTHER_NUMBERS, some(texts), other[0][0]


def _of_hooks(spec: Spec) -> Iterator[tuple[Code, str, str]]:
    for path, places in spec_faults.missing_programs(spec).items():
        hooks = "a hook" if len(places) == 1 else f"{len(places)} hooks"
        yield NO_PROGRAM, f"{hooks} would run {path}, which is not there", f"{places[0]}.path"


def _age(path: str) -> str:
    """Say that a file is older than the boot: what it was written for is gone, then."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        return " (it is older than the boot)" if os.stat(path).st_mtime < booted else ""
    except OSError:
        return ""


def _is_or_are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
