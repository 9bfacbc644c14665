# SPDX-License-Identifier: Apache-2.0
"""What nvidia-container-cli says of calls that cannot be done, and that its hints help."""

from __future__ import annotations

import functools

import pytest

from nvidia_runtime.simulate import catalogue

from .calls import Answer, run_all

ROOT = "/srv/root"
NO_ROOT = "the container's root cannot be opened"
# The call, what it says, and the call that follows its hint.  What follows gets further: to the root,
# which is not there.
HINTS = {
    "list --libs": (
        "unrecognized option '--libs' | 'nvidia-container-cli list --help' lists what it takes",
        "list --help",
    ),
    "": ("no command is given | 'nvidia-container-cli --help' lists what it takes", "--help"),
    "configure --utility": (
        "no root of a container is given"
        " | 'nvidia-container-cli configure --help' lists what it takes",
        "configure --help",
    ),
    f"configure --pid=x {ROOT}": (
        "input error: parse pid failed: invalid argument"
        " | --pid takes the number of a process in the container",
        f"configure --pid=0 {ROOT}",
    ),
    "configure srv/root": (
        "input error: invalid rootfs directory | name the root of a container by its whole path",
        f"configure {ROOT}",
    ),
    f"--user=nobody-here configure {ROOT}": (
        "input error: parse user/group failed: no such file or directory"
        " | --user takes UID[:GID], or names that this machine knows",
        f"--user=0:0 configure {ROOT}",
    ),
    f"--user=² configure {ROOT}": (
        "input error: parse user/group failed: no such file or directory"
        " | --user takes UID[:GID], or names that this machine knows",
        f"--user=0 configure {ROOT}",
    ),
    f"configure --cuda-compat-mode=x {ROOT}": (
        "input error: invalid cuda-compat-mode 'x' | modes are ldconfig, mount, disabled",
        f"configure --cuda-compat-mode=mount {ROOT}",
    ),
    "--root=/srv info": (
        "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object"
        " file: no such file or directory"
        " | no driver is installed below /srv; --root names another folder",
        "--root=/ info",
    ),
}
# What a machine lacks, and what an image requires of it: the driver is 580.95.05, of CUDA 13.0.
UUID = "GPU-" + catalogue.find("t4x1").gpus[0].uuid.removeprefix("GPU-").upper()
REFUSALS = {
    f"--device={UUID}": f"mount error: {ROOT}: {NO_ROOT}: no such file or directory",
    "--device=9": "device error: 9: unknown device",
    "--device=all,GPU-0": f"mount error: {ROOT}: {NO_ROOT}: no such file or directory",
    "--device=0,GPU-0": "device error: GPU-0: unknown device",
    "--device=0000:99:00.0": "device error: 0000:99:00.0: unknown device",
    "--device=all --require=cuda>=13.1": (
        "requirement error: unsatisfied condition: cuda>=13.1, please update your driver to a newer"
        " version, or use an earlier cuda container"
    ),
    "--device=0 --require=brand=grid,arch>=7": (
        "requirement error: unsatisfied condition: brand=grid,arch>=7"
    ),
    "--device=0 --require=cuda>": "requirement error: invalid expression",
    "--device=all --mig-config=0": "mig-config error: 0: only 'all' devices are currently supported",
    "--mig-monitor=all,GPU-1": (
        "mig-monitor error: GPU-1: only 'all' devices are currently supported"
    ),
    "--require=driver<580": "requirement error: unsatisfied condition: driver<580",
}
MET = ("cuda>=13.0", "driver>=580,driver<581", "brand=tesla,arch=7.5", "BRAND=Tesla", "arch<8")


@functools.cache
def of_t4() -> dict[str, Answer]:
    """Return the answers to all calls, of one machine."""
    calls = [*HINTS, *(right for _, right in HINTS.values())]
    calls += [f"configure {words} {ROOT}" for words in REFUSALS]
    calls += [f"configure --device=0 --require={one} {ROOT}" for one in MET]
    return run_all("t4x1", *calls)


@pytest.mark.parametrize("words", HINTS)
def test_hint(words: str) -> None:
    said, right = HINTS[words]

    assert of_t4()[words].refusal() == said
    done = of_t4()[right]
    assert done.code == 0 or NO_ROOT in done.err


@pytest.mark.parametrize("words", REFUSALS)
def test_refusal(words: str) -> None:
    said = of_t4()[f"configure {words} {ROOT}"].refusal()

    assert said.partition(" | ")[0] == REFUSALS[words]


@pytest.mark.parametrize("requirement", MET)
def test_requirement_that_is_met(requirement: str) -> None:
    assert NO_ROOT in of_t4()[f"configure --device=0 --require={requirement} {ROOT}"].refusal()


def test_mig_devices_of_others_are_not_watched() -> None:
    words = f"configure --device=1:0 --mig-monitor=all {ROOT}"

    said = run_all("a100x8mig", words)[words].refusal()

    assert said == (
        "mig-monitor error: all: cannot enable mig-monitor with specific MIG devices selected"
    )
