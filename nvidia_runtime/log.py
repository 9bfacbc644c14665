# SPDX-License-Identifier: Apache-2.0
"""Messages for users and engines: runc's ``--log`` file, our debug file, stderr.

Engines show the last error line of the ``--log`` file to their user, so ours must be there, in the
format that ``--log-format`` asks for.  Ring: pass-through; loaded when there is a message.
"""

import posix
import time

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, short

# logrus' names, most severe first; a log writes its own level and all before it.
LEVELS = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
LONGEST = 16 << 10
# O_CLOEXEC is posix.open's default.
APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT
APPEND |= posix.O_NONBLOCK  # a FIFO that nobody reads would hold up everything


class Log:
    """The files that messages are written to, in logrus' text or JSON form."""

    __slots__ = ("descriptors", "json", "level")

    def __init__(self, json: bool = False, level: str = "info") -> None:
        self.json = json
        self.descriptors: list[int] = []
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write what is at least as severe as ``level`` from now on; no level means info."""
        name = level.strip().lower()
        name = "warning" if name == "warn" else name
        self.level = LEVELS.index(name) if name in LEVELS else LEVELS.index("info")

    def open(self, path: str) -> None:
        """Append to ``path`` too, whose folders are made; a failure is a warning, not an error."""
        if path in ("", "/dev/null"):
            return
        try:
            if link := _planted(path):
                raise PermissionError(f"{link} is a link of another user's")
            self.descriptors.append(_open_append(path))
        except (OSError, ValueError) as error:
            why = error if isinstance(error, OSError) else os_reason(error)
            self.write("warning", f"failed to open log file {path}: {why}")

    def write(self, level: str, message: str) -> None:
        """Write one line to every file; a full disk must not stop a kill, so errors are ignored."""
        if not self.descriptors or LEVELS.index(level) > self.level:
            return
        line = line_of(level, shown(message), self.json).encode("utf-8", "backslashreplace")
        for descriptor in self.descriptors:
            try:
                posix.write(descriptor, line)
            except OSError:
                continue


def line_of(level: str, message: str, json: bool) -> str:
    """Return a message as one line, as logrus writes it."""
    # In UTC, which needs no table of zones; logrus' readers take any zone.
    now = "%04d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime()[:6]  # noqa: UP031 (no faster way)
    if json:
        return f'{{"level":"{level}","msg":{_quote(message)},"time":"{now}"}}\n'
    return f'time="{now}" level={level} msg={_quote(message)}\n'


def shown(text: str) -> str:
    """Return a text without control characters or end: a container chooses names that we repeat."""
    text = short(text, LONGEST)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def report(error: NvidiaRuntimeError, program: str, log: Log) -> None:
    """Tell the engine (log) and the user (stderr) why the program ends."""
    sentence, hint = shown(f"{program}: {error}"), shown(error.hint)
    log.write("error", sentence + (f" (hint: {hint})" if hint else ""))
    warn(f"{sentence}\n" + (f"hint: {hint}\n" if hint else ""))


def warn(text: str) -> None:
    """Write to stderr; a closed stderr is not an error."""
    try:
        posix.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def _open_append(path: str) -> int:
    try:
        descriptor = posix.open(path, APPEND, 0o644)
    except FileNotFoundError:
        _make_folders(path.rpartition("/")[0])
        descriptor = posix.open(path, APPEND, 0o644)
    taken = []
    while descriptor < 3:  # where the caller closed stderr, its messages must not be written here
        taken.append(descriptor)
        descriptor = posix.dup(descriptor)
        posix.set_inheritable(descriptor, False)  # noqa: FBT003 (no name)
    for lower in taken:
        posix.close(lower)
    return descriptor


def _planted(path: str) -> str:
    """Return a link on the way that anybody may have put there, "" for none.

    As the kernel judges where protected_symlinks is on: in a folder like /tmp only our own links
    count, and those of the folder's owner.
    """
    folder = ""
    for part in path.split("/")[1:] if path[:1] == "/" else ():
        name = f"{folder}/{part}"
        try:
            status = posix.lstat(name)
            if status.st_mode & 0o170000 == 0o120000:
                above = posix.stat(folder or "/")
                is_anybodys = above.st_mode & 0o1002 == 0o1002
                if is_anybodys and status.st_uid not in (posix.geteuid(), above.st_uid):
                    return name
        except OSError:  # not there, or the open says why
            return ""
        folder = name
    return ""


def _make_folders(path: str) -> None:
    if not path:
        return
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folders(path.rpartition("/")[0])
        posix.mkdir(path, 0o755)


def _quote(text: str) -> str:
    from nvidia_runtime import document  # only where something is written

    return document.quote(text)
