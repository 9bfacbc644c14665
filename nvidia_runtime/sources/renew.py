# SPDX-License-Identifier: Apache-2.0
"""CDI specs that no longer fit this machine: renewed if we wrote them, named if not.

Ring: elsewhere; a create comes here when its snapshot or a spec is out of date.
"""

from __future__ import annotations

import hashlib

from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.compile import written
from nvidia_runtime.document import loads
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Snapshot


def sources(names: tuple[str, ...], snapshot: Snapshot, warnings: list[str]) -> list[Source]:
    """Look devices up in the specs as they are now, again where one of ours was renewed.

    What was renewed and why is added to ``warnings``.  Raises `NvidiaRuntimeError` for a spec that
    does not fit and is not ours, and for devices that no spec describes.
    """
    registry = compiler.registry(snapshot)
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
    origins = [loads(source.origin.encode(), "snapshot") for source in devices]
    digests = [origin["sha256"] for origin in origins if origin and origin["file"] == file]
    if not write_anew(file, digests[0], reason, warnings):
        raise _error(file, reason)
    return True


def _renew_kinds(names: tuple[str, ...], registry: Snapshot, warnings: list[str]) -> bool:
    """Write the files of ours anew that describe devices of the same kinds, but not these."""
    kinds = {name.partition("=")[0] for name in names}
    renewed = False
    for path, digest in compiler.files_of(registry, kinds):
        reason = "lacked a device that is asked for"
        renewed = write_anew(path, digest, reason, warnings) or renewed
    return renewed


def write_anew(path: str, sha256: str, reason: str, warnings: list[str]) -> bool:
    """Generate a spec file of ours again by its options; return whether that was possible."""
    options = written.recall(path, sha256)
    if options is None:
        return False
    from nvidia_runtime.generate import machine, output  # heavy: the machine

    try:
        generated = machine.generate(options)
        if generated.problems:
            return False  # what is there is at least complete
        data = output.encode(generated.spec, path)
        if hashlib.sha256(data).hexdigest() == sha256:
            return False  # what is wrong is not the file
        output.write(path, data)
    except NvidiaRuntimeError as error:
        warnings.append(f"cannot write {path} anew: {error}")
        return False
    written.remember(path, data, options)
    warnings.append(f"the CDI spec {path} {reason}; wrote it anew")
    return True


def _error(file: str, reason: str) -> NvidiaRuntimeError:
    hint = f"generate it anew: nvidia-ctk cdi generate --output={file}"
    return NvidiaRuntimeError(f"the CDI spec {reason}", where=file, hint=hint)
