# SPDX-License-Identifier: Apache-2.0
"""A libdxcore.so as WSL has it, compiled where there is a compiler."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "stubs/dxcore.c"
# As the stand-in tells them; the first one's driver is too old.
STORES = ["/usr/lib/wsl/drivers/other", "/usr/lib/wsl/drivers/été"]


@functools.cache
def library() -> str:
    """Return the path of the library, made once."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler for a stand-in of libdxcore.so")
    folder = tempfile.mkdtemp(prefix="nvcr-dxcore-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "libdxcore.so")
    words = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", path, os.fspath(SOURCE)]
    subprocess.run(words, check=True)
    return path
