# SPDX-License-Identifier: Apache-2.0
"""What a complete set of the driver's libraries is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver, library_set
from nvidia_runtime.host.driver import Driver

from . import trees
from .test_ldcache import X86_64, cache

LIB = trees.LIBRARIES
OURS, NEWER, OLDER = "550.54.15", "560.28.03", "470.256.02"
APART = f"{LIB}/nvidia/tesla"
LONG_AGO = time.time() - 3600


def files(*names: str) -> dict[str, str]:
    return dict.fromkeys((f"{LIB}/{name}" for name in names), "")


SET = files(f"libcuda.so.{OURS}", f"libnvidia-ml.so.{OURS}", f"libnvidia-glcore.so.{OURS}")


def check(tmp_path: Path, tree: dict[str, str], *, changed: float = LONG_AGO) -> list[str]:
    root = trees.make(tmp_path, tree)
    folder = tmp_path / LIB
    if folder.exists():
        os.utime(folder, (changed, changed))
    return [line.replace(root, "") for line in library_set.check(Driver(root), OURS)]


@pytest.mark.parametrize(
    ("tree", "warnings"),
    [
        pytest.param(SET, [], id="all"),
        pytest.param(
            files(f"libnvidia-ml.so.{OURS}", f"libnvidia-ptxjitcompiler.so.{OURS}"),
            [f": has no libcuda.so.{OURS}: programs in containers that need CUDA will fail"],
            id="without libcuda",
        ),
        pytest.param(
            {**SET, **files(f"libcuda.so.{NEWER}", f"libnvidia-glcore.so.{NEWER}")},
            [],
            id="another driver beside it",
        ),
        pytest.param({**SET, **files(f"libnvidia-cbl.so.{OLDER}")}, [], id="left by an older one"),
        pytest.param({**SET, **files(f"libnvidia-nscq.so.{NEWER}")}, [], id="updated on its own"),
        pytest.param(
            {**SET, **files("libabsl_scoped_set_env.so.20220623.0.0")}, [], id="of another vendor"
        ),
        pytest.param(
            {**SET, **files(f"libnvidia-rtcore.so.{NEWER}")},
            [
                f"/{LIB}: has libnvidia-rtcore.so.{NEWER} for another driver than {OURS}, "
                "and none for it: they are left out"
            ],
            id="one that is newer for long",
        ),
    ],
)
def test_set(tree: dict[str, str], warnings: list[str], tmp_path: Path) -> None:
    assert check(tmp_path, tree) == warnings


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        pytest.param(
            {},
            f"has no libcuda.so.VERSION and no libnvidia-ml.so.VERSION of version {OURS}",
            id="none",
        ),
        pytest.param(
            files(f"libcuda.so.{NEWER}", f"libnvidia-ml.so.{NEWER}", f"libnvidia-tls.so.{OURS}"),
            f"has the driver's libraries of version {NEWER}, but {OURS} is loaded",
            id="updated",
        ),
        pytest.param(
            files(f"libcuda.so.{NEWER}", f"libnvidia-ml.so.{OURS}"),
            f"has the driver's libraries of version {NEWER}, but {OURS} is loaded",
            id="libcuda updated",
        ),
        pytest.param(
            files(f"libcuda.so.{OURS}", f"libnvidia-ml.so.{OLDER}"),
            f"has the driver's libraries of version {OLDER}, but {OURS} is loaded",
            id="libnvidia-ml of an older one",
        ),
    ],
)
def test_no_set(tree: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        check(tmp_path, tree)

    assert str(error.value) == f"{tmp_path}: {says}"
    assert error.value.hint


def test_update_in_progress(tmp_path: Path) -> None:
    """libcuda is not replaced yet, another library was just now."""
    with pytest.raises(NvidiaRuntimeError) as error:
        check(tmp_path, {**SET, **files(f"libnvidia-rtcore.so.{NEWER}")}, changed=time.time())

    says = f"has libnvidia-rtcore.so.{NEWER} for another driver than {OURS}: it is being updated"
    assert str(error.value) == f"{tmp_path}/{LIB}: {says}"
    assert error.value.hint == library_set.AGAIN


def test_folder_that_goes_while_it_is_looked_at(tmp_path: Path) -> None:
    """As a package manager may do between the listing and the look at the folder itself."""
    newer = f"{LIB}/vdpau/libvdpau_nvidia.so.{NEWER}"
    installed = Driver(trees.make(tmp_path, {**SET, newer: ""}))
    folder = tmp_path / LIB / "vdpau"
    assert installed.names(os.fspath(folder)) == [f"libvdpau_nvidia.so.{NEWER}"]
    (tmp_path / newer).unlink()
    folder.rmdir()

    with pytest.raises(NvidiaRuntimeError) as error:
        library_set.check(installed, OURS)

    assert str(error.value).endswith(f"for another driver than {OURS}: it is being updated")
    assert error.value.where == os.fspath(folder)


@pytest.mark.parametrize("way", ["cache", "link"])
def test_set_whose_main_libraries_lie_elsewhere(way: str, tmp_path: Path) -> None:
    """As Debian's tesla packages have it; other libraries of the version are in a usual folder."""
    tree = {
        f"{APART}/libcuda.so.{OURS}": "",
        f"{APART}/libcuda.so.1": f"-> libcuda.so.{OURS}",
        f"{APART}/libnvidia-ml.so.{OURS}": "",
        f"{APART}/libnvidia-ml.so.1": f"-> libnvidia-ml.so.{OURS}",
        **files(f"libnvidia-ptxjitcompiler.so.{OURS}"),
        "etc/": "",
    }
    names = ("libcuda.so.1", "libnvidia-ml.so.1")
    if way == "link":
        tree |= {f"etc/alternatives/{name}": f"-> /{APART}/{name}" for name in names}
        tree |= {f"{LIB}/{name}": f"-> /etc/alternatives/{name}" for name in names}
    installed = Driver(trees.make(tmp_path, tree))
    if way == "cache":
        rows = [(X86_64, f"/{APART}/{name}") for name in names]
        (tmp_path / "etc/ld.so.cache").write_bytes(cache(rows))

    assert library_set.check(installed, OURS) == []
    assert driver.library_folders(installed, OURS) == (f"/{LIB}", f"/{APART}")


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        pytest.param({}, ["libcuda.so", "libnvidia-ml.so"], id="all gone: not without the driver"),
        pytest.param(SET, [], id="all there, not mounted any longer"),
        pytest.param(
            files(f"libcuda.so.{OURS}", f"libnvidia-ml.so.{OURS}", f"libnvidia-glcore.so.{NEWER}"),
            ["libnvidia-glcore.so"],
            id="one replaced",
        ),
        pytest.param(
            files(f"libcuda.so.{OURS}", f"libnvidia-ml.so.{OURS}"), [], id="one taken off"
        ),
    ],
)
def test_what_a_new_spec_must_not_lack(
    there: dict[str, str], lost: list[str], tmp_path: Path
) -> None:
    root = trees.make(tmp_path, {f"{LIB}/": "", **there})
    old = [f"{root}/{path}" for path in SET]
    new = [path for path in old if os.path.exists(path)]

    gone = library_set.lost([*old, f"{root}/{LIB}/nvidia-smi", "/dev/null"], new)

    assert gone == [f"{root}/{LIB}/{name}.{OURS}" for name in lost]


def test_library_that_is_there_and_not_mounted_is_no_loss(tmp_path: Path) -> None:
    root = trees.make(tmp_path, SET)
    old = [f"{root}/{path}" for path in SET]

    assert library_set.lost(old, old[:2]) == []


def test_listing_that_changes(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {**SET, **files("libother.so.3")})
    installed = Driver(root)
    installed.libraries("libcuda.so.*")
    folder = tmp_path / LIB
    assert installed.has_changed()  # just now: more may come
    os.utime(folder, (1, 1))
    assert not installed.has_changed()

    (tmp_path / LIB / "libother.so.3").unlink()
    os.utime(folder, (1, 1))
    assert not installed.has_changed()
    (tmp_path / LIB / f"libnvidia-glcore.so.{OURS}").unlink()
    os.utime(folder, (1, 1))
    assert installed.has_changed()
    installed.forget()
    assert not installed.has_changed()
