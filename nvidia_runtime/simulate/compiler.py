# SPDX-License-Identifier: Apache-2.0
"""Libraries and programs that are compiled from a source file beside this one, at first use."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import cache

FOLDER = os.path.dirname(__file__)
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-g0", "-w")
SHARED = ("-shared", "-fPIC", "-fvisibility=hidden")
HEADER = "mock_machine.h"
LIBRARIES = ("-lpthread", "-ldl")


def library(source: str, *flags: str) -> bytes:
    """Return the library of a source file.  Raises `NvidiaRuntimeError` where it cannot."""
    return _made(source, (*FLAGS, *SHARED, *flags))


def program(source: str) -> bytes:
    """Return the program of a source file.  Raises `NvidiaRuntimeError` where it cannot."""
    return _made(source, FLAGS)


def _made(source: str, flags: tuple[str, ...]) -> bytes:
    path = os.path.join(FOLDER, source)
    words = (*flags, path, *LIBRARIES)
    name = _name(path, words)
    return cache.read(name) or _compiled(path, words, name)


def _name(path: str, words: tuple[str, ...]) -> str:
    """Return the name by which what is made is kept: sources, flags and machine are part of it."""
    digest = hashlib.sha256("\0".join(words).encode())
    for source in (path, os.path.join(FOLDER, HEADER)):
        with open(source, "rb") as file:
            digest.update(file.read())
    return f"{os.path.basename(path)}-{platform.machine()}-{digest.hexdigest()[:16]}.so"


def _compiled(source: str, flags: tuple[str, ...], name: str) -> bytes:
    compiler = _compiler()
    with cache.new(name) as path:
        words = [*compiler, "-o", path, *flags]
        run = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if run.returncode != 0:
            said = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[0]
            what = f"{compiler[0]} cannot compile what answers on a simulated machine: {said}"
            hint = "it needs the C library's headers: 'apt-get install gcc libc6-dev'"
            raise NvidiaRuntimeError(what, source, hint=hint)
    return cache.read(name)


def _compiler() -> list[str]:
    for words in _candidates():
        if shutil.which(words[0]):
            return words
    missing = _candidates()[0][0]
    what = "what answers on a simulated machine has to be compiled, once"
    what += f", and there is no compiler {missing!r}"
    hint = "'apt-get install gcc libc6-dev' or 'dnf install gcc'; $CC names another one"
    raise NvidiaRuntimeError(what, hint=hint)


def _candidates() -> list[list[str]]:
    own = shlex.split(os.environ.get("CC", ""))
    return [own] if own else [[name] for name in COMPILERS]
