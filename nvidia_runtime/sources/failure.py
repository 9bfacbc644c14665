# SPDX-License-Identifier: Apache-2.0
"""The record of a create that fails, written when the engine has been told why.

Ring: elsewhere; only a create that fails comes here.
"""

from __future__ import annotations

from nvidia_runtime.admission import policy, request
from nvidia_runtime.errors import NvidiaRuntimeError, short
from nvidia_runtime.oci import bundle, lifecycle
from nvidia_runtime.store import files, record, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.store.snapshot import Settings

# A container that fails is started again and again, each time by a new id.
MOST, MOST_BYTES = 100, 1 << 20


def write(invocation: Invocation, error: NvidiaRuntimeError) -> None:
    """Write the record, but for an id that another container has, which runs.

    Raises whatever goes wrong.
    """
    if lifecycle.state(invocation.container, invocation.root) == lifecycle.RUNNING:
        return
    path = record.path_of(invocation.container, record.FAILED)
    if not path:
        return
    spec, decision = _read(invocation)
    sentences = {"error": str(error), "hint": error.hint}
    decision["failure"] = {
        name: short(said, record.LONGEST_SAID) for name, said in sentences.items()
    }
    record.replace(path, record.text(invocation, spec, decision, []))
    record.prune(path.rpartition("/")[0], MOST, MOST_BYTES)


def _read(invocation: Invocation) -> tuple[Document, Document]:
    """Return config.json, which is as it was, and what it asks for; {} for what cannot be read."""
    nothing = policy.Admitted((), "").decision() | {"prepared": []}
    try:
        spec = bundle.read(invocation.bundle, invocation.config).spec
    except NvidiaRuntimeError:  # which is probably what failed
        return {}, nothing
    try:
        asked = request.read(spec, _settings(), "")
    except NvidiaRuntimeError:
        return spec, nothing
    for devices, source in (
        (asked.by_annotation, "annotations"),
        (asked.by_mount, "volume mounts"),
        (asked.by_env, "environment"),
    ):
        if devices:
            return spec, nothing | {"requested": list(devices), "by": source}
    return spec, nothing


def _settings() -> Settings:
    """Return the settings, the defaults where those are what failed."""
    from nvidia_runtime.compile import snapshot as compiler  # a failure may take its time

    config = files.config_path()
    try:
        return (snapshot.load(config) or compiler.settings(config)).settings
    except NvidiaRuntimeError:
        return compiler.defaults()
