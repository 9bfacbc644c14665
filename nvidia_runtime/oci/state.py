# SPDX-License-Identifier: Apache-2.0
"""The state of a container, which a hook gets on stdin (runtime-spec, runtime.md, "State")."""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# Annotations are the only large part of a state; engines pass on 16 MiB at most.
LARGEST = 16 << 20
WHERE = "container state on stdin"
HINT = "an OCI runtime calls hooks, and writes the state: see the OCI runtime-spec, runtime.md"


class State:
    """What a hook needs of the state; ``pid`` is 0 where it is missing.

    ``root`` is the container's root folder, which only crun names.
    """

    __slots__ = ("bundle", "container", "pid", "root")

    def __init__(self, container: str, bundle: str, pid: int, root: str = "") -> None:
        self.container = container
        self.bundle = bundle
        self.pid = pid
        self.root = root


def read(descriptor: int = 0) -> State:
    """Read a state to its end; ``bundlePath`` is what runtimes before 1.0.0-rc2 called the bundle.

    Raises `NvidiaRuntimeError` for anything else; an id or a bundle may be missing.
    """
    state = document.loads(_read_all(descriptor), WHERE, HINT)
    if type(state) is not dict:
        what = f"must be a JSON object, not {document.kind(state)}"
        raise NvidiaRuntimeError(what, where=WHERE, hint=HINT)
    for name in ("id", "bundle", "bundlePath"):
        if state.get(name) is not None and type(state[name]) is not str:
            raise _wrong_type(name, "a string", state[name])
    pid = state.get("pid") or 0
    if type(pid) is not int or pid < 0:
        raise _wrong_type("pid", "a whole number from 1", pid)
    bundle = state.get("bundle") or state.get("bundlePath") or ""
    root = state.get("root")  # no field of the specification: any type may be there
    return State(state.get("id") or "", bundle, pid, root if type(root) is str else "")


def _read_all(descriptor: int) -> bytes:
    data = b""
    try:
        while part := posix.read(descriptor, 1 << 16):
            data += part
            if len(data) > LARGEST:
                what = f"is too large: the limit is {LARGEST} bytes"
                raise NvidiaRuntimeError(what, where=WHERE, hint=HINT)
    except OSError as error:
        what = f"cannot be read: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=WHERE, hint=HINT) from None
    return data


def _wrong_type(name: str, wanted: str, value: object) -> NvidiaRuntimeError:
    actual = str(value) if type(value) in (int, float) else "{}"
    return document.wrong_type(f"{WHERE}: {name}", wanted, value, actual, HINT)
