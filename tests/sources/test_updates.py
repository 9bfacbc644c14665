# SPDX-License-Identifier: Apache-2.0
"""The driver is updated, or parts of it are missing, while containers are created."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from . import test_machine as machines
from .test_renew import ALL, CTK, FILE, GENERATE

LIB = "/usr/lib/x86_64-linux-gnu"
OLD, NEW = "580.95.05", "590.44.01"
CUDA = f"{LIB}/libcuda.so.{OLD}"
# One file after the other, as a package manager replaces them; then the module.
UPDATE = f"""(
for file in $(find /usr/lib -name "*.so.{OLD}"); do
  cp $file ${{file%{OLD}}}{NEW}; rm $file; sleep 0.03
done
echo {NEW} > /sys/module/nvidia/version
) > /dev/null 2>&1 &"""
# Or all away, then all anew, as an installer does; /opt is the machine's own, /tmp the host's.
INSTALL = f"""(
mkdir /opt/away
files=$(find /usr/lib -name "*.so.{OLD}")
for file in $files; do mv $file /opt/away; sleep 0.01; done
for file in $files; do cp /opt/away/${{file##*/}} ${{file%{OLD}}}{NEW}; sleep 0.01; done
rm -r /opt/away
echo {NEW} > /sys/module/nvidia/version
) > /dev/null 2>&1 &"""
LONG_AGO = f"touch -d '1 hour ago' {LIB}"


def libraries(end: machines.Document) -> dict[str, int]:
    """Count a container's libraries of the driver by their versions."""
    names = [os.path.basename(mount["source"]) for mount in end["spec"]["mounts"]]
    versions = [match[1] for name in names if (match := re.search(r"\.so\.(5\d\d\..*)", name))]
    return {version: versions.count(version) for version in versions}


@pytest.mark.parametrize("way", [UPDATE, INSTALL], ids=["one by one", "all away first"])
@pytest.mark.parametrize("mode", ["jit-cdi", "cdi"])
def test_container_gets_all_libraries_or_does_not_start(
    mode: str, way: str, tmp_path: Path
) -> None:
    asked = ALL if mode == "cdi" else "NVIDIA_VISIBLE_DEVICES=all"
    whole = machines.job(asked, shell=f"{GENERATE}; {machines.SETTLE}")
    meanwhile = [machines.job(asked) for _ in range(12)]
    after = machines.job(
        asked, shell=f"while [ $(cat /sys/module/nvidia/version) != {NEW} ]; do sleep 0.1; done"
    )

    jobs = [whole, machines.job(asked, shell=way), *meanwhile, after]
    first, *ends, last = machines.create("t4x1", tmp_path, *jobs)

    count = libraries(first)[OLD]
    assert count > 25
    for end in ends:
        assert end["code"] == 1 or libraries(end) in ({OLD: count}, {NEW: count}), end["err"]
        assert end["code"] == 0 or end["err"].count("\n") == 2  # a sentence and what to do
        assert "Traceback" not in end["err"]
    assert (last["code"], last["err"], libraries(last)) == (0, "", {NEW: count})


@pytest.mark.parametrize("mode", ["jit-cdi", "cdi", "cdi, somebody else's"])
def test_driver_without_libcuda_is_told(mode: str, tmp_path: Path) -> None:
    """Where only monitoring is installed, say; containers start."""
    log = tmp_path / "log"
    asked = "NVIDIA_VISIBLE_DEVICES=all" if mode == "jit-cdi" else ALL
    without = f"rm {CUDA}; {LONG_AGO}; {GENERATE}"
    if mode == "cdi, somebody else's":
        without += f"; echo '# mine' >> {FILE}"
    jobs = [machines.job(asked, shell=f"{without}; {machines.SETTLE}"), machines.job(asked)]

    ends = machines.create("t4x1", tmp_path, *jobs, settings=f'debug = "{log}"\n')

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * 2
    says = f"has no libcuda.so.{OLD}" if mode == "jit-cdi" else f"the CDI spec {FILE} lacks {CUDA}"
    assert log.read_text().count(f"{says}: programs in containers that need CUDA will fail") == 2


def test_spec_of_ours_without_libcuda_is_written_anew(tmp_path: Path) -> None:
    """One that was written in the middle of an installation."""
    log = tmp_path / "log"
    partial = f"mv {CUDA} /opt/away; {LONG_AGO}; {GENERATE}; mv /opt/away {CUDA}; {machines.SETTLE}"

    (end,) = machines.create(
        "t4x1", tmp_path, machines.job(ALL, shell=partial), settings=f'debug = "{log}"\n'
    )

    assert (end["code"], end["err"]) == (0, "")
    assert CUDA in [mount["source"] for mount in end["spec"]["mounts"]]
    assert f"the CDI spec {FILE} lacks {CUDA}; wrote it anew" in log.read_text()


def test_spec_of_somebody_else_without_libcuda_is_used(tmp_path: Path) -> None:
    partial = f"mv {CUDA} /opt/away; {GENERATE}; mv /opt/away {CUDA}; echo '# mine' >> {FILE}"

    (end,) = machines.create("t4x1", tmp_path, machines.job(ALL, shell=partial))

    assert (end["code"], end["err"]) == (0, "")


# What a rewrite would lose, and why the spec is not written anew.
LOSSES = {
    "libcuda": f"mv {CUDA} /opt/away",
    "another": f"mv {LIB}/libnvidia-ngx.so.{OLD} {LIB}/libnvidia-ngx.so.{NEW}",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_rewrite_never_loses_a_library_of_the_same_driver(loss: str, tmp_path: Path) -> None:
    save = f"cat {FILE} > {tmp_path}/"
    lose = f"{save}before; {LOSSES[loss]}; {LONG_AGO}"
    jobs = [
        machines.job(ALL, shell=GENERATE),
        machines.job(ALL, shell=lose),
        machines.job(shell=f"{CTK} cdi refresh --output={FILE} > {tmp_path}/out; {save}after"),
    ]

    _, end, _ = machines.create("t4x1", tmp_path, *jobs)

    assert end["code"] == 1
    sentence, hint = end["err"].splitlines()
    assert "which does not exist on this host; it cannot be written anew: without /usr" in sentence
    assert hint.startswith("hint: try again when the update has ended")
    assert (tmp_path / "out").read_text().startswith(f"{FILE} kept\n  it has {LIB}/lib")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


def test_libraries_of_debians_tesla_packages(tmp_path: Path) -> None:
    """libcuda lies in a folder that only links lead to; other files are where all drivers' are."""
    apart = f"{LIB}/nvidia/tesla"
    move = (
        f"mkdir -p {apart} && cd {apart}; for name in libcuda libnvidia-ml; do"
        f" mv {LIB}/$name.so.{OLD} .; ln -s $name.so.{OLD} $name.so.1; rm {LIB}/$name.so*;"
        f" ln -s {apart}/$name.so.1 {LIB}/$name.so.1; done; ldconfig; {machines.SETTLE}"
    )
    jobs = [machines.FIRST, {**machines.FIRST, "shell": move}]

    usual, ends = machines.create("t4x1", tmp_path, *jobs)

    assert (ends["code"], libraries(ends)) == (0, libraries(usual))
    sources = [mount["source"] for mount in ends["spec"]["mounts"]]
    assert f"{apart}/libcuda.so.{OLD}" in sources
    assert f"{apart}/libnvidia-ml.so.{OLD}" in sources


def test_folder_that_cannot_be_listed_is_not_kept(tmp_path: Path) -> None:
    """One that fails, and works again."""
    other = "/usr/lib/aarch64-linux-gnu"
    fail = f"ln -s {'x' * 300} {other}; {machines.SETTLE}"
    again = f"rm {other}; {machines.SETTLE}"
    partial = machines.job("NVIDIA_VISIBLE_DEVICES=all", shell=fail)

    bad, good = machines.create("t4x1", tmp_path, partial, {**machines.FIRST, "shell": again})

    assert bad["code"] == 1
    assert f"{other}: cannot be listed: file name too long" in bad["err"]
    assert (good["code"], good["err"]) == (0, "")


def test_hint_for_an_old_spec_comes_after_that_for_the_driver(tmp_path: Path) -> None:
    """Where the driver was updated and not loaded, no spec can be written."""
    change = f"echo '# mine' >> {FILE}; echo {NEW} > /sys/module/nvidia/version"
    jobs = [machines.job(ALL, shell=GENERATE), machines.job(ALL, shell=change)]

    _, end = machines.create("t4x1", tmp_path, *jobs)

    assert end["err"].splitlines() == [
        f"nvidia-container-runtime: {FILE}: the CDI spec is for driver {OLD}, but {NEW} is loaded",
        "hint: the driver was updated: reboot, or unload and load its kernel modules",
    ]
