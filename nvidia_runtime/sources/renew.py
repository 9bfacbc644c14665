# SPDX-License-Identifier: Apache-2.0
"""CDI specs that no longer fit this machine: renewed if we wrote them, named if not.

Ring: elsewhere; a create comes here when its snapshot or a spec is out of date.
"""

from __future__ import annotations

import hashlib
import os

from nvidia_runtime import start
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.compile import written
from nvidia_runtime.document import loads
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs.files import open_hosts
from nvidia_runtime.sources import specs
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Snapshot

    Spec = dict[str, object]

GPU = "nvidia.com/gpu"
# What other writers' specs are of, and what makes them write one anew.
DRA = "restart the DRA driver on this node, or delete the pod"
HINTS = {
    "k8s.gpu.nvidia.com/": DRA,
    "k8s.compute-domain.nvidia.com/": DRA,
    "k8s.device-plugin.nvidia.com/": "restart NVIDIA's device plugin on this node",
}


def sources(names: tuple[str, ...], snapshot: Snapshot, warnings: list[str]) -> list[Source]:
    """Look devices up in the specs as they are now, again where one of ours was renewed.

    What was renewed and why is added to ``warnings``.  Raises `NvidiaRuntimeError` for a spec that
    does not fit and is not ours, and for devices that no spec describes.
    """
    start.lap("sources")
    registry = compiler.registry(snapshot)
    start.lap("compile")
    try:
        devices = specs.sources(names, registry)
    except NvidiaRuntimeError:
        if not _renew_kinds(names, registry, warnings):
            raise
        devices = specs.sources(names, compiler.registry(snapshot))
    # Ends: a file that comes out as it was counts as one that cannot be renewed.
    while _renew(devices, warnings):
        devices = specs.sources(names, compiler.registry(snapshot))
    return devices


def _renew(devices: list[Source], warnings: list[str]) -> bool:
    """Write anew the file that does not fit; return whether there was one."""
    file, reason = specs.misfit(devices)
    if not file:
        return False
    origins = [(source.name, loads(source.origin.encode(), "snapshot")) for source in devices]
    of_file = [(name, origin["sha256"]) for name, origin in origins if origin.get("file") == file]
    problem = _write_anew(file, of_file[0][1], reason, warnings)
    if problem is not None:
        kinds = [name.partition("=")[0] for name, _ in of_file if name]
        what = f"the CDI spec {reason}"
        if problem.what:
            what += f"; it cannot be written anew: {problem}"
        hint = problem.hint or repair(kinds[0]) or _hint(file, kinds[0])
        raise NvidiaRuntimeError(what, where=file, hint=hint)
    return True


def _renew_kinds(names: tuple[str, ...], registry: Snapshot, warnings: list[str]) -> bool:
    """Write the files of ours anew that describe devices of the same kinds, but not these."""
    kinds = {name.partition("=")[0] for name in names}
    renewed = False
    for path, digest in compiler.files_of(registry, kinds):
        reason = "lacked a device that is asked for"
        problem = _write_anew(path, digest, reason, warnings)
        if problem and problem.what:
            warnings.append(f"cannot write {path} anew: {problem}")
        renewed = renewed or problem is None
    return renewed


def _write_anew(
    path: str, sha256: str, reason: str, warnings: list[str]
) -> NvidiaRuntimeError | None:
    """Generate a spec file of ours again by its options; return why not, if that is impossible.

    A problem without a sentence says that the file is not ours, or would come out as it is.
    """
    options = written.recall(path, sha256)
    if options is None:
        return NvidiaRuntimeError("")
    from nvidia_runtime.generate import changes, machine, output  # heavy: the machine
    from nvidia_runtime.host import library_set

    try:
        generated = machine.generate(options)
        if generated.problems:  # what is there is at least complete
            return NvidiaRuntimeError("; ".join(dict.fromkeys(generated.problems.values())))
        data = output.encode(generated.spec, path)
        if hashlib.sha256(data).hexdigest() == sha256:
            return NvidiaRuntimeError("")  # what is wrong is not the file
        if lost := changes.lost_libraries(_read(path), generated.spec):
            return NvidiaRuntimeError(
                f"without {', '.join(lost)}: {library_set.GONE}", hint=library_set.AGAIN
            )
        output.write(path, data)
    except NvidiaRuntimeError as error:
        return error
    written.remember(path, data, options)
    warnings.append(f"the CDI spec {path} {reason}; wrote it anew")
    return None


def _read(path: str) -> Spec:
    with os.fdopen(open_hosts(path), "rb") as file:
        return cdi_spec.parse(file.read(cdi_spec.LARGEST + 1), path)


def repair(kind: str) -> str:
    """Say what is to be done first where none could be written: no libraries fit the driver."""
    version = files.loaded_driver()
    if kind != GPU or not version:
        return ""
    from nvidia_runtime.host import driver, library_set

    try:
        library_set.check(driver.Driver("/"), version)
    except NvidiaRuntimeError as error:
        return error.hint
    return ""


def _hint(file: str, kind: str) -> str:
    """Say who can write a file anew; a command of ours is none for what others wrote."""
    for vendor, hint in HINTS.items():
        if kind.startswith(vendor):
            return hint
    if kind == GPU:
        command = f"nvidia-ctk cdi generate --output={file}"
        return f"if 'nvidia-ctk cdi generate' wrote it, generate it anew: {command}"
    return f"whoever wrote it for {kind} has to write it anew"
