# SPDX-License-Identifier: Apache-2.0
"""The container that a hook is for: its state on stdin or in a file, and its root.

Ring: hook.
"""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import bundle, state
from nvidia_runtime.rootfs import resolver

HINT = "an OCI runtime calls hooks, and writes the state: see the OCI runtime-spec, runtime.md"


def root_path(file: str = "") -> str:
    """Return the absolute path of the container's root; ``file`` has its state, "" or - is stdin.

    crun says the root in the state; the others leave it to be read in config.json.
    """
    container = _read_state(file)
    path = container.root
    if not path:
        found = bundle.read(container.bundle)
        root = found.spec.get("root")
        said = root.get("path") if type(root) is dict else None
        path = said if type(said) is str else ""
        if not path:
            what = "does not say where the container's root is"
            raise NvidiaRuntimeError(what, where=f"{found.path}: root.path", hint=bundle.HINT)
    if path[:1] != "/":
        path = f"{container.bundle}/{path}" if container.bundle else path
    return path if path[:1] == "/" else f"{posix.getcwd()}/{path}"


def _read_state(file: str) -> state.State:
    if file in ("", "-"):
        return state.read()
    try:
        descriptor = posix.open(resolver.encode(file), posix.O_RDONLY | posix.O_NONBLOCK)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", file, HINT) from None
    try:
        return state.read(descriptor)
    finally:
        posix.close(descriptor)


def open_root(path: str) -> resolver.Place:
    """Open a container's root; the host's own is none."""
    try:
        root = resolver.open_root(path)
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        what = f"the container's root cannot be opened: {reason}"
        raise NvidiaRuntimeError(what, where=path, hint=HINT) from None
    here, status = posix.stat("/"), root.status()
    if (here.st_dev, here.st_ino) == (status.st_dev, status.st_ino):
        posix.close(root.descriptor)
        raise NvidiaRuntimeError("is the host's own root, not a container's", where=path, hint=HINT)
    return root
