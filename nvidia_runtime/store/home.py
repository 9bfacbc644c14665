# SPDX-License-Identifier: Apache-2.0
"""What a user has in the place of /etc and /run: settings at home, and a folder for state.

The home is written down for calls that are not told: podman hands HOME to create, and nothing but
XDG_RUNTIME_DIR to kill and delete.  Ring: create, for users alone.
"""

import posix

from nvidia_runtime.store import files, users


def remember() -> None:
    """Keep HOME if there are settings, forget what was kept if there are none.

    Never raises `OSError`.
    """
    home = files.environment(b"HOME")
    if home[:1] != "/" or "\n" in home or not files.stamp(f"{home}/{files.OWN_CONFIG}"):
        home = ""
    folder = files.state_folder(make=bool(home))
    if not folder or home == files.remembered_home():
        return
    try:
        if home:
            data = f"{home}\n".encode("utf-8", "surrogateescape")
            files.replace(f"{folder}/{files.HOME}", data, tidy=False)
        else:
            posix.unlink(f"{folder}/{files.HOME}")
    except (OSError, ValueError):
        return


def places() -> list[str]:
    """List where our state may lie, the best place first."""
    variable = files.environment(b"XDG_RUNTIME_DIR")
    return [folder for folder, _ in users.folders(variable, files.is_user(), files.is_ours)]


def can_have_state() -> bool:
    """Whether one of these places is ours, or can be made."""
    return any(files.is_ours(folder) or not _is_there(folder) for folder in places())


def _is_there(path: str) -> bool:
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True
