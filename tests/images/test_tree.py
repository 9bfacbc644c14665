# SPDX-License-Identifier: Apache-2.0
"""The layers of an image as one tree: folders of an engine's storage, and tar files."""

from __future__ import annotations

import io
import os
import posix
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import shim

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images import layers, survey, tar_layers
from nvidia_runtime.images import tree as tree_module
from nvidia_runtime.images.layers import FILE, FOLDER, FolderLayer
from nvidia_runtime.images.tar_layers import Budget, TarLayer
from nvidia_runtime.images.tree import Layer, Tree

from . import written
from .written import Files

Make = Callable[[Sequence[Files]], Tree]


def in_folders(tmp_path: Path) -> Make:
    """Write each layer as overlay(5) has it; the first is the lowest."""

    def make(files: Sequence[Files]) -> Tree:
        stack: list[Layer] = []
        for number, names in enumerate(files):
            root = tmp_path / f"layer{number}"
            root.mkdir()
            for name, content in names.items():
                put(root, name, content)
            stack.insert(0, FolderLayer(os.fspath(root), is_upper=True))
        return Tree(stack)

    return make


def put(root: Path, name: str, content: str | bytes) -> None:
    path = root / name.rstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    whiteout = path.name.removeprefix(".wh.")
    if path.name == ".wh..wh..opq":
        os.setxattr(path.parent, "trusted.overlay.opaque", b"y")
    elif whiteout != path.name:
        os.mknod(path.parent / whiteout, 0o020000, 0)
    elif name.endswith("/"):
        path.mkdir(exist_ok=True)
    elif isinstance(content, str) and content.startswith("-> "):
        path.symlink_to(content[3:])
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def in_tars(_tmp_path: Path) -> Make:
    def make(files: Sequence[Files]) -> Tree:
        budget = Budget()
        stack: list[Layer] = [TarLayer(io.BytesIO(written.layer(one)), budget) for one in files]
        return Tree(stack[::-1])

    return make


@pytest.fixture(
    params=[pytest.param(in_folders, marks=shim.needs_root), in_tars], ids=["folders", "tars"]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    maker: Make = request.param(tmp_path)
    if request.param is in_folders:
        try:
            os.setxattr(tmp_path, "trusted.overlay.opaque", b"n")
        except OSError:
            pytest.skip("this file system has no such attributes")
    return maker


LOWER: Files = {"lib/a": "1", "lib/b": "2", "etc/x/y": "3", "link": "-> etc"}
CASES: dict[str, tuple[list[Files], str, list[str]]] = {
    "one layer": ([LOWER], "lib", ["a", "b"]),
    "another adds": ([LOWER, {"lib/c": ""}], "lib", ["a", "b", "c"]),
    "another takes away": ([LOWER, {"lib/.wh.a": ""}], "lib", ["b"]),
    "and a third brings back": ([LOWER, {"lib/.wh.a": ""}, {"lib/a": ""}], "lib", ["a", "b"]),
    "a folder goes": ([LOWER, {".wh.etc": ""}], "etc/x", []),
    "a folder goes and comes": ([LOWER, {".wh.etc": ""}, {"etc/x/z": ""}], "etc/x", ["z"]),
    "only what is new counts": ([LOWER, {"lib/.wh..wh..opq": "", "lib/n": ""}], "lib", ["n"]),
    "below it, too": ([LOWER, {"etc/.wh..wh..opq": "", "etc/x/n": ""}], "etc/x", ["n"]),
    "a file in place of a folder": ([LOWER, {"etc": "f"}], "etc/x", []),
    "a folder in place of a file": ([LOWER, {"lib/a/n": ""}], "lib/a", ["n"]),
    "a link": ([LOWER], "link/x", ["y"]),
    "a link to what another layer has": ([LOWER, {"new": "-> /link"}], "new/x", ["y"]),
    "a link out": ([LOWER, {"out": "-> ../../../lib"}], "out", ["a", "b"]),
    "a link to itself": ([{"l": "-> l"}], "l", []),
    "links in a circle": ([{"a": "-> b/x", "b": "-> a"}], "a", []),
}


@pytest.mark.parametrize("name", CASES)
def test_names(name: str, make: Make) -> None:
    files, path, names = CASES[name]

    assert sorted(make(files).names(path)) == names


def test_host_is_out_of_reach(make: Make) -> None:
    tree = make([{"out": "-> /etc/passwd", "up": "-> ../../../../../../../etc"}])

    assert tree.resolve("out") is None
    assert tree.resolve("up/passwd") is None
    assert tree.names("/../../etc") == {}


def test_kinds_and_sizes(make: Make) -> None:
    tree = make([{"lib/a": "123", "lib/l": "-> a", "lib/dangling": "-> nowhere"}])

    own, entry = tree.resolve("/lib/l") or ("", layers.Entry(""))
    assert (own, entry.kind, entry.size) == ("/lib/a", FILE, 3)
    assert (tree.resolve("/") or ("", None))[1] == layers.Entry(FOLDER)
    assert tree.resolve("/lib/dangling") is None
    assert tree.resolve("/lib/dangling", follow=False) is not None


def test_beginning_of_a_program(make: Make) -> None:
    program = written.program(written.GLIBC)
    tree = make([{"bin/sh": b"old", "usr/": ""}, {"bin/dash": program, "bin/sh": "-> dash"}])

    descriptor = tree.open("/bin/sh")
    data = posix.pread(descriptor, 4096, 0)
    posix.close(descriptor)

    assert data == program


def test_hard_link_in_a_tar_file() -> None:
    """busybox is many names of one file."""
    tar = written.layer({"bin/[": written.program(), "bin/sh": "=> bin/["})
    tree = Tree([TarLayer(io.BytesIO(tar), Budget())])

    posix.close(tree.open("/bin/sh"))
    assert tree.names("/bin")["sh"].size == len(written.program())


def bomb(kind: bytes, size: int) -> bytes:
    """Make a member of a size that nothing follows."""
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf()


def extended(records: bytes, content: bytes = b"", kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Make a file with an extended header of some records."""
    parts = []
    for name, data in (("header", records), ("file", content)):
        member = tarfile.TarInfo(name)
        member.type = kind if name == "header" else tarfile.REGTYPE
        member.size = len(data)
        parts.append(member.tobuf() + data + bytes(-len(data) % 512))
    return b"".join(parts)


HOLES = b"".join(
    b"%d %s\n" % (len(text) + 4, text)
    for text in (b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.realsize=1")
)
HOSTILE = {
    "no tar file": b"x" * 4096,
    "cut short": written.layer({"a": "1" * 4096})[:1024],
    "an endless header": bomb(tarfile.XHDTYPE, 8 << 30),
    "an endless name": bomb(tarfile.GNUTYPE_LONGNAME, 8 << 30),
    "a size below zero": bomb(tarfile.REGTYPE, -512),
    "more than there may be": bomb(tarfile.REGTYPE, 1 << 40),
    "a header of digits": extended(b"1" * (1 << 20)),
    "lines of a header in each other": extended(b"2 " * (1 << 19) + b"="),
    "a line of a header without an end": extended(b"99 a=b\n"),
    "a size below zero in a header": extended(b"13 size=-512\n"),
    "holes without end": extended(HOLES, b"9999999\n" + b"1\n" * (1 << 20)),
    "holes of old": bomb(tarfile.GNUTYPE_SPARSE, 0),
    "global headers without end": b"".join(
        extended(
            b"".join(b"9 %05d=\n" % number for number in range(begin, begin + 400)),
            kind=tarfile.XGLTYPE,
        )
        for begin in range(0, 2000, 400)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tar_file(name: str) -> None:
    with pytest.raises(NvidiaRuntimeError):
        TarLayer(io.BytesIO(HOSTILE[name]), Budget())


def test_names_that_nobody_would_unpack() -> None:
    deep = "/".join(["d"] * 1000)
    tar = written.layer(
        {"../up": "1", "a/../../b": "1", deep: "1", "/lib/ok": "1", "./lib/too": ""}
    )
    layer = TarLayer(io.BytesIO(tar), Budget())

    assert sorted(layer.names(())[0]) == ["lib"]
    assert sorted(layer.names(("lib",))[0]) == ["ok", "too"]


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that are only in the names of files count, too."""
    monkeypatch.setattr(tar_layers, "MOST_ENTRIES", 20)
    deep = {"/".join([str(number), *"abcdefghi"]): "" for number in range(3)}

    with pytest.raises(NvidiaRuntimeError, match="has more than 20 files"):
        TarLayer(io.BytesIO(written.layer(deep)), Budget())


def test_too_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets of links count, too: each may have a MiB, which compresses well."""
    monkeypatch.setattr(tar_layers, "MOST_NAMED", 2000)

    with pytest.raises(NvidiaRuntimeError, match="MiB of names"):
        TarLayer(io.BytesIO(written.layer({"a": f"-> {'b' * 3000}"})), Budget())


def merged(files: Files) -> Tree:
    """Return the tree of one layer."""
    return Tree([TarLayer(io.BytesIO(written.layer(files)), Budget())])


def test_links_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """2000 links took half a minute, by 60 names of their folder."""
    monkeypatch.setattr(tree_module, "MOST_LOOKS", 5000)
    files = {f"usr/lib/libcuda.so.{number}": "-> /a0" for number in range(200)}
    chain = {f"a{number}": f"-> /a{number + 1}" for number in range(38)}

    with pytest.raises(NvidiaRuntimeError, match="too many links"):
        survey.baked(merged({**files, **chain}), [], [])


class Counting(Tree):
    """A tree that says which folders were listed."""

    listed: list[str]

    def names(self, path: str) -> dict[str, layers.Entry]:
        """List a folder."""
        self.listed.append(path)
        return super().names(path)


def test_folder_of_many_names_is_listed_once() -> None:
    names = {f"p{number}": "-> /usr/lib" for number in range(60)}
    layer = written.layer({"usr/lib/libcuda.so.1": "1", **names})
    tree = Counting([TarLayer(io.BytesIO(layer), Budget())])
    tree.listed = []

    survey.baked(tree, [f"/{name}" for name in names], [])

    assert tree.listed == ["/usr/lib"]
