# SPDX-License-Identifier: Apache-2.0
"""A container's root, opened to be prepared on the host."""

import posix

from nvidia_runtime.rootfs import resolver

_TYPE, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000


class NotContainersError(ValueError):
    """A root that is not a container's own."""


def open_on_host(path: str) -> resolver.Place:
    """Open the root of a container that does not exist yet.

    Raises `NotContainersError` for what is not to be touched: the host's own root, by whatever
    name, and a link, which low-level runtimes refuse, or follow at another time.
    """
    flags = posix.O_PATH | posix.O_NOFOLLOW
    root = resolver.Place(posix.open(resolver.encode(path.rstrip("/") or "/"), flags), "/")
    kind = root.status().st_mode & _TYPE
    reason = ""
    if kind == _LINK:
        reason = "is a link"
    elif kind != _DIRECTORY:
        reason = "is not a folder"
    elif resolver.is_hosts(root):
        reason = "is the host's own"
    if reason:
        posix.close(root.descriptor)
        raise NotContainersError(reason)
    return root
