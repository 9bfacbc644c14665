# SPDX-License-Identifier: Apache-2.0
"""The driver's version and the CUDA version that it brings, without NVML.

Only NVML knows the architecture and the brand of a GPU.
"""

from nvidia_runtime.store import files

# The libraries that every GPU needs, whose names end with the driver's version.
VERSIONED = ("libcuda.so.", "libnvidia-ml.so.")
# The CUDA version of a driver branch, in the order of branches: "CUDA Toolkit and Corresponding
# Driver Versions" in the release notes of the CUDA Toolkit, Linux.  430 is not
# in it: its releases had 10.1 or 10.2.
BRANCHES = {
    352: "7.5",
    367: "8.0",
    375: "8.0",
    384: "9.0",
    387: "9.1",
    390: "9.1",
    396: "9.2",
    410: "10.0",
    418: "10.1",
    440: "10.2",
    450: "11.0",
    455: "11.1",
    460: "11.2",
    465: "11.3",
    470: "11.4",
    495: "11.5",
    510: "11.6",
    515: "11.7",
    520: "11.8",
    525: "12.0",
    530: "12.1",
    535: "12.2",
    545: "12.3",
    550: "12.4",
    555: "12.5",
    560: "12.6",
    565: "12.7",
    570: "12.8",
    575: "12.9",
    580: "13.0",
    590: "13.1",
    595: "13.2",
    610: "13.3",
}


def read(root: str = "") -> dict[str, str]:
    """Return driver and cuda as far as they are known; ``root`` is where /proc and /sys are."""
    version = files.loaded_driver(root)
    if not version:
        return {}
    cuda = BRANCHES.get(int(version.partition(".")[0]))
    return {"driver": version, "cuda": cuda} if cuda else {"driver": version}


def library_version(path: str) -> str:
    """Return the driver's version in the name of one of its libraries, "" if there is none."""
    name = path.rpartition("/")[2]
    for prefix in VERSIONED:
        version = name.removeprefix(prefix)
        if version != name and files.is_driver_version(version):
            return version
    return ""


def branch_with(cuda: str) -> int:
    """Return the oldest driver branch with at least this CUDA version, 0 if it is unknown."""
    try:
        wanted = [int(part) for part in cuda.split(".")[:2]]
    except ValueError:
        return 0
    for branch, version in BRANCHES.items():
        if [int(part) for part in version.split(".")] >= wanted:
            return branch
    return 0
