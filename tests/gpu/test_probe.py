# SPDX-License-Identifier: Apache-2.0
"""The CUDA program, with a driver of ours: memory instead of a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpu import packing

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs cc")

DRIVER = """
#include <stdlib.h>
#include <string.h>
typedef unsigned long long pointer;
int cuInit(unsigned flags) { return flags + START; }
int cuGetErrorString(int code, const char **text) { (void)code; *text = "no such device"; return 0; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; strncpy(name, "Slate", size); return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = &cuInit; return 0; }
int cuCtxSetCurrent(void *context) { return !context; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuMemAlloc_v2(pointer *memory, size_t size) { *memory = (pointer)malloc(size); return 0; }
int cuMemFree_v2(pointer memory) { free((void *)memory); return 0; }
int cuMemcpyHtoD_v2(pointer to, const void *from, size_t size) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void *to, pointer from, size_t size) { memcpy(to, (void *)from, size - LOST); return 0; }
"""
FINE = {"START": 0, "COUNT": 2, "LOST": 0}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("probe") / "probe"
    packing.compile_probe(file)
    return file


def run(probe: Path, folder: Path, **driver: int) -> tuple[int, list[str]]:
    """Run the program with a driver that behaves like this."""
    source = folder / "driver.c"
    source.write_text(DRIVER)
    values = [f"-D{name}={value}" for name, value in (FINE | driver).items()]
    library = folder / "libcuda.so.1"
    words = ["cc", "-shared", "-fPIC", "-w", *values, "-o", str(library), str(source)]
    subprocess.run(words, check=True)
    env = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    got = subprocess.run([probe], capture_output=True, text=True, check=False, env=env)
    return got.returncode, got.stdout.splitlines()


def test_every_gpu_is_used(probe: Path, tmp_path: Path) -> None:
    code, lines = run(probe, tmp_path)

    assert code == 0
    assert lines[1] == "cuda 13.2 devices 2"
    assert lines[2].startswith("device 0 Slate: 16 MiB there and back in ")
    assert lines[3].startswith("device 1 Slate: ")


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ({"START": 100}, "failed cuInit: 100, no such device"),
        ({"LOST": 1}, "failed copy: what came back is not what was sent"),
        ({"COUNT": 0}, "cuda 13.2 devices 0"),
    ],
    ids=["a driver that does not start", "a byte that is lost", "no GPU"],
)
def test_what_fails_is_said(driver: dict[str, int], says: str, probe: Path, tmp_path: Path) -> None:
    code, lines = run(probe, tmp_path, **driver)

    assert code == 1
    assert lines[-1] == says


def test_no_driver(probe: Path, tmp_path: Path) -> None:
    got = subprocess.run(
        [probe], capture_output=True, text=True, check=False, env={"LD_LIBRARY_PATH": str(tmp_path)}
    )
    if got.returncode == 0:
        pytest.skip("needs a machine without a driver")

    assert got.stdout.startswith("failed ")
