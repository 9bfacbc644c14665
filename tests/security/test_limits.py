# SPDX-License-Identifier: Apache-2.0
"""Whatever a file of an image says, reading it ends soon and in little memory: fuzz, and the worst.

Seconds are of the processor's, five to ten times what it takes here; memory is the process'.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rootfs import images

from nvidia_runtime import document
from nvidia_runtime.admission import image as image_env
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit, state
from nvidia_runtime.rootfs import (
    cuda_compat,
    elf,
    ldcache,
    libraries,
    library_names,
    loader,
    loader_cache,
    loader_config,
    resolver,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

L = images.FOLDER
ROWS = [
    (b"libcuda.so.%d" % number, 0x0303, b"/usr/lib/libcuda.so.%d" % number) for number in range(64)
] + [(b"libcuda.so", 0x0303, b"/libcuda.so")]
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
LONG_FUZZ = settings(max_examples=20_000, deadline=None, suppress_health_check=[*HealthCheck])


class TooLongError(Exception):
    """What is done has not ended in time; no error that anybody would catch."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if what is done takes longer, of the processor's time; it is ended then."""

    def end(*_: object) -> None:
        raise TooLongError(f"takes more than {seconds} s of the processor's time")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cache(rows: int, names: list[bytes], **changes: int) -> bytes:
    """Make a cache of entries that repeat these strings; ``changes`` are lies in its header."""
    strings = b"".join(name + b"\0" for name in names)
    base = ldcache.HEADER.size + ldcache.ENTRY * rows
    places, at = [], base
    for name in names:
        places.append(at)
        at += len(name) + 1
    numbers = {"count": rows, "size": len(strings), "extensions": 0, **changes}
    head: bytes = ldcache.HEADER.pack(
        ldcache.MAGIC, numbers["count"], numbers["size"], ldcache.BYTE_ORDER, numbers["extensions"]
    )
    entries = b"".join(
        struct.pack("=IIIIQ", 0x0303, places[row % len(names)], places[row * 7 % len(names)], 0, 0)
        for row in range(rows)
    )
    return bytes(head) + entries + strings


def real_caches() -> list[bytes]:
    """Return this machine's cache, if it has one, and one of each kind that we write."""
    caches = [
        ldcache.dump(ldcache.merge(ldcache.Cache(), ROWS)),
        cache(20, [b"liba.so.1", b"/l/liba.so.1"]),
    ]
    with contextlib.suppress(OSError):
        caches.append(Path("/etc/ld.so.cache").read_bytes())
    return caches


def mutated(data: bytes, seed: int) -> bytes:
    """Change a file in a few places, mostly in its beginning, where its numbers are; or cut it."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(min(len(changed), chance.choice((64, 512, 1 << 30))) or 1)
        kind = chance.random()
        if kind < 0.5:
            word = chance.choice(
                (0, 1, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, chance.getrandbits(32))
            )
            changed[at : at + 4] = word.to_bytes(4, "little")
        elif kind < 0.7:
            del changed[at : at + chance.randint(1, 100)]
        elif kind < 0.9:
            changed[at:at] = changed[at : at + chance.randint(1, 5000)]
        else:
            del changed[chance.randrange(len(changed) or 1) :]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def read_cache(data: bytes) -> None:
    """Do with a cache what a create does; all that may go wrong is that it is malformed."""
    try:
        cache = ldcache.parse(data)
    except ldcache.MalformedError:
        return
    with contextlib.suppress(ldcache.MalformedError):
        list(cache.rows())
    with contextlib.suppress(ldcache.MalformedError, ValueError):
        written = ldcache.dump(ldcache.merge(cache, ROWS))
        assert len(written) <= 2 * len(data) + 200 * len(ROWS) + 4096
        assert {row[:3] for row in ldcache.parse(written).rows()} >= set(ROWS)


@given(seed=st.integers(0, 1 << 60), which=st.integers(0, 2))
@FUZZ
def test_fuzzed_cache(seed: int, which: int) -> None:
    caches = real_caches()
    with within(2):
        read_cache(mutated(caches[which % len(caches)], seed))


@pytest.mark.long
@given(seed=st.integers(0, 1 << 60), which=st.integers(0, 2))
@LONG_FUZZ
def test_fuzzed_cache_for_long(seed: int, which: int) -> None:
    caches = real_caches()
    read_cache(mutated(caches[which % len(caches)], seed))


@given(data=st.binary(max_size=400))
@FUZZ
def test_random_bytes_for_a_cache(data: bytes) -> None:
    read_cache(data)
    read_cache(ldcache.MAGIC + data)
    read_cache(ldcache.OLD_MAGIC + data)


WORST_CACHES = {
    "digits": lambda: cache(50_000, [b"9" * 4000] * 600),
    "digits and letters": lambda: cache(50_000, [b"1a" * 2000] * 600),
    "bytes above ASCII": lambda: cache(50_000, [b"\xff1" * 2000] * 600),
    "leading zeros": lambda: cache(50_000, [b"00a1" * 1000] * 600),
    "slashes": lambda: cache(50_000, [b"/" * 4000] * 600),
    "only slashes": lambda: cache(1, [b"/" * 4000] * 1040),
    "many short names": lambda: cache(50_000, [b"/a%d" % number for number in range(300_000)]),
    "one string without end": lambda: cache(50_000, [b"a" * 2_000_000]),
    "too many rows": lambda: cache(200, [b"a"], count=(1 << 32) - 1),
    "too long a table": lambda: cache(200, [b"a"], size=(1 << 32) - 1),
    "extensions everywhere": lambda: cache(200, [b"a"], extensions=(1 << 32) - 4),
}


@pytest.mark.parametrize("name", WORST_CACHES)
def test_worst_cache(name: str) -> None:
    data = WORST_CACHES[name]()[: ldcache.LARGEST]
    with within(3):
        read_cache(data)


@pytest.mark.parametrize("word", ["name", "path"])
@pytest.mark.parametrize("offset", [0, 1, 71, 1 << 31, (1 << 32) - 1])
def test_offsets_outside_of_the_table(offset: int, word: str) -> None:
    """They move with each row that is added, and must not move out of their 32 bits."""
    data = bytearray(cache(2, [b"liba.so.1", b"/lib/liba.so.1"]))
    struct.pack_into("=I", data, ldcache.HEADER.size + (4 if word == "name" else 8), offset)

    read_cache(bytes(data))


@pytest.mark.parametrize("length", [100, 4096])
def test_order_of_long_names(length: int) -> None:
    with within(1):
        for text in (b"9" * length, b"a9" * (length // 2), b"\xff" * length, b"0" * length):
            library_names.order(text)


def described(data: bytes) -> None:
    """Do with a library what a create does."""
    descriptor = os.memfd_create("library")
    try:
        os.write(descriptor, data)
        library = elf.identify(descriptor)
        assert library is None or len(library.soname) <= elf.LONGEST_SONAME + 1
        note = elf.note(descriptor, cuda_compat.SECTION, cuda_compat.OWNER)
        assert len(note) <= elf.MOST_NOTE
        cuda_compat._note(note)
    finally:
        os.close(descriptor)


def real_libraries() -> list[bytes]:
    libraries = [
        images.library("libx.so.1"),
        images.compatible(b'{"Driver":[550],"CUDA Version":"12.4"}'),
    ]
    for path in ("/lib/x86_64-linux-gnu/libdl.so.2", "/lib64/libdl.so.2"):
        with contextlib.suppress(OSError):
            libraries.append(Path(path).read_bytes())
    return libraries


@given(seed=st.integers(0, 1 << 60), which=st.integers(0, 2))
@FUZZ
def test_fuzzed_library(seed: int, which: int) -> None:
    libraries = real_libraries()
    with within(1):
        described(mutated(libraries[which % len(libraries)], seed))


@pytest.mark.long
@given(seed=st.integers(0, 1 << 60), which=st.integers(0, 2))
@LONG_FUZZ
def test_fuzzed_library_for_long(seed: int, which: int) -> None:
    libraries = real_libraries()
    described(mutated(libraries[which % len(libraries)], seed))


@given(
    text=st.one_of(
        st.binary(max_size=300), st.text('[]{}",:0.eE-\\u', max_size=300).map(str.encode)
    )
)
@FUZZ
def test_fuzzed_note(text: bytes) -> None:
    note = cuda_compat._note(text)

    assert type(note) is dict
    cuda_compat._compare("550.1", note, "550.2", "12.1")


@pytest.mark.parametrize(
    "text", [b"[" * 60_000, b'{"a":' * 12_000, b"9" * 60_000, b'{"Driver":[' + b"1," * 30_000]
)
def test_worst_note(text: bytes) -> None:
    with within(1):
        described(images.compatible(text))


def slow_library() -> bytes:
    """Make a library whose dynamic section is as long as will be read."""
    base = bytearray(images.library("libx.so.1"))
    dynamic = struct.pack("<qQ", elf.DT_SONAME, 1) * (elf.MOST_DYNAMIC // 16)
    struct.pack_into("<Q", base, 64 + 56 + 8, len(base))
    struct.pack_into("<Q", base, 64 + 56 + 32, len(dynamic))
    return bytes(base) + dynamic


@pytest.fixture
def image(tmp_path: Path) -> Iterator[resolver.Place]:
    with resolver.open_root(os.fspath(images.make(tmp_path / "image", {"etc/": ""}))) as root:
        yield root


def fill(folder: Path, *, by_links: bool) -> None:
    """Fill a folder with names of one library, each by its own way."""
    folder.mkdir(parents=True)
    first = folder / "libfirst.so.1"
    first.write_bytes(slow_library())
    for number in range(libraries.MOST_FILES):
        if by_links:
            (folder / f"lib{number}.so.1").symlink_to("/l0")
        else:
            (folder / f"lib{number}.so.1").hardlink_to(first)


@pytest.mark.parametrize(
    "by_links",
    [
        pytest.param(False, id="hard links"),
        pytest.param(True, id="links by links", marks=pytest.mark.long),
    ],
)
def test_worst_folder(by_links: bool, image: resolver.Place, tmp_path: Path) -> None:
    fill(tmp_path / "image/usr/lib", by_links=by_links)
    for number in range(38):
        (tmp_path / f"image/l{number}").symlink_to(f"/l{number + 1}")
    (tmp_path / "image/l38").symlink_to("/usr/lib/libfirst.so.1")

    with within(8):
        libraries.scan(image, "/usr/lib", frozenset())


def conf_files(root: Path, line: str, prefix: str = "") -> None:
    """Fill ld.so.conf.d with as many and as large files as are read; each has the line as often as
    there is room, ``N`` stands for a number of its own."""
    folder = root / "etc/ld.so.conf.d"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    for file in range(loader_config.MOST_FILES):
        count = (loader_config.LARGEST - 200) // (len(line) + 8)
        text = "".join(f"{line.replace('N', f'{file:x}.{number:x}')}\n" for number in range(count))
        (folder / f"{prefix}{file}.conf").write_text(text)


@pytest.mark.parametrize(
    "line",
    [
        "/N",
        "include /etc/ld.so.conf.d/*.conf",
        "include /etc/ld.so.conf.d/*nope",
        "include /nonexistent/*.conf /etc/ld.so.conf.d/*nope",
        "include /etc/ld.so.conf",
        "# N",
    ],
)
def test_worst_settings(line: str, image: resolver.Place, tmp_path: Path) -> None:
    """Limits of each file are no limit of all: an image has as many as it likes."""
    conf_files(tmp_path / "image", line)

    with within(2):
        settings = loader_config.read(image)

    assert len(settings) <= 20_000


def test_worst_compatibility_folders(image: resolver.Place, tmp_path: Path) -> None:
    """The image itself says which folders come first."""
    fill(tmp_path / "image/many", by_links=False)
    for number in range(200):
        (tmp_path / f"image/l{number}").symlink_to("/many")
    folder = tmp_path / "image/etc/ld.so.conf.d"
    folder.mkdir()
    (folder / "00-compat.conf").write_text("".join(f"/l{number}\n" for number in range(200)))

    with within(15):
        loader.update(image, [], [])


@given(
    text=st.lists(
        st.sampled_from([*"ab/.*#= \t\n\r\0", "include ", "hwcap ", "/etc/", "é", "\udcff"]),
        max_size=60,
    ).map("".join)
)
@FUZZ
def test_fuzzed_settings(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("image")
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_bytes(text.encode("utf-8", "surrogateescape"))
    (root / "etc/ld.so.conf.d/a.conf").write_bytes(text.encode("utf-8", "surrogateescape"))
    with resolver.open_root(os.fspath(root)) as image:
        folders = [*loader_config.read(image), *loader_config.read_compat(image)]

    for folder in folders:
        assert folder.startswith("/")
        assert not set(folder) & set("\0\n")
        assert "/./" not in folder


@given(data=st.binary(max_size=300))
@FUZZ
def test_fuzzed_cache_in_an_image(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("image")
    (root / "etc").mkdir()
    (root / "etc/ld.so.cache").write_bytes(data)
    unknown = contextlib.suppress(loader_cache.UnknownFormatError)
    with resolver.open_root(os.fspath(root)) as image, unknown:
        cache = loader_cache.read(image)
        assert loader_cache.add(image, cache, list(ROWS))
        cache.paths()
        assert {row[0] for row in images.rows(root)} >= {row[0].decode() for row in ROWS}


def deep(text: bytes, count: int, end: bytes = b"") -> bytes:
    return text * count + end


WORST_DOCUMENTS = {
    "lists": deep(b"[", 1_000_000),
    "closed lists": deep(b"[", 300_000) + deep(b"]", 300_000),
    "objects": deep(b'{"a":', 300_000),
    "digits": b"9" * 2_000_000,
    "exponent": b'{"a": 1e999999999}',
    "one string": b'"' + b"a" * (8 << 20),
    "escapes": b'"' + b"\\u0000" * (1 << 20) + b'"',
    "surrogates": b'"' + b"\\ud800" * (1 << 20) + b'"',
    "nul": b"\0" * (1 << 20),
    "repeated keys": b"{" + b'"a":1,' * 500_000 + b'"a":1}',
}


@pytest.mark.parametrize("name", WORST_DOCUMENTS)
@pytest.mark.parametrize("parse", [document.loads, cdi_spec.parse], ids=["config.json", "CDI spec"])
def test_worst_document(parse: Callable[..., Any], name: str) -> None:
    with within(8), contextlib.suppress(NvidiaRuntimeError):
        parse(WORST_DOCUMENTS[name], "a file")


PARSE = """
import resource, sys
from nvidia_runtime.oci import bundle, edit
from nvidia_runtime.errors import NvidiaRuntimeError
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
try:
    found = bundle.read(sys.argv[1])
    edit.apply(found.spec, [{"env": ["A=b"]}], "config.json")
    bundle.write(found)
except NvidiaRuntimeError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(b"[],", id="lists", marks=pytest.mark.long),
        pytest.param(b"{},", id="objects", marks=pytest.mark.long),
        pytest.param(b'"a",', id="strings", marks=pytest.mark.long),
        pytest.param(b"1,", id="numbers"),
    ],
)
def test_largest_config_json(item: bytes, tmp_path: Path) -> None:
    """An engine writes it, of at most 16 MB; one of twice that costs a second and a gigabyte."""
    start, end = b'{"process":{"env":[]},"x":[', b"0]}"
    count = (bundle.LARGEST - len(start) - len(end)) // len(item)
    (tmp_path / "config.json").write_bytes(start + item * count + end)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    words = [sys.executable, "-c", PARSE, os.fspath(tmp_path)]
    done = subprocess.run(
        words, cwd=shim.TREE, capture_output=True, text=True, timeout=60, check=False
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) < 2048
    assert after.ru_utime - before.ru_utime < 15


def test_config_json_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(bundle.LARGEST + 1)

    with within(1), pytest.raises(NvidiaRuntimeError, match="is too large"):
        bundle.read(os.fspath(tmp_path))


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        ["env", "process", "linux", "mounts", "hooks", "devices", "resources", "x"]
                    ),
                    inner,
                )
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
@FUZZ
def test_fuzzed_config_json(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "config.json").write_bytes(data)
    edits = [
        {"env": ["A=b"], "mounts": [{"destination": "/x", "source": "/y"}], "additionalGids": [7]}
    ]

    with contextlib.suppress(NvidiaRuntimeError):
        read = bundle.read(os.fspath(folder))
        edit.apply(read.spec, edits, read.path)
        bundle.write(read)
        assert type(json.loads((folder / "config.json").read_bytes())) is dict


@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["id", "bundle", "pid", "root", "status"]),
            st.none() | st.integers() | st.text() | st.lists(st.text()),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
@FUZZ
def test_fuzzed_state(data: bytes) -> None:
    descriptor = os.memfd_create("state")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with contextlib.suppress(NvidiaRuntimeError):
            state.read(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "data", [b"[" * 500_000, b'{"a":' * 300_000, b"9" * 5_000_000, b"", b"\xff"]
)
def test_worst_files_of_an_image(data: bytes, tmp_path: Path) -> None:
    """What an engine keeps of an image is in the words of the image's author."""
    root = tmp_path / "docker"
    digest = "a" * 64
    for name in (
        "containers/c1/config.v2.json",
        "containers/c1/hostconfig.json",
        f"image/overlay2/imagedb/content/sha256/{digest}",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    good = {"Driver": "overlay2", "Image": f"sha256:{digest}"}
    document = builders.asking("0", root={"path": f"{root}/overlay2/x/merged"})

    with within(3):
        image_env.read(document, "c1")
        (root / "containers/c1/config.v2.json").write_text(json.dumps(good))
        image_env.read(document, "c1")
