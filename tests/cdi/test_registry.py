# SPDX-License-Identifier: Apache-2.0
"""The registry: which file supplies which device."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shim
from builders import Document, cdi_spec, device

from nvidia_runtime.cdi import registry
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Callable

Files = dict[str, object]


class Machine:
    """A machine with CDI specs: a folder for its spec dirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: Files) -> None:
        """Write spec files by their paths, from texts or documents."""
        for name, contents in files.items():
            file = self.folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(contents if isinstance(contents, str) else json.dumps(contents))

    def read(self, *dirs: str) -> registry.Registry:
        return registry.read([str(self.folder / name) for name in dirs or ("etc", "run")])

    def sources(self) -> dict[str, str]:
        """Return the devices, each with the file that supplies it."""
        devices = self.read().devices
        return {
            name: str(Path(file.path).relative_to(self.folder))
            for name, (file, _) in devices.items()
        }

    def errors(self) -> list[str]:
        """Return the messages, paths below the machine's folder."""
        return [str(error).replace(f"{self.folder}/", "") for error in self.read().errors]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def gpus(*names: str) -> Document:
    return cdi_spec(*[device(name) for name in names])


CONFLICT = "device nvidia.com/gpu={} is described by two files of one spec dir, so by none"


@pytest.mark.parametrize(
    ("files", "sources"),
    [
        pytest.param({}, {}, id="no dir"),
        pytest.param(
            {"etc/a.json": gpus("0", "1")},
            {"nvidia.com/gpu=0": "etc/a.json", "nvidia.com/gpu=1": "etc/a.json"},
            id="one file",
        ),
        pytest.param(
            {"etc/a.json": gpus("0", "1"), "run/a.json": gpus("0")},
            {"nvidia.com/gpu=0": "run/a.json", "nvidia.com/gpu=1": "etc/a.json"},
            id="a later dir wins",
        ),
        pytest.param(
            {"etc/a.json": gpus("0", "1"), "etc/b.json": gpus("1", "2")},
            {"nvidia.com/gpu=0": "etc/a.json", "nvidia.com/gpu=2": "etc/b.json"},
            id="two files of one dir conflict",
        ),
        pytest.param(
            {"etc/a.json": gpus("0"), "etc/b.json": gpus("0"), "etc/c.json": gpus("0")},
            {},
            id="three files of one dir conflict",
        ),
        pytest.param(
            {"etc/a.json": gpus("0"), "etc/b.json": gpus("0"), "run/c.json": gpus("0")},
            {"nvidia.com/gpu=0": "run/c.json"},
            id="a later dir wins where earlier ones conflict",
        ),
        pytest.param(
            {"etc/c.json": gpus("0"), "run/a.json": gpus("0"), "run/b.json": gpus("0")},
            {},
            id="a conflict hides an earlier dir",
        ),
        pytest.param(
            {"etc/a.json": gpus("0"), "etc/b.json": {**gpus("0"), "kind": "amd.com/gpu"}},
            {"nvidia.com/gpu=0": "etc/a.json", "amd.com/gpu=0": "etc/b.json"},
            id="other kinds do not conflict",
        ),
        pytest.param(
            {"etc/a.json": "{", "etc/b.json": gpus("0")},
            {"nvidia.com/gpu=0": "etc/b.json"},
            id="a broken file hides no other",
        ),
        pytest.param(
            {
                "etc/a.yaml": gpus("0"),
                "etc/b.yml": gpus("1"),
                "etc/c.JSON": gpus("2"),
                "etc/d.json~": gpus("3"),
                "etc/.e.json": gpus("4"),
            },
            {"nvidia.com/gpu=0": "etc/a.yaml", "nvidia.com/gpu=4": "etc/.e.json"},
            id="extensions",
        ),
    ],
)
def test_sources(files: Files, sources: dict[str, str], machine: Machine) -> None:
    machine.write(files)

    assert machine.sources() == sources


@pytest.mark.parametrize(
    ("files", "errors"),
    [
        pytest.param({"etc/a.json": gpus("0"), "run/a.json": gpus("0")}, [], id="override"),
        pytest.param(
            {"etc/b.json": gpus("0"), "etc/a.json": gpus("0")},
            [f"etc/a.json and etc/b.json: {CONFLICT.format(0)}"],
            id="conflict",
        ),
        pytest.param(
            {"etc/a.json": gpus("0"), "etc/b.json": gpus("0"), "etc/c.json": gpus("0")},
            [f"etc/a.json and etc/b.json and etc/c.json: {CONFLICT.format(0)}"],
            id="conflict of three",
        ),
        pytest.param(
            {"etc/a.json": gpus("0"), "etc/b.json": gpus("0"), "run/c.json": gpus("0")},
            [],
            id="overridden conflict",
        ),
        pytest.param(
            {"etc/a.json": "[]", "run/b.yaml": "a: 1\na: 2", "run/c.json": {"kind": "x"}},
            [
                "etc/a.json: must be an object",
                "run/b.yaml: is not YAML: line 2, column 1: repeated key 'a'",
                "run/c.json: cdiVersion: '' is not a known CDI version",
            ],
            id="broken files",
        ),
    ],
)
def test_errors(files: Files, errors: list[str], machine: Machine) -> None:
    machine.write(files)

    assert machine.errors() == errors


def in_a_folder(machine: Machine) -> None:
    machine.folder.joinpath("etc/deeper.json").mkdir()
    machine.folder.joinpath("etc/a.json").rename(machine.folder / "etc/deeper.json/a.json")


def by_a_link(machine: Machine) -> None:
    machine.folder.joinpath("etc/a.json").rename(machine.folder / "real")
    machine.folder.joinpath("etc/a.json").symlink_to("../real")


def by_a_linked_dir(machine: Machine) -> None:
    machine.folder.joinpath("etc").rename(machine.folder / "real")
    machine.folder.joinpath("etc").symlink_to("real")


@pytest.mark.parametrize(
    ("change", "names"),
    [(in_a_folder, []), (by_a_link, ["nvidia.com/gpu=0"]), (by_a_linked_dir, ["nvidia.com/gpu=0"])],
)
def test_where_a_file_lies(
    change: Callable[[Machine], None], names: list[str], machine: Machine
) -> None:
    machine.write({"etc/a.json": gpus("0")})

    change(machine)

    assert list(machine.sources()) == names
    assert machine.errors() == []


def test_spec_dir_may_be_a_file(machine: Machine) -> None:
    machine.write({"etc/a.json": gpus("0")})

    assert list(machine.read("etc/a.json").devices) == ["nvidia.com/gpu=0"]


def dangling(file: Path) -> None:
    file.symlink_to("absent")


def looping(file: Path) -> None:
    file.symlink_to(file.name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (dangling, "etc/x.json: cannot be read: no such file or directory"),
        (looping, "etc/x.json: cannot be read: too many levels of symbolic links"),
        (os.mkfifo, "etc/x.json: is not a regular file"),
    ],
)
def test_what_cannot_be_read_hides_no_other(
    make: Callable[[Path], None], says: str, machine: Machine
) -> None:
    machine.write({"etc/a.json": gpus("0")})

    make(machine.folder / "etc/x.json")

    assert machine.errors() == [says]
    assert list(machine.sources()) == ["nvidia.com/gpu=0"]


@pytest.mark.parametrize(
    "text", ["a: !!bool x", "? [a]\n: b", "a: !!int ''"], ids=["tag", "key", "empty"]
)
def test_odd_yaml_hides_no_other(text: str, machine: Machine) -> None:
    machine.write({"etc/a.yaml": text, "etc/b.json": gpus("0")})

    assert list(machine.sources()) == ["nvidia.com/gpu=0"]


def test_yaml_without_its_library_hides_no_other(machine: Machine) -> None:
    machine.write({"etc/a.yaml": "a: 1", "etc/b.json": gpus("0")})
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r})\n"
    code += "from nvidia_runtime.cdi import registry\n"
    code += f"print(*registry.read([{str(machine.folder / 'etc')!r}]).devices)"

    run = subprocess.run([sys.executable, "-ISc", code], check=True, capture_output=True, text=True)

    assert run.stdout == "nvidia.com/gpu=0\n"


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("/a\0b", "/a\0b: cannot read the spec dir: embedded null byte"),
        ("/" + "x" * 300, "/" + "x" * 300 + ": cannot read the spec dir: file name too long"),
    ],
    ids=["nul", "long"],
)
def test_impossible_spec_dir(folder: str, says: str) -> None:
    (error,) = registry.read([folder]).errors

    assert str(error) == says


def test_digest_is_that_of_the_file(machine: Machine) -> None:
    machine.write({"etc/a.json": gpus("0")})

    file, entry = machine.read().devices["nvidia.com/gpu=0"]

    data = (machine.folder / "etc/a.json").read_bytes()
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert entry == device("0")


def test_progress(machine: Machine) -> None:
    machine.write({"etc/a.json": gpus("0"), "etc/b.json": "{", "run/c.json": gpus("0")})
    told: list[tuple[int, int]] = []

    dirs = [str(machine.folder / name) for name in ("etc", "run")]
    registry.read(dirs, lambda number, count: told.append((number, count)))

    assert told == [(0, 3), (1, 3), (2, 3)]


def test_everything_that_was_read_has_a_stamp(machine: Machine) -> None:
    machine.write({"etc/a.json": gpus("0"), "etc/b.json": "{", "etc/other": "x"})

    stamps = machine.read().stamps

    etc, run = machine.folder / "etc", machine.folder / "run"
    assert stamps == [
        [str(etc), *(files.stamp(str(etc)) or ())],
        [str(run)],
        [f"{etc}/a.json", *(files.stamp(f"{etc}/a.json") or ())],
        [f"{etc}/b.json", *(files.stamp(f"{etc}/b.json") or ())],
    ]
