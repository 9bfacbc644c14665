# SPDX-License-Identifier: Apache-2.0
"""The container that a hook is for: its state on stdin or in a file, and its root."""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import bundle, state
from nvidia_runtime.rootfs import resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.verbs import Step


class Container:
    """A container for the verbs of a call, which say what was done and what was left undone.

    Who has its root open already gives it.
    """

    __slots__ = ("_root", "done", "warnings")

    def __init__(self, warnings: list[str], root: "resolver.Place | None" = None) -> None:
        self.warnings = warnings
        self.done: list[str] = []
        self._root = root

    def root(self, step: "Step") -> resolver.Place:
        """Return the root, opened when it is first needed: stdin can be read once."""
        if self._root is None:
            self._root = _open_root(_root_path(step.texts.get("container-spec", "")))
        return self._root


def _root_path(file: str) -> str:
    """Return the absolute path of the container's root; ``file`` has its state, "" or - is stdin.

    crun says the root in the state; the others leave it to be read in config.json.
    """
    container = _read_state(file)
    if container.root:
        return bundle.absolute(container.root, container.bundle)
    config = bundle.read(container.bundle)
    path = bundle.root_path(config.spec, container.bundle)
    if not path:
        what = "does not say where the container's root is"
        raise NvidiaRuntimeError(what, where=f"{config.path}: root.path", hint=bundle.HINT)
    return path


def _read_state(file: str) -> state.State:
    if file in ("", "-"):
        return state.read()
    try:
        descriptor = posix.open(resolver.encode(file), posix.O_RDONLY | posix.O_NONBLOCK)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", file, state.HINT) from None
    try:
        return state.read(descriptor)
    finally:
        posix.close(descriptor)


def _open_root(path: str) -> resolver.Place:
    """Open a container's root; refuse the host's own."""
    try:
        root = resolver.open_root(path)
    except (OSError, ValueError) as error:
        what = f"the container's root cannot be opened: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=path, hint=state.HINT) from None
    if root.is_hosts():
        posix.close(root.descriptor)
        what = "is the host's own root, not a container's"
        raise NvidiaRuntimeError(what, where=path, hint=state.HINT)
    return root
