# SPDX-License-Identifier: Apache-2.0
"""Messages for users and engines: runc's ``--log`` file, our debug file, stderr.

Engines show the last error line of the ``--log`` file to their user, so ours must be there, in the
format that ``--log-format`` asks for.  Ring: pass-through; loaded when there is a message.
"""

import posix
import time

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# logrus' names, most severe first; a log writes its own level and all before it.
LEVELS = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
# O_CLOEXEC is posix.open's default.
APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT


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
    """Return a text without control characters: a container chooses names that we repeat."""
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
