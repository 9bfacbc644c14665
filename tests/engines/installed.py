# SPDX-License-Identifier: Apache-2.0
"""The programs that this machine has, and the versions of its engines."""

from __future__ import annotations

import functools
import os
import shutil

import pytest

from nvidia_runtime.engines import program, supported

Version = tuple[int, ...]


def require(program: str) -> str:
    """Find a program, or skip."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path or pytest.skip(f"{program} is not installed")


@functools.cache
def version_of(engine: str) -> Version:
    """Return the version of an engine, or skip where it is missing."""
    path = require(supported.ENGINES[engine].program)
    version = program.version(path, path)
    assert version, path
    return version
