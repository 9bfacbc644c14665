# SPDX-License-Identifier: Apache-2.0
"""Where we keep what we know: the state folder, and what was left in it and elsewhere."""

from __future__ import annotations

import os
import shlex
import time

from nvidia_runtime.compile import written
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Fine
from nvidia_runtime.errors import os_reason, some
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.rootfs import mounts, resolver
from nvidia_runtime.store import files, home, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

# Enough for some snapshots, and the records of many containers.
LEAST_FREE = 8 << 20
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "glusterfs", "fuse.sshfs", "lustre")
FUTURE = files.FUTURE_NS

NOT_OURS = Code(
    "NCT-0531",
    WARNING,
    "the state folder is not ours alone",
    """
    What has been compiled is kept in /run/nvidia-container-runtime (a user's in
    $XDG_RUNTIME_DIR/nvidia-container-runtime, without the variable in /run/user/UID, or in
    /tmp/nvidia-container-runtime-UID), and is believed only where nobody else could have
    written it.  The folder belongs to another user, others may write to it, or it is a link or a
    file.  Each create then reads all settings and CDI specs, and the machine, anew: 50 ms to
    seconds; and there are no records for 'nvidia-ctk explain'.
    """,
    "Give it to root ('chown root', 'chmod 755'), or remove it; the next create makes it anew.",
)
FULL = Code(
    "NCT-0532",
    WARNING,
    "the state folder cannot be written",
    """
    Its file system is full or read-only.  Containers start, but each create compiles anew, and
    there are no records for 'nvidia-ctk explain'.  A full /run troubles engines, too.
    """,
    "Make room ('df -h /run', 'du -xsh /run/*'), or mount it writable.",
)
REMOTE = Code(
    "NCT-0533",
    WARNING,
    "the state folder is on a network file system",
    """
    What is kept there belongs to this machine and to this boot, and is looked at at every create.
    Another machine with the same folder has other GPUs, and a server that does not answer holds up
    every container.
    """,
    "Have /run, or the folder, on a file system of this machine (tmpfs).",
)
NO_FOLDER = Code(
    "NCT-0534",
    NOTE,
    "this user has no state folder",
    """
    A user's state lies in $XDG_RUNTIME_DIR, which is not set, or not the user's; nor is there
    /run/user/UID, and /tmp is not root's and sticky, so that anybody could move what lies there.
    Each create compiles anew, and leaves no record.  A login session sets the variable, 'su',
    'sudo' and batch systems do not.
    """,
    "'loginctl enable-linger USER', and XDG_RUNTIME_DIR=/run/user/UID in the engine's service.",
)
FUTURE_FILE = Code(
    "NCT-0535",
    WARNING,
    "a file is dated in the future",
    """
    A file that has just been changed could change again unseen, so that what was made of it is not
    kept.  This one counts as just changed until the clock has reached its date: until then each
    call starts Python, and each create may compile anew.  The clock was set back, or the file comes
    from another machine.
    """,
    "'touch FILE' dates it anew.",
)
LEFT = Code(
    "NCT-0536",
    NOTE,
    "killed processes have left temporary files",
    """
    A file is written under another name first (.NAME.PID), and one of a process that was killed
    stays until the file is written again.  They harm nothing.
    """,
    "Remove them.",
)
RECORDS = Code(
    "NCT-0537",
    NOTE,
    "there are more records of containers than are kept",
    """
    A record of each container is kept for 'nvidia-ctk explain', 1000 of them and 16 MB at most; one
    create of 64 counts them.  There are more: an older version left them, or the folder is written
    by something else.
    """,
    "Remove the folder; running containers do not need it.",
)
CODES = (NOT_OURS, FULL, REMOTE, NO_FOLDER, FUTURE_FILE, LEFT, RECORDS)


def check(subject: Subject) -> Iterator[Said]:
    """Look at the state folder, then at files elsewhere."""
    folder = files.state_folder()
    if folder:
        yield from _room(folder)
        yield from _records(f"{folder}/containers")
        yield Fine(f"state in {folder}")
    else:
        yield from _no_folder(subject)
    yield from _future(subject)
    yield from _left(subject, folder)


def _no_folder(subject: Subject) -> Iterator[Said]:
    places = [files.SYSTEM_FOLDER] if subject.is_root else home.places()
    if not places:
        own = os.environ.get("XDG_RUNTIME_DIR", "")
        what = f"XDG_RUNTIME_DIR is {own!r}" if own else "XDG_RUNTIME_DIR is not set"
        yield Finding(code=NO_FOLDER, what=what, where="$XDG_RUNTIME_DIR")
        return
    if all(map(os.path.lexists, places)):
        folder = places[0]
        status = os.lstat(folder)
        word = shlex.quote(folder)
        what = f"it belongs to user {status.st_uid} and has mode {status.st_mode & 0o7777:04o}"
        command = f"chown {os.geteuid()} {word}; chmod 755 {word}"
        if os.path.islink(folder) or not os.path.isdir(folder):
            what = "it is a link" if os.path.islink(folder) else "it is a file"
            command = f"rm {word}"
        yield Finding(code=NOT_OURS, what=what, where=folder, command=command)
        return
    yield Fine("the first create makes the state folder")


def _room(folder: str) -> Iterator[Finding]:
    """Look whether a folder can be written, and what it is on: of /run the system's area tells."""
    above = files.stamp(os.path.dirname(files.SYSTEM_FOLDER))
    if above and os.stat(folder).st_dev == above[0]:
        return
    if not os.access(folder, os.W_OK):
        what = f"{folder} may not be written to"
        yield Finding(code=FULL, what=what, where=folder, command=f"findmnt -T {folder}")
        return
    try:
        space = os.statvfs(folder)
        with resolver.Place(os.open(folder, os.O_PATH), folder) as place:
            kind = mounts.file_system(place)
    except OSError as error:
        yield Finding(code=FULL, what=os_reason(error), where=folder)
        return
    free = space.f_bavail * space.f_frsize
    if space.f_blocks and free < LEAST_FREE:
        what = f"{free >> 10} kB of its file system are free"
        yield Finding(code=FULL, what=what, where=folder, command=f"df -h {folder}")
    elif space.f_files and not space.f_favail:
        what = "its file system has no inode left"
        yield Finding(code=FULL, what=what, where=folder, command=f"df -i {folder}")
    if kind in NETWORK:
        what, command = f"its file system is {kind}", f"findmnt -T {folder}"
        yield Finding(code=REMOTE, what=what, where=folder, command=command)


def _records(folder: str) -> Iterator[Finding]:
    try:
        sizes = [entry.stat(follow_symlinks=False).st_size for entry in os.scandir(folder)]
    except OSError:
        return
    # Between two counts there may be some more.
    if len(sizes) > 2 * record.MOST or sum(sizes) > 2 * record.MOST_BYTES:
        what = f"there are {len(sizes)} with {sum(sizes) >> 20} MB"
        yield Finding(code=RECORDS, what=what, where=folder, command=f"rm -rf {folder}")


def _future(subject: Subject) -> Iterator[Finding]:
    """Look for what counts as just changed, and will for more than some seconds."""
    now = time.time_ns()
    # The launcher's shortcut goes by the mtime of config.toml, all else by ctimes.
    times = {subject.path: 3}
    for folder in subject.spec_dirs:
        names = driver_root.names(folder) if os.access(folder, os.R_OK) else []
        times |= dict.fromkeys((folder, *(f"{folder}/{name}" for name in sorted(names))), 4)
    for path, index in times.items():
        stamp = files.stamp(path)
        ahead = max(stamp[index], stamp[4]) - now if stamp else 0
        if 5_000_000_000 < ahead < FUTURE:
            what = f"its time is {ahead // 1_000_000_000} s ahead of this machine's clock"
            command = f"touch {shlex.quote(path)}"
            yield Finding(code=FUTURE_FILE, what=what, where=path, command=command)


def _left(subject: Subject, state: str) -> Iterator[Finding]:
    """Look for temporary files as `files.temporary_name` names them."""
    folders = [*subject.spec_dirs, os.path.dirname(subject.path), os.path.dirname(written.FILE)]
    folders += [state, f"{state}/containers"] if state else []
    paths = []
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            number = entry.name.rpartition(".")[2]
            is_temporary = entry.name.startswith(".") and number.isdigit()
            if is_temporary and len(number) <= files.LONGEST_PID:
                try:
                    is_left = files.is_left(entry.stat(follow_symlinks=False))
                except OSError:
                    continue
                paths += [entry.path] if is_left else []
    if paths:
        command = f"rm -f {shlex.join(paths)}"
        yield Finding(code=LEFT, what=some(paths), where=os.path.dirname(paths[0]), command=command)
