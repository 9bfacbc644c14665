# SPDX-License-Identifier: Apache-2.0
"""CDI specs that no longer fit this machine: renewed if we wrote them, named if not.

Ring: elsewhere; a create comes here when its snapshot or a spec is of yesterday.
"""

from __future__ import annotations

import hashlib

from nvidia_runtime.compile import snapshot, written
from nvidia_runtime.document import loads
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Snapshot


def sources(names: tuple[str, ...], known: Snapshot, said: list[str]) -> list[Source]:
    """Look devices up in the specs as they are now, again where one of ours was renewed.

    What was renewed and why is added to ``said``.  Raises `NvidiaRuntimeError` for a spec that does
    not fit and is not ours, and for devices that no spec describes.
    """
    found = snapshot.registry(known)
    try:
        devices = specs.sources(names, found)
    except NvidiaRuntimeError:
        if not _renew_kinds(names, found, said):
            raise
        devices = specs.sources(names, snapshot.registry(known))
    # Ends: a file that comes out as it was counts as one that cannot be renewed.
    while _renew(devices, said):
        devices = specs.sources(names, snapshot.registry(known))
    return devices


def _renew(found: list[Source], said: list[str]) -> bool:
    """Write the file anew that does not fit; say whether there was one."""
    file, reason = specs.misfit(found)
    if not file:
        return False
    origins = [loads(source.origin.encode(), "snapshot") for source in found]
    digests = [origin["sha256"] for origin in origins if origin and origin["file"] == file]
    if not write_anew(file, digests[0], reason, said):
        raise _error(file, reason)
    return True


def _renew_kinds(names: tuple[str, ...], found: Snapshot, said: list[str]) -> bool:
    """Write the files of ours anew that describe devices of the same kinds, but not these."""
    kinds = {name.partition("=")[0] for name in names}
    renewed = False
    for path, digest in snapshot.files_of(found, kinds):
        reason = "lacked a device that is asked for"
        renewed = write_anew(path, digest, reason, said) or renewed
    return renewed


def write_anew(path: str, sha256: str, reason: str, said: list[str]) -> bool:
    """Generate a spec file of ours again by its options; say whether that was possible."""
    options = written.recall(path, sha256)
    if options is None:
        return False
    from nvidia_runtime.generate import machine, output  # heavy: the machine

    try:
        made = machine.generate(options)
        if made.problems:
            return False  # what is there is at least complete
        data = output.encode(made.spec, path)
        if hashlib.sha256(data).hexdigest() == sha256:
            return False  # what is wrong is not the file
        output.write(path, data)
    except NvidiaRuntimeError as error:
        said.append(f"cannot write {path} anew: {error}")
        return False
    written.remember(path, data, options)
    said.append(f"the CDI spec {path} {reason}; wrote it anew")
    return True


def _error(file: str, reason: str) -> NvidiaRuntimeError:
    hint = f"generate it anew: nvidia-ctk cdi generate --output={file}"
    return NvidiaRuntimeError(f"the CDI spec {reason}", where=file, hint=hint)
