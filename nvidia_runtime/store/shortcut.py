# SPDX-License-Identifier: Apache-2.0
"""The launcher's shortcut: which low-level runtime to execute without starting Python.

Its first line is ``CONFIG:PATH:RUNTIME``, in a file whose mtime equals that of config.toml: equal,
not newer, because restored backups and package upgrades bring old mtimes.  Without a config.toml
the line begins with a ``-``.  The launcher hands over the file's name and the line's key, so that
both sides compute them once.  The second line is ``1:GREP``, the program with which the launcher
looks for the words on the other lines in the config.json of a create; without a program, or with
another number, all creates are Python's.  The number changes with the rules for the words.  Ring:
elsewhere.
"""

import errno
import os
import time

from nvidia_runtime.start import ASKING
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.start import Launch

# Some shells compare whole seconds: an edit within this time might not change what they see.
SETTLED_NS = 2_000_000_000
MOST_FILES = 8
PREFIX = "low-level-runtime."
# The second line where nothing is known of creates.
UNKNOWN = "0:"


def remember(launch: "Launch", config: str, runtime: str, words: "list[str] | None" = None) -> None:
    """Write the shortcut where it cannot mislead; otherwise leave none.  Never raises OSError.

    ``words`` are those of a config.json that asks for something, none if each may; ``None`` if that
    is not known.
    """
    folder = files.state_folder(make=True)
    if not folder or os.path.dirname(launch.shortcut) != folder:
        return
    try:
        if _may_shorten(launch, config, runtime):
            _write(launch, config, [runtime, *_of_creates(words)])
            _forget_oldest(folder)
        else:
            os.unlink(launch.shortcut)
    except (OSError, ValueError):
        return


def _may_shorten(launch: "Launch", config: str, runtime: str) -> bool:
    if "\n" in launch.key + runtime or runtime[:1] != "/":
        return False
    if launch.key.startswith(f"-{config}:"):
        return not os.path.lexists(config)
    # Through a symbolic link, config.toml can change without a change of the mtimes that sh sees.
    if not launch.key.startswith(f"{config}:") or config != os.path.realpath(config):
        return False
    mtime, now = os.stat(config).st_mtime_ns, time.time_ns()
    # An edit of today sets no time of tomorrow.
    return mtime >= SETTLED_NS and not now - SETTLED_NS < mtime < now + files.FUTURE_NS


def _of_creates(words: "list[str] | None") -> list[str]:
    """Return the lines for creates."""
    if words is None:
        return [UNKNOWN]
    program = _grep() if words else ""
    return [f"{ASKING}{program}", *(words if program else ())]


def _grep() -> str:
    """Return the path of grep, "" if there is none."""
    for folder in (*files.environment(b"PATH").split(":"), "/usr/bin", "/bin"):
        path = f"{folder}/grep"
        if path[:1] == "/" and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _write(launch: "Launch", config: str, lines: list[str]) -> None:
    before = files.stamp(config)
    text = "".join(f"{line}\n" for line in lines)
    data = f"{launch.key}:{text}".encode(errors="surrogateescape")

    def date(descriptor: int) -> None:
        if before:
            os.utime(descriptor, ns=(before[3], before[3]))
        if files.stamp(config) != before:  # before anybody sees it
            raise OSError(errno.EAGAIN, "changes meanwhile", config)

    files.replace(launch.shortcut, data, finish=date)


def _forget_oldest(folder: str) -> None:
    """Keep the shortcuts of a few keys; engines and users differ in PATH, but not endlessly."""
    entries = list(os.scandir(folder))
    for entry in entries:  # of a process that was killed; the last form is an older version's
        is_left = entry.name.startswith(f".{PREFIX}") or entry.name.count(".") > 1
        if PREFIX in entry.name and is_left and time.time() - entry.stat().st_ctime > 60:
            os.unlink(entry.path)
    shortcuts = [e for e in entries if e.name.startswith(PREFIX) and e.name.count(".") == 1]
    shortcuts.sort(key=lambda entry: entry.stat().st_ctime_ns)
    for entry in shortcuts[:-MOST_FILES]:
        os.unlink(entry.path)
