# SPDX-License-Identifier: Apache-2.0
"""What a container's own programs find of the driver's libraries."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nvidia_runtime.rootfs import elf

# What ctypes.util.find_library, triton and numba read out of the text of `ldconfig -p`.
ROW = re.compile(r"^\s+(\S+) \(([^)]*)\) => (\S+)$", re.MULTILINE)
# Perl is in every Debian, and its module for libraries calls dlopen(3).
PERL = (
    'print "dlopen $_ ", DynaLoader::dl_load_file($_, 0) ? "loads" : DynaLoader::dl_error(), "\\n"'
    " for @ARGV"
)
MAPS = 'DynaLoader::dl_load_file($ARGV[0], 0) or die; open(M, "/proc/self/maps"); print <M>'
# What stands in for it is made of C, for this machine's libc; the others need none.
COMPILED = "libnvidia-ml.so.1"

Tell = Callable[..., str]


def libraries(config: dict[str, Any], root: Path) -> dict[str, str]:
    """Return what the loader must find, by the mounts of a config.json: soname to file.

    ``root`` leads to the machine's files.
    """
    files = {}
    for mount in config["mounts"]:
        path = mount["destination"]
        if ".so." in path and path.startswith("/usr/lib/") and path.count("/") <= 4:
            descriptor = os.open(root / mount["source"].lstrip("/"), os.O_RDONLY)
            try:
                identified = elf.identify(descriptor)
            finally:
                os.close(descriptor)
            assert identified, f"{path} is no library"
            files[identified.soname.decode() or os.path.basename(path)] = path
    return files


def cache(tell: Tell) -> dict[str, list[str]]:
    """Ask the container's ldconfig for its cache: name to paths, the first wins."""
    paths: dict[str, list[str]] = {}
    for name, _, path in ROW.findall(tell("ldconfig", "-p")):
        paths.setdefault(name, []).append(path)
    return paths


def loads(tell: Tell, names: Iterable[str], *, musl: bool = False) -> dict[str, str]:
    """Ask the container's loader for libraries by name: "loads", or what is wrong.

    The simulated NVML is left out: its own libc may not be the container's.
    """
    names = set(names) - {COMPILED}
    program = ("/bin/dlopen",) if musl else ("perl", "-MDynaLoader", "-e", PERL)
    said = tell(*program, *sorted(names))
    return dict(re.findall(r"^dlopen (\S+) (.*)$", said, re.MULTILINE))


def loaded(tell: Tell, name: str) -> str:
    """Return the file that the container's loader takes for a name."""
    mapped = tell("perl", "-MDynaLoader", "-e", MAPS, name).splitlines()
    baseline = tell("perl", "-MDynaLoader", "-e", MAPS, "libc.so.6").splitlines()
    files = {line.split()[-1] for line in mapped} - {line.split()[-1] for line in baseline}
    return " ".join(sorted(path for path in files if path.startswith("/")))


def targets(tell: Tell, paths: Iterable[str]) -> dict[str, str]:
    """Ask the container where paths lead to, with all links followed."""
    wanted = sorted(paths)
    said = tell("sh", "-c", 'for path; do readlink -f "$path"; done', "sh", *wanted)
    return dict(zip(wanted, said.splitlines(), strict=True))
