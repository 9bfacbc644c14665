# SPDX-License-Identifier: Apache-2.0
"""What libcuda says, asked of libraries that are compiled here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nvidia_runtime.host import cuda
from nvidia_runtime.host.driver import Driver

VERSION = "int cuDriverGetVersion(int *v) { *v = 12040; return 0; }\n"
DEVICE = """
int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *v, int attribute, int device) {
  *v = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
  return device;
}
"""
LIBRARIES = {
    "all": (VERSION + DEVICE, {"cuda": "12.4", "arch": "8.7"}),
    "no-device": (VERSION + "int cuInit(unsigned f) { return 100; }", {"cuda": "12.4"}),
    "another-library": ("int x;", {}),
    "crashes": ("int cuDriverGetVersion(int *v) { *(volatile int *)0 = 1; return 0; }", {}),
    "hangs": ("int cuDriverGetVersion(int *v) { for (;;) *v = 1; }", {}),
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for the library")
@pytest.mark.parametrize("name", LIBRARIES)
def test_facts(name: str, tmp_path: Path) -> None:
    text, expected = LIBRARIES[name]
    folder = tmp_path / "usr/lib64"
    folder.mkdir(parents=True)
    words = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(words, input=text, text=True, check=True)

    assert cuda.facts(Driver(str(tmp_path)), patience=1.0) == expected


def test_no_library(tmp_path: Path) -> None:
    assert cuda.facts(Driver(str(tmp_path))) == {}


def test_file_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "usr/lib64/libcuda.so.1").write_text("no ELF")

    assert cuda.facts(Driver(str(tmp_path))) == {}
