# SPDX-License-Identifier: Apache-2.0
"""Paths below the driver root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import root

from . import trees


@pytest.mark.parametrize(
    ("path", "below", "expected"),
    [
        ("/etc/x", "/", "/etc/x"),
        ("/etc/x", "", "/etc/x"),
        ("/r/etc/x", "/r", "/etc/x"),
        ("/r/etc/x", "/r/", "/etc/x"),
        ("/rr/etc/x", "/r", "/rr/etc/x"),
    ],
)
def test_strip(path: str, below: str, expected: str) -> None:
    assert root.strip(path, below) == expected


@pytest.mark.parametrize("below", ["/", "/r", "/r/"])
def test_join_is_the_inverse_of_strip(below: str) -> None:
    assert root.strip(root.join(below, "/etc/x"), below) == "/etc/x"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param("a/file", "/a/file", id="no link"),
        pytest.param("relative", "/a/file", id="relative"),
        pytest.param("absolute", "/a/file", id="absolute: below the root, not the host's"),
        pytest.param("up", "/a/file", id="more .. than there are folders"),
        pytest.param("folder/file", "/a/file", id="a folder on the way"),
        pytest.param("chain", "/a/file", id="a link to a link"),
        pytest.param("a/../a/./file", "/a/file", id="dots"),
    ],
)
def test_resolve_stays_below_the_root(link: str, expected: str, tmp_path: Path) -> None:
    below = trees.make(
        tmp_path,
        {
            "a/file": "",
            "relative": "-> a/file",
            "absolute": "-> /a/file",
            "up": "-> ../../../../../../../../../a/file",
            "folder": "-> /a",
            "chain": "-> folder/../absolute",
        },
    )

    assert root.resolve(f"{below}/{link}", below) == below + expected


def test_resolve_outside_the_root_is_the_hosts(tmp_path: Path) -> None:
    outside = trees.make(tmp_path / "outside", {"file": "", "link": f"-> {tmp_path}/outside/file"})

    assert root.resolve(f"{outside}/link", f"{tmp_path}/root") == f"{outside}/file"


@pytest.mark.parametrize(
    ("target", "code"), [("-> nothing", errno.ENOENT), ("-> loop", errno.ELOOP)]
)
def test_resolve_fails(target: str, code: int, tmp_path: Path) -> None:
    below = trees.make(tmp_path, {"loop": target})

    with pytest.raises(OSError) as error:
        root.resolve(f"{below}/loop", below)

    assert error.value.errno == code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file", "file"),
        ("relative", "relative"),
        ("absolute", "a/target"),
        ("alternatives", "a/target"),
        ("folder/target", "a/target"),
        ("missing", ""),
        ("nowhere", ""),
        ("host", ""),
    ],
)
def test_source_is_where_the_host_finds_what_the_root_means(
    name: str, expected: str, tmp_path: Path
) -> None:
    """Links of Debian's alternatives are absolute: to the host they are its own programs."""
    below = trees.make(
        tmp_path,
        {
            "file": "",
            "a/target": "",
            "relative": "-> a/target",
            "absolute": "-> /a/target",
            "etc/alternatives/x": "-> /a/target",
            "alternatives": "-> etc/alternatives/x",
            "folder": "-> /a",
            "missing": "-> /a/none",
            "host": "-> /bin/sh",
        },
    )

    assert root.source(f"{below}/{name}", below) == (expected and f"{below}/{expected}")


@pytest.mark.parametrize("folder", ["/nowhere", "/dev/null", "/\0"])
def test_names_of_what_is_no_folder(folder: str) -> None:
    assert root.names(folder) == []


def test_names_of_a_folder_that_cannot_be_listed() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        root.names(f"/{'x' * 300}")

    assert error.value.what == "cannot be listed: file name too long"


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EIO, "look at the kernel's log (dmesg): the disk may be failing"),
        (errno.ESTALE, "mount the file system anew"),
        (errno.EACCES, f"let user {os.geteuid()} read it, and the folders above it"),
        (errno.EINVAL, ""),
    ],
)
def test_hint_fits_what_went_wrong(number: int, hint: str) -> None:
    error = root.unreadable("/x", OSError(number, os.strerror(number)))

    assert str(error) == f"/x: cannot be read: {os.strerror(number).lower()}"
    assert error.hint == hint


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("libcuda.so.1", "libcuda.so.1", True),
        ("libcuda.so.1", "libcuda.so", False),
        ("libcuda.so.1", "libcuda.so.*.*", False),
        ("libcuda.so.535.104", "libcuda.so.*.*", True),
        ("libcuda.so.535.104.05", "libcuda.so.*.*", True),
        ("libGLX.so.550.54", "lib*.so.550.54", True),
        ("libGLX.so.550.54.15", "lib*.so.550.54", False),
        ("nvidia-fs", "nvidia-fs*", True),
        ("nvidia-f", "nvidia-fs*", False),
        ("aba", "ab*ba", False),
        ("a.b", "*", True),
    ],
)
def test_is_match(name: str, pattern: str, expected: bool) -> None:
    assert root.is_match(name, pattern) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lib*.so.1.2", ["liba.so.1.2", "libb.so.1.2"]),
        ("liba.so.*.*", ["liba.so.1.2"]),
        ("*.so", ["liba.so"]),
        ("libb.so.1.2", ["libb.so.1.2"]),
        ("libc.so", []),
        ("lib*", ["liba.so", "liba.so.1.2", "libb.so.1.2"]),
    ],
)
def test_matches(pattern: str, expected: list[str]) -> None:
    names = ["liba.so", "liba.so.1.2", "libb.so.1.2", "other.so.1.2"]

    assert root.matches(names, pattern) == expected
