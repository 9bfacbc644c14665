# SPDX-License-Identifier: Apache-2.0
"""The state folder, files that are replaced whole, and stamps, which tell that one is as it was.

It is long, as a module more would cost each call more than its lines do.
"""

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAME = "nvidia-container-runtime"
SYSTEM_FOLDER = f"/run/{NAME}"
# In a user's home, and in a user's state folder.
OWN_CONFIG, HOME = f".config/{NAME}/config.toml", "home"
# The second says it in a sentence, and is the only one in some sandboxes and virtual machines.
DRIVER = ("/sys/module/nvidia/version", "/proc/driver/nvidia/version")
# What a container without libcuda comes to.
NO_CUDA = "programs in containers that need CUDA will fail"
LONGEST_TEXT = 4096
# One component of a path has at most 255 bytes on Linux.
LONGEST_NAME = 200
LONGEST_PID = 7
LEFT_SECONDS = 60
EEXIST = 17  # the module errno is 50 us
# What is dated later than in an hour was dated by another clock; a server of files may be ahead.
FUTURE_NS = 3_600_000_000_000

Stamp = list[int]


def are_unchanged(stamps: "list[list[Any]]") -> bool:
    """Whether every file and folder has its stamp; an entry of a path alone is one that is absent.

    Whatever is compared first changes most often.
    """
    stat = posix.stat
    for entry in stamps:
        try:
            status = stat(entry[0])
        except OSError:
            if len(entry) > 1:
                return False
            continue
        if (
            len(entry) == 1
            or status.st_mtime_ns != entry[4]
            or status.st_ctime_ns != entry[5]
            or status.st_ino != entry[2]
            or status.st_size != entry[3]
            or status.st_dev != entry[1]
        ):
            return False
    return True


def stamp(path: str) -> Stamp | None:
    """Return what changes when a file does: device, inode, size, mtime and ctime in ns."""
    try:
        status = posix.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def loaded_driver(root: str = "") -> str:
    """Return the version of the loaded driver, "" if there is none.

    ``root`` is where /proc and /sys are.
    """
    for path in DRIVER:
        line = (read_text(root.rstrip("/") + path) or "").partition("\n")[0]
        for word in line.split():
            if is_driver_version(word):
                return word
    return ""


def is_driver_version(word: str) -> bool:
    """Whether a word is a version of a driver: 535.104.05, not x86_64, 2023 nor 20220623.0.0.

    The first number is the branch, of three digits: Tegra's libcuda.so.1.1 says nothing of it.
    """
    parts = word.split(".")
    is_long = len(parts) > 1 and 2 < len(parts[0]) < 5 and len(word) < 32
    return is_long and all(part.isascii() and part.isdigit() for part in parts)


def read_text(path: str) -> str | None:
    """Read a short file of /proc or /sys, ``None`` if it cannot be read."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return posix.read(descriptor, LONGEST_TEXT).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        posix.close(descriptor)


def environment(name: bytes) -> str:
    """Read a variable of our own environment; unset is empty."""
    value: bytes = posix.environ.get(name, b"")
    return value.decode("utf-8", "surrogateescape")


def config_path(by_home: bool = True) -> str:
    """Return the path of config.toml, which need not exist.

    A user may have one at home, which without ``by_home`` does not count: in HOME, or where a call
    has none, in that of the last create, since whatever stops and deletes a container has to read
    what its create did.  The launcher does the same.
    """
    path = environment(b"NVIDIA_CTK_CONFIG_FILE_PATH")
    folder = environment(b"XDG_CONFIG_HOME")
    if not path and not folder and by_home and is_user():
        home = environment(b"HOME") or remembered_home()
        own = f"{home}/{OWN_CONFIG}"
        if home[:1] == "/" and stamp(own):
            return own
    return path or f"{folder or '/etc'}/{NAME}/config.toml"


def remembered_home() -> str:
    """Return what HOME was at a create: podman hands it to no other call."""
    folder = state_folder()
    try:
        data = read_own(f"{folder}/{HOME}") if folder else b""
    except (OSError, ValueError):
        return ""
    return data.decode("utf-8", "surrogateescape").partition("\n")[0]


def is_user() -> bool:
    """Whether we are a user, or root in a user namespace of one; the launcher judges likewise."""
    uid = posix.geteuid()
    for path in (SYSTEM_FOLDER, "/"):
        try:
            if posix.stat(path).st_uid == uid:
                return False
        except OSError:
            continue
    return True


def state_folder(make: bool = False) -> str:
    """Return the folder for our state, "" where no folder is ours alone.

    root's is ``/run/nvidia-container-runtime``; `users.folders` says where a user's lies, and that
    of root in a user namespace.  The launcher chooses in the same way.
    """
    if is_ours(SYSTEM_FOLDER) or (make and make_folder(SYSTEM_FOLDER)):
        return SYSTEM_FOLDER
    from nvidia_runtime.store import users  # not for root

    for folder, mode in users.folders(environment(b"XDG_RUNTIME_DIR"), is_user(), is_ours):
        if is_ours(folder) or (make and make_folder(folder, mode)):
            return folder
    return ""


def is_ours(folder: str) -> bool:
    """Whether a folder is ours, no link, and nobody else may write in it."""
    try:
        status = posix.lstat(folder)
    except (OSError, ValueError):
        return False
    return (
        status.st_mode & 0o170000 == 0o040000
        and status.st_uid == posix.geteuid()
        and not status.st_mode & 0o022
    )


def make_folder(folder: str, mode: int = 0o755) -> bool:
    """Make a folder of ours; return whether it is there."""
    umask = posix.umask(0)
    try:
        posix.mkdir(folder, mode)
    except (OSError, ValueError):
        return is_ours(folder)  # somebody may have been faster
    finally:
        posix.umask(umask)
    return True


def is_own(path: str) -> bool:
    """Whether something is there that is root's or ours, and no link.

    So it has to be where anybody may make one, as in /tmp.
    """
    try:
        status = posix.lstat(path)
    except (OSError, ValueError):
        return False
    return status.st_mode & 0o170000 != 0o120000 and status.st_uid in (0, posix.geteuid())


def read_own(path: str) -> bytes:
    """Read a file of ours; raises `ValueError` if anybody else could have written it."""
    # A FIFO would be waited for.
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    try:
        status = posix.fstat(descriptor)
        if status.st_uid != posix.geteuid() or status.st_mode & 0o170022 != 0o100000:
            raise ValueError("not ours alone")
        return posix.read(descriptor, status.st_size)
    finally:
        posix.close(descriptor)


def replace(
    path: str,
    data: bytes,
    mode: int = 0o600,
    *,
    sync: bool = False,
    finish: "Callable[[int], None] | None" = None,
    mark: str = "",
    tidy: bool = True,
) -> None:
    """Replace the text of a file: a reader sees the old or the new one, whole.

    The one way for all files but those of a container.  ``path`` is absolute; ``finish`` is given
    the descriptor of the new file before it is seen; with ``sync`` it is on the disk when this
    returns.  ``mark`` stands in the name of the temporary file, in place of our process id.  With
    ``tidy``, what killed processes left beside it goes.  Raises `OSError`; the old file is then as
    it was.
    """
    folder = path.rpartition("/")[0]
    temporary = temporary_name(path, mark or str(posix.getpid()))
    descriptor = _open_new(temporary, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[posix.write(descriptor, rest) :]
            posix.fchmod(descriptor, mode)  # whatever the umask
            if finish:
                finish(descriptor)
            if sync:
                posix.fsync(descriptor)
            number = posix.fstat(descriptor).st_ino
        finally:
            posix.close(descriptor)
        if posix.lstat(temporary).st_ino != number:  # our id is another's in its PID namespace
            temporary = ""
            raise FileExistsError(EEXIST, "another process writes it", path)
        posix.rename(temporary, path)
    except BaseException:
        try:
            if temporary:
                posix.unlink(temporary)
        except OSError:  # it must not hide what went wrong first
            pass
        raise
    if sync:
        sync_folder(folder or "/")
    if tidy:
        sweep(folder or "/", temporary_name(path, "").rpartition("/")[2])


def sweep(folder: str, beginning: str) -> None:
    """Remove our files that end in a number, a process id, if they are a minute old.

    A process that was killed leaves one, and one of another number never comes upon it.
    """
    try:
        for name in posix.listdir(folder):
            number = name.removeprefix(beginning)
            # A date, as in somebody's own copy, is longer.
            if number != name and number.isdigit() and len(number) <= LONGEST_PID:
                path = f"{folder}/{name}"
                if is_left(posix.lstat(path)):
                    posix.unlink(path)
    except OSError:
        return


def is_left(status: "posix.stat_result") -> bool:
    """Whether a temporary file of ours is so old that nobody writes it any more."""
    is_ours = status.st_uid == posix.geteuid() and status.st_mode & 0o170000 == 0o100000
    return is_ours and status.st_ctime < time.time() - LEFT_SECONDS


def temporary_name(path: str, mark: str) -> str:
    """Return the name that a file has while it is written."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name[:100]}.{mark}"


def _open_new(path: str, mode: int) -> int:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        return posix.open(path, flags, mode & 0o600)
    except FileExistsError:  # of a killed process with our number, which in a container is usual
        posix.unlink(path)
        return posix.open(path, flags, mode & 0o600)


def sync_folder(folder: str) -> None:
    """Bring the names in a folder to the disk, where the file system can."""
    try:
        descriptor = posix.open(folder, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.fsync(descriptor)
    except OSError:
        pass
    finally:
        posix.close(descriptor)
