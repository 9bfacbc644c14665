# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system install-units: have systemd keep the machine's CDI spec up to date."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator

from nvidia_runtime.cli import files
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.system import units
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import lowlevel

PROGRAM = "nvidia-ctk"
# Where systemd looks; below anything else it is a package that is built.
HERE = ("/etc", "/usr", "/usr/local")
RELOAD = "systemctl daemon-reload; udevadm control --reload"
ENABLE = "systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service"


class InstallUnits(Command):
    """nvidia-ctk system install-units."""

    table = tables.INSTALL_UNITS
    prefix: str
    program: str
    is_removal: bool
    dry_run: bool

    def main(self) -> int:
        """Write the files, print them, or remove them."""
        prefix = os.path.abspath(self.prefix)
        if self.is_removal:
            return self._remove(prefix)
        program = self.program or _own_program()
        texts = units.texts(prefix, program)
        optional = {
            path: text for path, text in units.settings(prefix).items() if not os.path.exists(path)
        }
        if self.dry_run:
            for path, text in (texts | optional).items():
                self.tell(f"{path}:")
                print(text)
            return 0
        _refuse_others(units.foreign(texts))
        self._write(texts | optional)
        if prefix in HERE:
            self._judge(program)
            self.tell(f"now: {RELOAD}; {ENABLE}")
        return 0

    def _write(self, texts: dict[str, str]) -> None:
        for path, text in texts.items():
            if units.present(path) == text:
                self.tell(f"nothing to change: {path}")
                continue
            files.write(path, text.encode(errors="surrogateescape"))
            self.tell(f"wrote {path}")

    def _judge(self, program: str) -> None:
        """Warn of a program that is not there, or that others than root could exchange."""
        if not lowlevel.is_executable(program):
            self.warn(f"{program} is not on this machine; until it is, the units do nothing")
            return
        for path in _with_folders(os.path.realpath(program)):
            status = os.stat(path)
            is_sticky_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_uid or (status.st_mode & 0o022 and not is_sticky_folder):
                self.warn(f"others than root may write to {path}, and root's units start {program}")
                return

    def _remove(self, prefix: str) -> int:
        # The program's name is of no account here.
        texts = units.texts(prefix, units.PACKAGED)
        ours = {path: text for path, text in texts.items() if units.MARK in units.present(path)}
        if links := units.enabled(ours):
            names = [os.path.basename(link) for link in links]
            raise NvidiaRuntimeError(
                f"systemd still starts {', '.join(names)}",
                os.path.dirname(links[0]),
                f"'systemctl disable --now {' '.join(names)}' first",
            )
        unchanged = [
            path for path, text in units.settings(prefix).items() if units.present(path) == text
        ]
        for path in (*ours, *unchanged):
            if not self.dry_run:
                _unlink(path)
            self.tell(f"{'would be removed: ' if self.dry_run else 'removed '}{path}")
        if prefix in HERE and ours and not self.dry_run:
            self.tell(f"now: {RELOAD}")
        if not ours:
            self.tell(f"nothing to remove below {prefix}")
        return 0


def _own_program() -> str:
    """Return the nvidia-ctk that runs, or the one that would be called."""
    called = os.path.abspath(sys.argv[0])
    program = lowlevel.beside(called, PROGRAM) or shutil.which(PROGRAM) or ""
    if not program:
        what = f"it is not known where {PROGRAM} is"
        raise NvidiaRuntimeError(what, hint="name it by --nvidia-ctk-path")
    return program


def _refuse_others(paths: list[str]) -> None:
    if paths:
        what = f"{', '.join(paths)}: not written by this command"
        hint = "move it away, or use another --prefix; nothing was changed"
        raise NvidiaRuntimeError(what, hint=hint)


def _with_folders(path: str) -> Iterator[str]:
    yield path
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be removed: {os_reason(error)}", path) from None
