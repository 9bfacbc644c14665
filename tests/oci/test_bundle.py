# SPDX-License-Identifier: Apache-2.0
"""A bundle's config.json: read once, replaced whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shim
from builders import spec

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle
from nvidia_runtime.store import files


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a bundle's config.json."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(spec()))
    return path


def refusal(folder: Path) -> str:
    """Return the message by which a bundle is refused."""
    with pytest.raises(NvidiaRuntimeError) as error:
        bundle.read(str(folder))
    return str(error.value)


@pytest.mark.parametrize("end", ["", "/", "//", "/."])
def test_read(end: str, config: Path) -> None:
    assert bundle.read(f"{config.parent}{end}").spec == spec()


def test_read_in_the_working_directory(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)

    bundled = bundle.read("")

    assert (bundled.path, bundled.spec) == ("config.json", spec())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty, not a JSON document"),
        (b"[]", "must be a JSON object, not a list"),
        (b"null", "must be a JSON object, not null"),
        (b"5", "must be a JSON object, not a number"),
        (b"{", "is not JSON: line 1, column 2: expecting property name enclosed in double quotes"),
    ],
)
def test_contents_that_are_no_spec(data: bytes, says: str, config: Path) -> None:
    config.write_bytes(data)

    assert refusal(config.parent) == f"{config}: {says}"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        bundle.read(str(tmp_path))

    assert str(error.value) == (
        f"{tmp_path}/config.json: "
        "cannot read the container's configuration: no such file or directory"
    )
    assert error.value.hint == (
        "--bundle must name a folder with a config.json; the default is the working directory"
    )


def test_folder_with_a_nul() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        bundle.read("/a\0b")

    assert str(error.value) == (
        "/a\0b/config.json: cannot read the container's configuration: embedded null byte"
    )


def make_folder(config: Path) -> None:
    config.mkdir()


def make_fifo(config: Path) -> None:
    os.mkfifo(config)


@pytest.mark.parametrize("make", [make_folder, make_fifo])
def test_what_is_no_regular_file(make: object, config: Path) -> None:
    config.unlink()
    assert callable(make)
    make(config)

    assert refusal(config.parent) == f"{config}: is not a regular file"


def test_too_large(config: Path) -> None:
    os.truncate(config, bundle.LARGEST + 1)

    assert (
        refusal(config.parent) == f"{config}: is too large: 33554433 bytes, the limit is 33554432"
    )


def test_write(config: Path) -> None:
    bundled = bundle.read(str(config.parent))
    bundled.spec["added"] = "\u00e9"

    bundle.write(bundled)

    assert json.loads(config.read_bytes()) == {**spec(), "added": "\u00e9"}
    assert os.listdir(config.parent) == ["config.json"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o666, 0o4755])
def test_mode_is_kept(mode: int, config: Path) -> None:
    config.chmod(mode)

    bundle.write(bundle.read(str(config.parent)))

    assert config.stat().st_mode & 0o7777 == mode


@shim.needs_root
def test_owner_and_mode_are_kept(config: Path) -> None:
    os.chown(config, 1000, 100)
    config.chmod(0o2640)

    bundle.write(bundle.read(str(config.parent)))

    status = config.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1000, 100, 0o2640)


def test_reader_of_the_old_file_is_not_disturbed(config: Path) -> None:
    bundled = bundle.read(str(config.parent))
    bundled.spec["added"] = True

    with config.open() as reader:
        bundle.write(bundled)

        assert json.load(reader) == spec()


def test_leftover_of_a_killed_process_is_replaced(config: Path) -> None:
    Path(f"{config}.nvidia-{os.getpid()}").symlink_to("elsewhere")

    bundle.write(bundle.read(str(config.parent)))

    assert os.listdir(config.parent) == ["config.json"]


def test_folder_that_is_gone(config: Path, tmp_path: Path) -> None:
    bundled = bundle.read(str(config.parent))
    bundled.path = f"{tmp_path}/gone/config.json"

    with pytest.raises(NvidiaRuntimeError) as error:
        bundle.write(bundled)

    assert str(error.value) == (
        f"{tmp_path}/gone/config.json: cannot write the container's configuration: "
        "no such file or directory; it is as it was"
    )
    assert error.value.hint == (
        "the bundle's folder must be writable and have room for a copy of config.json"
    )


def test_nothing_is_left_where_the_new_file_cannot_take_its_place(config: Path) -> None:
    bundled = bundle.read(str(config.parent))
    config.unlink()
    config.mkdir()

    with pytest.raises(NvidiaRuntimeError, match="is a directory; it is as it was"):
        bundle.write(bundled)

    assert os.listdir(config.parent) == ["config.json"]


def test_number_that_no_float_holds(config: Path) -> None:
    """JSON allows it; we cannot write it again, and must not call that a bug of ours."""
    config.write_text('{"x":1e400}')
    bundled = bundle.read(str(config.parent))

    with pytest.raises(NvidiaRuntimeError):
        bundle.write(bundled)


def test_what_is_nested_too_deeply_to_be_written(config: Path) -> None:
    """Writing takes more stack than reading."""
    for depth in range(900, 1000):
        text = '{"x":' + "[" * depth + "]" * depth + "}"
        config.write_text(text)
        try:
            bundle.write(bundle.read(str(config.parent)))
        except NvidiaRuntimeError as error:
            assert error.where == str(config)
            assert config.read_text() == text


@pytest.mark.parametrize("after", [30, 90], ids=["young", "old"])
@pytest.mark.parametrize("is_here", [True, False], ids=["working directory", "path"])
def test_leftover_of_a_killed_create_goes_when_it_is_old(
    is_here: bool, after: int, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = config.with_name("config.json.nvidia-4000001")
    other = config.with_name("config.json.nvidia-mine")
    left.write_text("half")
    other.write_text("mine")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + after)
    monkeypatch.chdir(config.parent)

    files.sweep(*bundle.leftovers(bundle.read("" if is_here else str(config.parent))))

    assert (left.exists(), other.exists()) == (after < 60, True)


@pytest.mark.parametrize(
    ("linux", "lost"),
    [
        pytest.param(None, [], id="no namespace"),
        pytest.param({"namespaces": 5, "gidMappings": 5}, [], id="odd"),
        pytest.param({"namespaces": [{"type": "user"}]}, [], id="unknown"),
        pytest.param(
            {
                "namespaces": [{"type": "user"}],
                "gidMappings": [
                    {"containerID": 0, "hostID": 1000, "size": 1},
                    {"containerID": 40, "hostID": 2000, "size": 10},
                ],
            },
            [1, 50, 1 << 31],
            id="mapped",
        ),
        pytest.param(
            {"namespaces": [{"type": "user"}], "gidMappings": [{"containerID": "0", "size": 1}]},
            [],
            id="mapped oddly",
        ),
        pytest.param(
            {"namespaces": [{"type": "pid"}], "gidMappings": [{"containerID": 0, "size": 1}]},
            [],
            id="mappings of nothing",
        ),
    ],
)
def test_groups_that_the_namespace_lacks(linux: object, lost: list[int]) -> None:
    document = spec() if linux is None else spec(linux=linux)

    assert bundle.unmapped(document, [0, 1, 40, 49, 50, 1 << 31]) == lost


def test_groups_that_our_own_namespace_lacks() -> None:
    """A rootless engine's container may be in the engine's."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from nvidia_runtime.oci import bundle\n"
        "print(bundle.unmapped({}, [0, 44]))"
    )
    words = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, str(shim.TREE)]
    got = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unshare" in got.stderr:
        pytest.skip(f"needs user namespaces: {got.stderr}")

    assert (got.stdout, got.stderr) == ("[44]\n", "")
