# SPDX-License-Identifier: Apache-2.0
"""containerd's files, where a golden folder would say too little."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.engines import containerd, containerd_files, difference, effect
from nvidia_runtime.engines.engine import Intent, Summary
from nvidia_runtime.errors import NvidiaRuntimeError

V2 = 'plugins."io.containerd.grpc.v1.cri"'
V3 = 'plugins."io.containerd.cri.v1.runtime"'


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path))  # what containerd is installed is asked elsewhere


def intent_of(folder: Path, text: str, **options: Any) -> Intent:
    (folder / "config.toml").write_text(text)
    values = {
        "name": "nvidia",
        "program": "/usr/bin/nvidia-container-runtime",
        "config": str(folder / "config.toml"),
        "drop_in": str(folder / "conf.d" / "99-nvidia.toml"),
    }
    return Intent(**(values | options))


def drop_in(intent: Intent) -> dict[str, Any]:
    plan = containerd.configure(intent)
    text = next(change.after for change in plan.changes if change.path == intent.drop_in)
    return tomllib.loads(text or "")


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        ("", (), 2),
        ("", (1, 7, 24), 2),
        ("", (2, 0, 1), 3),
        ("version = 2", (2, 1), 2),
        ("version = 3", (), 3),
    ],
    ids=["unknown", "containerd 1", "containerd 2", "a file of version 2", "of version 3"],
)
def test_version_is_that_of_the_file_or_of_the_one_that_runs(
    text: str, version: tuple[int, ...], expected: int, tmp_path: Path
) -> None:
    assert drop_in(intent_of(tmp_path, text, version=version))["version"] == expected


@pytest.mark.parametrize(
    ("name", "cgroup"),
    [("runc", True), ("nvidia", False), ("", False), ("crun", True)],
    ids=["the default's", "not of one of ours", "runc without a default", "another default's"],
)
def test_options_are_copied(name: str, cgroup: bool, tmp_path: Path) -> None:
    """Without SystemdCgroup pods crash; it is copied from the default runtime first."""
    text = f"""version = 2
[{V2}.containerd]
default_runtime_name = "{name}"
"""
    for runtime in dict.fromkeys(["runc", name or "runc"]):
        value = str(runtime == name and runtime != "nvidia").lower()
        text += f"[{V2}.containerd.runtimes.{runtime}.options]\nSystemdCgroup = {value}\n"

    content = drop_in(intent_of(tmp_path, text))

    path = ("plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes", "nvidia", "options")
    assert difference.at(content, path) == {
        "SystemdCgroup": cgroup,
        "BinaryName": "/usr/bin/nvidia-container-runtime",
    }


@pytest.mark.parametrize(
    ("version", "cri", "expected"),
    [
        (2, V2, {"sandbox_image": "late"}),
        (3, V3, {"sandbox_image": "late", "enable_selinux": True}),
    ],
    ids=["version 2: the last table wins", "version 3: tables are merged"],
)
def test_tables_of_imported_files_are_those_in_use(
    version: int, cri: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "extra"
    folder.mkdir()
    for name, image in (("1.toml", "early"), ("2.toml", "late")):
        (folder / name).write_text(f'version = {version}\n[{cri}]\nsandbox_image = "{image}"\n')
    text = f"version = {version}\nimports = ['extra/*.toml']\n[{cri}]\nenable_selinux = true\n"

    content = drop_in(intent_of(tmp_path, text))

    table = content["plugins"][cri.split('"')[1]]
    assert {key: value for key, value in table.items() if key != "containerd"} == expected


@pytest.mark.parametrize(
    "imports",
    [
        "['conf.d/99-nvidia.toml']",
        "['{folder}/conf.d/*.toml']",
        "['{folder}/*/99-nvidia.toml', '/x']",
    ],
    ids=["relative", "absolute", "another pattern"],
)
def test_import_that_covers_the_drop_in_is_enough(imports: str, tmp_path: Path) -> None:
    text = f"version = 2\nimports = {imports.format(folder=tmp_path)}\n"

    plan = containerd.configure(intent_of(tmp_path, text))

    assert [change.path.rpartition("/")[2] for change in plan.changes if change.is_needed] == [
        "99-nvidia.toml"
    ]


def test_engine_that_merges_gets_our_table_alone(tmp_path: Path) -> None:
    """k0s reads a folder of its own, without an import."""
    plan = containerd.configure(
        intent_of(tmp_path, f"version = 2\n[{V2}]\nsandbox_image = 'x'\n", is_merged=True)
    )

    assert len(plan.changes) == 1
    table = tomllib.loads(plan.changes[0].after or "")["plugins"]["io.containerd.grpc.v1.cri"]
    assert list(table) == ["containerd"]


FIRST = 'imports = ["/etc/containerd/other.d/*.toml"]\ndisabled_plugins = []\nroot = "/x"\n'


@pytest.mark.parametrize("text", [FIRST, f"version = 1\n{FIRST}"], ids=["silent", "version 1"])
def test_containerd_2_is_given_version_3_beside_a_file_of_version_1(
    text: str, tmp_path: Path
) -> None:
    """It heeds no CRI table of version 1; and it reads each file by the version of that."""
    intent = intent_of(tmp_path, text, version=(2, 1, 4))
    plan = containerd.configure(intent)

    table = drop_in(intent)
    assert table["version"] == 3
    assert list(table["plugins"]) == ["io.containerd.cri.v1.runtime"]
    entry = difference.at(table, (*containerd_files.places(3).runtimes, "nvidia"))
    assert entry.keys() == {"runtime_type", "privileged_without_host_devices", "options"}
    new = tomllib.loads(plan.changes[1].after or "")
    assert new == {
        **tomllib.loads(text),
        "imports": ["/etc/containerd/other.d/*.toml", f"{tmp_path}/conf.d/*.toml"],
    }
    for change in plan.changes:
        Path(change.path).parent.mkdir(exist_ok=True)
        Path(change.path).write_text(change.after or "")
    assert effect.summary(containerd.ENGINE, intent.config, (2, 1, 4)).runtimes == ("nvidia",)
    assert effect.summary(containerd.ENGINE, intent.config, (1, 7, 24)).runtimes == ()
    assert not [change for change in containerd.configure(intent).changes if change.is_needed]


@pytest.mark.parametrize(
    ("version", "engine", "expected"),
    [(1, (2, 0), ()), (1, (1, 7), ("nvidia",)), (2, (2, 0), ("nvidia",)), (2, (), ("nvidia",))],
)
def test_status_reads_each_file_by_its_own_version(
    version: int, engine: tuple[int, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    cri, line = ("plugins.cri", "") if version == 1 else (V2, "version = 2\n")
    text = OURS.format(version=line, cri=cri, program="BinaryName")
    intent = intent_of(tmp_path, text)

    assert effect.summary(containerd.ENGINE, intent.config, engine).runtimes == expected


def test_file_of_version_1_cannot_be_edited_in_place_for_containerd_2(tmp_path: Path) -> None:
    intent = intent_of(tmp_path, FIRST, version=(2, 1, 4), drop_in="")

    with pytest.raises(NvidiaRuntimeError) as error:
        containerd.configure(intent)

    assert str(error.value).startswith(
        f"{intent.config}: containerd 2 heeds no runtimes in a file of version 1"
    )


def test_describe(tmp_path: Path) -> None:
    """The imported files count, too."""
    intent = intent_of(tmp_path, "version = 3\n", is_default=True, cdi=True)
    for change in containerd.configure(intent).changes:
        path = tmp_path / change.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(change.after or "")

    assert effect.summary(containerd.ENGINE, intent.config) == Summary(
        runtimes=("nvidia",), default="nvidia", cdi=True
    )
    assert effect.summary(containerd.ENGINE, str(tmp_path / "none")) == Summary()


RUNC = f"""version = 2
[{V2}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


@pytest.mark.parametrize("place", ["in a drop-in", "in the file itself"])
@pytest.mark.parametrize("text", ["", "version = 2\n", f"version = 2\n[{V2}.cni]\nbin_dir = 'x'\n"])
def test_default_runtime_is_not_lost(text: str, place: str, tmp_path: Path) -> None:
    """A table of runtimes replaces the built-in one; without runc CRI does not start."""
    intent = intent_of(tmp_path, text)
    if place != "in a drop-in":
        intent = replace(intent, drop_in="")

    plan = containerd.configure(intent)

    content = tomllib.loads(plan.changes[0].after or "")
    runtimes = difference.at(content, containerd_files.places(2).runtimes)
    assert list(runtimes) == ["runc", "nvidia"]
    assert runtimes["runc"]["runtime_type"] == "io.containerd.runc.v2"
    for change in plan.changes:
        folder = Path(change.path).parent
        folder.mkdir(exist_ok=True)
        Path(change.path).write_text(change.after or "")
    assert not [change for change in containerd.configure(intent).changes if change.is_needed]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (RUNC, ()),
        ("", (2, 0, 1)),
        ("version = 3\n", ()),
        (f"version = 2\n[{V2}.containerd]\ndefault_runtime_name = 'kata'\n", ()),
    ],
    ids=["it is there", "containerd 2", "version 3", "another default"],
)
def test_runc_is_not_added(text: str, version: tuple[int, ...], tmp_path: Path) -> None:
    plan = containerd.configure(intent_of(tmp_path, text, version=version))

    new = [change.after or "" for change in plan.changes]
    assert sum(file.count("runtimes.runc]") for file in new) == text.count("runtimes.runc]") * 2


# A node that has followed the instructions for kubernetes: ours is its default and its only one.
OURS = """{version}[{cri}.containerd]
default_runtime_name = "nvidia"
[{cri}.containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.nvidia.options]
{program} = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = true
"""
PLACES_OF_OURS = pytest.mark.parametrize(
    ("version", "drop_in"), [(1, False), (2, False), (2, True)], ids=["1", "2", "2, drop-in"]
)


def table_in_use(intent: Intent) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    """Return the default runtime and the runtimes of what is written, and what is warned of."""
    plan = containerd.configure(intent)
    content = tomllib.loads(plan.changes[0].after or "")
    at = containerd_files.places_in(content, "")
    return difference.at(content, at.default), difference.at(content, at.runtimes), plan.warnings


def node_of_ours(folder: Path, version: int, drop_in: bool) -> Intent:
    cri, line, program = (
        ("plugins.cri", "", "Runtime") if version == 1 else (V2, "version = 2\n", "BinaryName")
    )
    intent = intent_of(folder, OURS.format(version=line, cri=cri, program=program))
    return intent if drop_in else replace(intent, drop_in="")


@PLACES_OF_OURS
def test_default_that_was_ours_becomes_runc(version: int, drop_in: bool, tmp_path: Path) -> None:
    """As the toolkit has it; and runc is named, with the options without which pods crash."""
    default, runtimes, warnings = table_in_use(node_of_ours(tmp_path, version, drop_in))

    assert default is difference.ABSENT
    assert runtimes["runc"] == {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"SystemdCgroup": True},
    }
    assert "nvidia is no longer the default runtime; --set-as-default keeps it" in warnings


@PLACES_OF_OURS
def test_default_that_stays_ours_needs_no_runc(version: int, drop_in: bool, tmp_path: Path) -> None:
    intent = replace(node_of_ours(tmp_path, version, drop_in), is_default=True)

    default, runtimes, warnings = table_in_use(intent)

    assert (default, list(runtimes), warnings) == ("nvidia", ["nvidia"], ())


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ("{0}/conf.d/*.toml", ["{0}/conf.d/*.toml"]),
        ("/other.toml", ["/other.toml", "{0}/conf.d/*.toml"]),
    ],
    ids=["ours already", "another"],
)
def test_import_that_is_no_list_becomes_one(
    imports: str, expected: list[str], tmp_path: Path
) -> None:
    text = f"version = 2\nimports = '{imports.format(tmp_path)}'\n"

    plan = containerd.configure(intent_of(tmp_path, text))

    new = tomllib.loads(plan.changes[1].after or "")
    assert new["imports"] == [name.format(tmp_path) for name in expected]


def test_relative_star_is_no_import_of_ours(tmp_path: Path) -> None:
    """containerd 1 takes it from the folder that it was started in."""
    plan = containerd.configure(intent_of(tmp_path, "version = 2\nimports = ['conf.d/*.toml']\n"))

    text = tomllib.loads(plan.changes[1].after or "")
    assert text["imports"] == ["conf.d/*.toml", f"{tmp_path}/conf.d/*.toml"]
