# SPDX-License-Identifier: Apache-2.0
"""Where a user's state may lie: batch systems, unlike sessions, set no XDG_RUNTIME_DIR.

Ring: create, for users alone.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "nvidia-container-runtime"
UID_MAP = "/proc/self/uid_map"
# Of Linux, for users without a number in a namespace; the initial namespace has one for all.
OVERFLOW, ALL = 65534, 4294967295
# Where sessions have theirs, and podman without a session: from version 5 on, and before.
PARENTS = ("/run/user/{}", "/tmp/storage-run-{}", "/tmp/podman-run-{}")
SHARED = "/tmp"
_TYPE, _DIRECTORY, _STICKY = 0o170000, 0o040000, 0o1000


def folders(
    variable: str, is_user: bool, is_ours: "Callable[[str], bool]"
) -> "Iterator[tuple[str, int]]":
    """Yield the places, each with the mode to make it with, the best first.

    ``variable`` is XDG_RUNTIME_DIR's value, which the launcher knows, too: where that is a folder,
    no other counts, so that both read the same.  The last place is in a folder where anybody may
    have made one of its name.  It counts if it is ours, and then nobody
    else can replace it, since /tmp is root's and sticky.
    """
    if variable[:1] == "/":  # a relative one would lead into the bundle
        try:  # where root was given a user's variable, that user could move what is ours
            if posix.lstat(variable).st_uid in (0, posix.geteuid()):
                yield f"{variable}/{NAME}", 0o755
                return
        except (OSError, ValueError):
            pass
    uid = outer_uid() if is_user else 0
    if uid <= 0:
        return
    for parent in PARENTS:
        folder = parent.format(uid)
        if is_ours(folder):
            yield f"{folder}/{NAME}", 0o755
    if _is_sticky(SHARED):
        yield f"{SHARED}/{NAME}-{uid}", 0o700


def outer_uid() -> int:
    """Return our user id in the user namespace around ours, ours if there is none, -1 if unknown.

    Inside one of podman's we are root.  As who stands there for all that it has no number for, we
    could not tell what is ours.
    """
    own = posix.geteuid()
    try:
        descriptor = posix.open(UID_MAP, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return -1
    try:
        rows = posix.read(descriptor, 1 << 16).splitlines()
    finally:
        posix.close(descriptor)
    for row in rows:
        first, outer, count = map(int, row.split())
        if first <= own < first + count:
            return -1 if own == OVERFLOW and count < ALL else outer + own - first
    return -1


def _is_sticky(folder: str) -> bool:
    """Whether in a folder that all may write nobody can move what is ours: it is root's.

    In a user namespace root has another number, which the root folder tells.
    """
    try:
        status, root = posix.lstat(folder), posix.lstat("/")
    except OSError:
        return False
    is_folder = status.st_mode & _TYPE == _DIRECTORY
    return is_folder and status.st_uid == root.st_uid and bool(status.st_mode & _STICKY)
