# SPDX-License-Identifier: Apache-2.0
"""The loader's configuration and cache in images of every kind, the hostile ones too."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import ldcache, libraries, loader, loader_config, resolver
from nvidia_runtime.simulate import elf

from . import images

if TYPE_CHECKING:
    from pathlib import Path

NV = "/usr/lib/nv"
LIBRARIES: dict[str, str | bytes] = {
    "usr/lib/nv/libcuda.so.580.1": images.library("libcuda.so.1"),
    "usr/lib/nv/libcuda.so": "-> libcuda.so.1",
    "usr/lib/nv/libnvidia-ml.so.580.1": images.library("libnvidia-ml.so.1"),
}
MAIN = "include /etc/ld.so.conf.d/*.conf\n"
SYSTEM = "/lib\n/usr/lib\n/lib64\n/usr/lib64\n/libx32\n/usr/libx32\n"


def update(tmp_path: Path, tree: dict[str, str | bytes], *folders: str) -> list[str]:
    """Update an image in a folder beside a canary; return the warnings."""
    images.make(tmp_path / "outside", {"canary": "of the host", "etc/": "", "nv/": ""})
    images.make(tmp_path / "image", tree)
    before = images.tree(tmp_path / "outside")
    warnings: list[str] = []
    try:
        with resolver.open_root(f"{tmp_path}/image") as root:
            loader.update(root, list(folders or (NV,)), warnings)
    finally:
        assert images.tree(tmp_path / "outside") == before
        left = [name for name in images.tree(tmp_path / "image") if "/.l" in name]
        assert left == []
    return warnings


def test_image_without_anything(tmp_path: Path) -> None:
    assert update(tmp_path, LIBRARIES) == []

    root = tmp_path / "image"
    assert [row[:2] for row in images.rows(root)] == [
        ("libnvidia-ml.so.1", f"{NV}/libnvidia-ml.so.1"),
        ("libcuda.so.1", f"{NV}/libcuda.so.1"),
        ("libcuda.so", f"{NV}/libcuda.so"),
    ]
    assert os.readlink(f"{root}{NV}/libcuda.so.1") == "libcuda.so.580.1"
    assert (root / "etc/ld.so.conf").read_text() == MAIN
    assert (root / "etc/ld.so.conf.d/00-nvcr.conf").read_text() == f"{NV}\n"
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "named",
    [
        pytest.param({"etc/ld.so.conf": f"# ours\n {NV}/ \n"}, id="in the file"),
        pytest.param({"etc/ld.so.conf": MAIN, "etc/ld.so.conf.d/a.conf": NV}, id="included"),
        pytest.param(
            {"etc/ld.so.conf": "include ld.so.conf.d/*.conf", "etc/ld.so.conf.d/a.conf": NV},
            id="included by a relative name",
        ),
    ],
)
def test_folder_that_the_image_names(named: dict[str, str | bytes], tmp_path: Path) -> None:
    update(tmp_path, LIBRARIES | named)

    assert not (tmp_path / "image/etc/ld.so.conf.d/00-nvcr.conf").exists()


def test_folders_of_two_specs_are_both_kept(tmp_path: Path) -> None:
    update(tmp_path, LIBRARIES)
    update(tmp_path, {"opt/x/liba.so.1": images.library("liba.so.1")}, "/opt/x")

    text = (tmp_path / "image/etc/ld.so.conf.d/00-nvcr.conf").read_text()
    assert text == f"{NV}\n/opt/x\n"
    assert len(images.rows(tmp_path / "image")) == 4


def test_tenth_start_finds_all_done(tmp_path: Path) -> None:
    update(tmp_path, LIBRARIES)
    once = images.tree(tmp_path / "image")

    for _ in range(9):
        update(tmp_path, {})

    assert images.tree(tmp_path / "image") == once


def test_compatibility_libraries_come_first(tmp_path: Path) -> None:
    compat: dict[str, str | bytes] = {
        "etc/ld.so.conf.d/00-compat-1b2c.conf": "/cuda/compat\n",
        "cuda/compat/libcuda.so.590.1": images.library("libcuda.so.1"),
    }

    update(tmp_path, LIBRARIES | compat)

    assert [row[1] for row in images.rows(tmp_path / "image") if row[0] == "libcuda.so.1"] == [
        "/cuda/compat/libcuda.so.1",
        f"{NV}/libcuda.so.1",
    ]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        pytest.param({}, "", id="missing"),
        pytest.param({"etc/ld.so.cache": b"x" * 500}, "another format", id="something else"),
        pytest.param({"etc/ld.so.cache": ldcache.MAGIC}, "too short", id="truncated"),
        pytest.param({"etc/ld.so.cache": "-> /outside/canary"}, "not a regular file", id="link"),
        pytest.param(
            {"etc/ld.so.cache": "-> ../../outside/canary"}, "not a regular", id="link out"
        ),
        pytest.param({"etc/ld.so.cache": bytes(5 << 20)}, "too large", id="large"),
    ],
)
def test_cache_that_cannot_be_used_is_made_anew(
    tree: dict[str, str | bytes], says: str, tmp_path: Path
) -> None:
    warnings = update(tmp_path, LIBRARIES | tree)

    assert len(images.rows(tmp_path / "image")) == 3
    assert [says in warning for warning in warnings] == ([True] if says else [])


def test_fifo_in_place_of_the_cache(tmp_path: Path) -> None:
    images.make(tmp_path / "image", {"etc/": ""})
    os.mkfifo(tmp_path / "image/etc/ld.so.cache")

    assert "not a regular file" in update(tmp_path, LIBRARIES)[0]


def test_hard_link_to_the_host_keeps_its_content(tmp_path: Path) -> None:
    images.make(tmp_path, {"shadow": "of the host", "image/etc/": ""})
    (tmp_path / "image/etc/ld.so.cache").hardlink_to(tmp_path / "shadow")

    update(tmp_path, LIBRARIES)

    assert (tmp_path / "shadow").read_text() == "of the host"


def test_cache_of_a_later_glibc_is_left(tmp_path: Path) -> None:
    later = b"glibc-ld.so.cache2.0" + bytes(100)

    (warning,) = update(tmp_path, LIBRARIES | {"etc/ld.so.cache": later})

    assert "left as it is" in warning
    assert (tmp_path / "image/etc/ld.so.cache").read_bytes() == later
    assert (tmp_path / "image/etc/ld.so.conf.d/00-nvcr.conf").read_text() == f"{NV}\n"


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"etc": "-> /outside/etc"}, id="etc is a link to nowhere"),
        pytest.param({"etc": "-> etc"}, id="etc is a loop"),
        pytest.param({"etc": "x"}, id="etc is a file"),
    ],
)
def test_image_that_cannot_be_updated(tree: dict[str, str | bytes], tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match="cannot be updated"):
        update(tmp_path, LIBRARIES | tree)


def test_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """The loader finds the folders by their links, and an ldconfig in the container by name."""
    warnings = update(tmp_path, LIBRARIES | {"etc/ld.so.cache/x": "x"})

    assert warnings[-1] == "/etc/ld.so.cache cannot be written: is a directory"
    assert (tmp_path / "image/etc/ld.so.conf.d/00-nvcr.conf").read_text() == f"{NV}\n"


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"etc": "-> ../outside/etc", "outside/etc/": ""}, id="etc, relative"),
        pytest.param({"etc/ld.so.conf.d": "-> /x", "x/": ""}, id="conf.d"),
        pytest.param({"usr/lib": "-> /lib", "lib/": ""}, id="usr/lib"),
    ],
)
def test_links_in_the_way_are_the_images(tree: dict[str, str | bytes], tmp_path: Path) -> None:
    library = {"opt/nv/libcuda.so.580.1": images.library("libcuda.so.1")}

    update(tmp_path, {**library, **tree}, "/opt/nv")


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"etc/ld.so.conf": "include /etc/ld.so.conf\n" * 9}, id="includes itself"),
        pytest.param(
            {"etc/ld.so.conf": "include /c/*.conf\n"}
            | {f"c/{n}.conf": "include /c/*.conf\n" * 50 for n in range(50)},
            id="includes all of them from all of them",
        ),
        pytest.param({"etc/ld.so.conf": "include /../../outside/*\n"}, id="includes the host"),
        pytest.param({"etc/ld.so.conf": b"\xff\0\n" * 10000}, id="no text"),
    ],
)
def test_configuration_that_is_an_attack(tree: dict[str, str | bytes], tmp_path: Path) -> None:
    update(tmp_path, LIBRARIES | tree)

    assert len(images.rows(tmp_path / "image")) == 3


def settings(tmp_path: Path, tree: dict[str, str | bytes]) -> list[str]:
    images.make(tmp_path, tree)
    with resolver.open_root(f"{tmp_path}") as root:
        return loader_config.read(root)


@pytest.mark.parametrize(
    ("tree", "is_read"),
    [
        pytest.param({"etc/ld.so.conf": "include /no/*.conf\n" * 200}, True, id="some patterns"),
        pytest.param({"etc/ld.so.conf": "include /no/*.conf\n" * 256}, False, id="many patterns"),
        pytest.param({"etc/ld.so.conf": "include /no/a\n" * 256}, False, id="many names"),
        pytest.param(
            {"etc/ld.so.conf": "include /c/*\n"} | {f"c/{n}": "#" * 60_000 for n in range(10)},
            True,
            id="some long files",
        ),
        pytest.param(
            {"etc/ld.so.conf": "include /c/*\n"} | {f"c/{n}": "#" * 60_000 for n in range(20)},
            False,
            id="many long files",
        ),
        pytest.param(
            {"etc/ld.so.conf": "include /c/*no\n" * 3} | {f"c/{n}": "" for n in range(4096)},
            True,
            id="a large folder",
        ),
        pytest.param(
            {"etc/ld.so.conf": "include /c/*no\n" * 16} | {f"c/{n}": "" for n in range(4096)},
            False,
            id="a large folder over and over",
        ),
    ],
)
def test_limits_are_of_all_files_together(
    tree: dict[str, str | bytes], is_read: bool, tmp_path: Path
) -> None:
    main = f"{tree['etc/ld.so.conf']}include /last/*.conf\n"  # type: ignore[str-bytes-safe]

    folders = settings(tmp_path, tree | {"etc/ld.so.conf": main, "last/a.conf": "/last"})

    assert folders == (["/last"] if is_read else [])


def test_folders_of_all_files_are_limited(tmp_path: Path) -> None:
    tree: dict[str, str | bytes] = {
        f"c/{file}.conf": "".join(f"/{file}/{number}\n" for number in range(400))
        for file in range(4)
    }

    folders = settings(tmp_path, tree | {"etc/ld.so.conf": "include /c/*.conf\n"})

    assert len(folders) == loader_config.MOST_FOLDERS
    assert folders[-1] == "/2/199"


def many(root: Path, folder: str, count: int) -> None:
    """Fill a folder with libraries that have no soname: each is known by its own name."""
    images.make(root, {f"{folder}/lib.so.0": images.library()})
    for number in range(1, count):
        (root / folder / f"lib.so.{number}").hardlink_to(root / folder / "lib.so.0")


def test_compatibility_folders_of_the_image_are_few(tmp_path: Path) -> None:
    """And they take nothing from the driver's, however much is in them."""
    image = tmp_path / "image"
    many(image, "many", 2500)
    names = [f"/c{number}" for number in range(9)]
    compat = {"etc/ld.so.conf.d/00-compat-x.conf": "\n".join(names)}

    update(tmp_path, LIBRARIES | compat | dict.fromkeys(names, "-> /many"))

    folders = [path.rpartition("/")[0] for _, path, _, _ in images.rows(image)]
    assert set(folders) == {NV, *names[: loader_config.MOST_COMPAT]}
    assert folders.count(NV) == 3
    assert len(folders) <= libraries.MOST_IN_ALL


def test_compatibility_folders_that_are_taken_back_are_few(tmp_path: Path) -> None:
    images.make(tmp_path, {"etc/ld.so.conf.d/00-compat.conf": "/a\n/b\n/c\n/d\n/e\n"})

    with resolver.open_root(f"{tmp_path}") as root:
        assert loader_config.remove(root, loader_config.COMPAT) == ["/a", "/b", "/c", "/d"]

    assert not (tmp_path / "etc/ld.so.conf.d/00-compat.conf").exists()


def test_files_of_all_folders_are_limited(tmp_path: Path) -> None:
    for folder in "abc":
        many(tmp_path / "image", folder, 3000)

    update(tmp_path, {}, "/a", "/b", "/c")

    assert len(images.rows(tmp_path / "image")) == libraries.MOST_IN_ALL


@pytest.mark.parametrize(("depth", "count"), [(libraries.DEEPEST, 1), (libraries.DEEPEST + 1, 0)])
def test_folder_deeper_than_any_real_one(depth: int, count: int, tmp_path: Path) -> None:
    folder = "/d" * depth

    update(tmp_path, {f"{folder}/liba.so.1": images.library("liba.so.1")}, folder)

    assert len(images.rows(tmp_path / "image")) == count


@pytest.mark.parametrize("offset", [0, (1 << 32) - 1])
def test_cache_whose_offsets_lead_out_is_made_anew(offset: int, tmp_path: Path) -> None:
    row = (b"libz.so.1", 0x0303, b"/lib/libz.so.1")
    data = bytearray(ldcache.dump(ldcache.merge(ldcache.Cache(), [row])))
    struct.pack_into("=I", data, ldcache.HEADER.size + 4 * ldcache.PATH, offset)

    (warning,) = update(tmp_path, LIBRARIES | {"etc/ld.so.cache": bytes(data)})

    assert warning == "/etc/ld.so.cache was made anew: a string lies outside the table"
    assert len(images.rows(tmp_path / "image")) == 3


@pytest.mark.parametrize(
    "soname", ["../../../outside/nv/libx.so.1", "/outside/nv/libx.so.1", "..", "libx"]
)
def test_soname_is_no_path(soname: str, tmp_path: Path) -> None:
    update(tmp_path, {"usr/lib/nv/libx.so.2": images.library(soname)})

    assert images.rows(tmp_path / "image") == []
    assert os.listdir(f"{tmp_path}/image{NV}") == ["libx.so.2"]


def test_file_by_a_soname_is_not_taken_away(tmp_path: Path) -> None:
    own = images.library("libcuda.so.1")

    update(tmp_path, LIBRARIES | {"usr/lib/nv/libcuda.so.1": own + b"own"})

    assert (tmp_path / f"image{NV}/libcuda.so.1").read_bytes() == own + b"own"


def test_alpine_gets_its_path_file_once(tmp_path: Path) -> None:
    update(tmp_path, LIBRARIES | {"etc/alpine-release": "3\n", "usr/local/lib/": ""})
    update(tmp_path, {})

    text = (tmp_path / "image/etc/ld-musl-x86_64.path").read_text()
    assert text == f"{NV}\n/lib\n/usr/local/lib\n{SYSTEM[len('/lib') :].lstrip()}"


def test_alpine_keeps_what_its_path_file_says(tmp_path: Path) -> None:
    path = "etc/ld-musl-x86_64.path"

    update(tmp_path, LIBRARIES | {"etc/alpine-release": "3\n", path: "/a:/lib\n"})

    assert (tmp_path / "image" / path).read_text() == f"/a\n/lib\n{NV}\n"


def test_alpine_is_not_told_of_32_bit_libraries(tmp_path: Path) -> None:
    """musl's loader takes the first file of a name, and fails if it is for another processor."""
    path = "usr/lib/i386-linux-gnu/libGLX_nvidia.so.580.1"
    tree = {**LIBRARIES, path: elf.shared_object("libGLX_nvidia.so.0", "i386")}

    update(tmp_path, {**tree, "etc/alpine-release": "3\n"}, NV, "/usr/lib/i386-linux-gnu")

    text = (tmp_path / "image/etc/ld-musl-x86_64.path").read_text()
    assert text.splitlines()[0] == NV
    assert "i386" not in text
    assert "i386" in (tmp_path / "image/etc/ld.so.conf.d/00-nvcr.conf").read_text()


MUSL = {"lib/ld-musl-x86_64.so.1": "musl", "etc/debian_version": "12"}
GLIBC = {"usr/lib64/ld-linux-x86-64.so.2": "glibc", "lib64": "-> usr/lib64"}


@pytest.mark.parametrize(
    ("tree", "is_named"),
    [
        pytest.param(MUSL, True, id="musl alone"),
        pytest.param({**MUSL, **GLIBC}, False, id="beside glibc"),
        pytest.param({**GLIBC, "etc/alpine-release": "3"}, True, id="Alpine with glibc beside"),
        pytest.param(GLIBC, False, id="glibc alone"),
    ],
)
def test_path_file_is_for_images_of_musl(
    tree: dict[str, str | bytes], *, is_named: bool, tmp_path: Path
) -> None:
    """In any other image it would lead musl's programs to the libraries of glibc."""
    update(tmp_path, {**LIBRARIES, **tree})

    assert (tmp_path / "image/etc/ld-musl-x86_64.path").exists() == is_named


def test_musl_beside_glibc_finds_what_it_found(tmp_path: Path) -> None:
    path = "etc/ld-musl-x86_64.path"

    update(tmp_path, {**LIBRARIES, **MUSL, **GLIBC, path: "/lib/x86_64-linux-musl\n"})

    assert (tmp_path / "image" / path).read_text() == "/lib/x86_64-linux-musl\n"


def test_system_folders_are_those_of_the_image(tmp_path: Path) -> None:
    images.make(tmp_path, {"etc/debian_version": "12"})
    with resolver.open_root(f"{tmp_path}") as root:
        assert loader_config.system_folders(root)[1] == images.FOLDER
