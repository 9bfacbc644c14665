# SPDX-License-Identifier: Apache-2.0
"""What is imported on the way to the low-level runtime, and which room may use which."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime import start
from nvidia_runtime.prepare import decide

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "nvidia_runtime"
# In place of the low-level runtime, the list of what was loaded until then.
PROBE = """
import posix, sys
def say(*_):
    posix.write(1, " ".join(sys.modules).encode())
    posix._exit(0)
posix.execv = say
"""
# In place of our program, what a third-party import meets; the first word is our package's folder.
THIRD_PARTY = """
import sys
sys.path.append(sys.argv[1])
import nvidia_runtime
print(sys.flags.isolated, sys.flags.no_site, [name for name in sys.path if "packages" in name])
import pytest
"""

# What a ring may import beside what every interpreter starts with: ARCHITECTURE, Rings.
LIGHT = {"posix", "errno", "_stat", "_signal", "_json", "time", "gc", "sys"}
# Learning the launcher's shortcut, once for each config.toml, may take longer.
OS = {"os", "os.path", "stat", "posixpath", "genericpath", "_collections_abc", "abc", "_abc"}
# Of ours: rooms that the way to the runtime never enters, since each brings what is slow.
HEAVY = [
    *("compile", "schemas", "sources.unresolvable", "sources.failure", "generate", "host", "cli"),
    *("hooks", "cdi.spec", "cdi.registry", "cdi.edits", "cdi.yaml_document"),
]
# One module costs 0.06 to 0.13 ms: more than these is a ring that has grown.  Packages, which are
# made by hand, do not count.
MOST = {"state": 9, "create": 18, "hook": 17}
SECTION = "nvidia-container-runtime"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        machine.write_bundle(builders.asking())
        yield machine


def imports(site: Site, *words: str | Path, **options: Any) -> set[str]:
    """Call the shim; return the modules that its interpreter had loaded beyond its own start."""
    got = site.probe(PROBE, *words, **options)
    assert got.code == 0, got.err
    if got.runtime:  # without an interpreter
        return set()
    bare = [str(site.python), "-I", "-S", "-c", "import sys; print(*sys.modules)"]
    start = subprocess.run(bare, capture_output=True, text=True, check=True)
    return set(got.out.decode().split()) - set(start.stdout.split())


def ours(modules: set[str]) -> set[str]:
    """Return the modules of our package, without its name; a package made by hand costs nothing."""
    names = {name.partition(".")[2] for name in modules if name.partition(".")[0] == PACKAGE}
    return {name for name in names if not (shim.TREE / PACKAGE / name.replace(".", "/")).is_dir()}


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] != PACKAGE}


def heavy(modules: set[str]) -> set[str]:
    return {
        name for name in ours(modules) if any(f"{name}.".startswith(f"{room}.") for room in HEAVY)
    }


@pytest.fixture
def warm(site: Site) -> Site:
    """Return a machine whose snapshot and shortcut are made, with the words of creates."""
    site.settle()
    assert site.run("state", "c1").code == 0
    for spec in (builders.asking(), builders.spec(), builders.asking()):
        site.write_bundle(spec)
        assert site.create().code == 0
    site.write_bundle(builders.asking())
    assert site.snapshots()
    assert site.shortcut()
    return site


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete"])
def test_shortcut_starts_no_interpreter(command: str, warm: Site) -> None:
    assert imports(warm, command, "c1") == set()


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete"])
def test_call_through_python_is_light(command: str, warm: Site) -> None:
    loaded = imports(warm, command, "-v")

    assert foreign(loaded) - LIGHT - OS == set()
    assert heavy(loaded) == set()
    assert len(ours(loaded)) <= MOST["state"] + 2


def test_call_that_is_in_doubt_again_is_lighter(warm: Site) -> None:
    """The shortcut is known, so nothing is to be learnt: no `os`."""
    loaded = imports(warm, "state", "-v")

    assert foreign(loaded) - LIGHT == set()
    assert len(ours(loaded)) <= MOST["state"]


@pytest.mark.parametrize("mode", ["cdi", "auto"])
def test_create_with_a_warm_snapshot_is_light(mode: str, warm: Site) -> None:
    warm.write_config(mode=mode)
    warm.settle()
    for _ in range(2):
        warm.write_bundle(builders.asking("nvidia.com/gpu=0"))
        assert warm.create().code == 0
    warm.write_bundle(builders.asking("nvidia.com/gpu=0"))

    loaded = imports(warm, "create", "--bundle", warm.bundle, "c1")

    assert builders.environment(warm.read_bundle())[-1] == "GPU=0"
    assert foreign(loaded) - LIGHT == set()
    assert heavy(loaded) == set()
    assert len(ours(loaded)) <= MOST["create"] + 2  # names are parsed


@pytest.mark.parametrize("devices", ["0", "all", "void"])
def test_create_of_a_plain_request_is_light(devices: str, warm: Site) -> None:
    warm.write_specs(nvidia=builders.cdi_spec(builders.device(), builders.device("all")))
    warm.settle()
    warm.create()
    warm.write_bundle(builders.asking(devices))

    loaded = imports(warm, "create", "--bundle", warm.bundle, "c1")

    assert foreign(loaded) - LIGHT == set()
    assert heavy(loaded) == set()
    assert len(ours(loaded)) <= MOST["create"]


def test_create_without_devices_is_light(warm: Site) -> None:
    """With a flag by which the launcher leaves it to Python."""
    warm.write_bundle(builders.spec())

    loaded = imports(warm, "--debug=false", "create", "--bundle", warm.bundle, "c1")

    assert "create" in ours(loaded)
    assert foreign(loaded) - LIGHT == set()
    assert heavy(loaded) == set()


def test_create_with_a_log_is_light(warm: Site) -> None:
    log = warm.folder / "log"
    words = ["--log", str(log), "--log-format", "json", "create"]

    loaded = imports(warm, *words, "--bundle", warm.bundle, "c1")

    assert [entry["level"] for entry in shim.logged(log)] == ["info"]
    assert foreign(loaded) - LIGHT == set()
    assert heavy(loaded) == set()


def test_create_that_an_engine_injected_for_is_light(warm: Site) -> None:
    """It needs what a spec with hooks needs, and two modules to tell whose they are."""
    hook = {"path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "noop"], "env": ["A=b"]}
    document = builders.spec(hooks={"createContainer": [hook]})
    (warm.bundle / "rootfs").mkdir()
    warm.write_bundle(document)
    assert warm.create().code == 0
    warm.write_bundle(document)

    loaded = imports(warm, "create", "--bundle", warm.bundle, "c1")

    assert warm.read_bundle()["hooks"] == {}
    assert foreign(loaded) - LIGHT - {"_struct"} == set()
    assert heavy(loaded) == set()
    most = {
        *start.ALWAYS,
        *start.CREATE,
        *decide.MODULES,
        "admission.engine",
        "sources.native",
        "sources.specs",
    }
    assert ours(loaded) - most <= {"start", "prepare.noop"}


def test_create_without_hooks_of_nvidias_loads_nothing_more(warm: Site) -> None:
    seen = []
    for hooks in ({}, {"createRuntime": [{"path": "/proc/1/exe", "args": ["libnetwork-setkey"]}]}):
        warm.write_bundle(builders.spec(hooks=hooks))
        seen.append(imports(warm, "--debug=false", "create", "--bundle", warm.bundle, "c1"))

    assert seen[0] == seen[1]
    assert "create" in ours(seen[0])


def test_create_in_legacy_mode_is_light(warm: Site) -> None:
    warm.write_config(mode="legacy")
    warm.settle()
    for _ in range(2):
        warm.write_bundle(builders.asking())
        assert warm.create().code == 0
    warm.write_bundle(builders.asking())

    loaded = imports(warm, "create", "--bundle", warm.bundle, "c1")

    assert warm.read_bundle()["hooks"]["prestart"][0]["args"][1:] == ["prestart"]
    assert foreign(loaded) - LIGHT == set()
    assert heavy(loaded) == set()


@pytest.mark.parametrize(
    ("mode", "env"),
    [
        ("legacy", ()),
        ("legacy", ("CUDA_VERSION=9.0", "NVIDIA_DRIVER_CAPABILITIES=all")),
        ("auto", ()),
    ],
)
def test_prestart_hook_is_light(mode: str, env: tuple[str, ...], warm: Site) -> None:
    """Of `auto` it learns from the machine, by `os`, what else than legacy mode it may mean."""
    text = f'nvidia-container-cli.path = "{warm.runtime}"\n{SECTION}.mode = "{mode}"\n'
    warm.write_config(text)
    warm.settle()
    warm.write_bundle(builders.spec("NVIDIA_VISIBLE_DEVICES=0", *env))
    state = warm.folder / "state.json"
    state.write_text(json.dumps({"id": "c1", "pid": 7, "bundle": str(warm.bundle)}))
    hook = shim.BIN / "nvidia-container-runtime-hook"
    for _ in range(2):
        with state.open() as stdin:
            assert warm.run("prestart", launcher=hook, stdin=stdin).runtime == "runc"

    with state.open() as stdin:
        loaded = imports(warm, "prestart", launcher=hook, stdin=stdin)

    assert foreign(loaded) - LIGHT - ({*OS, "__future__"} if mode == "auto" else set()) == set()
    assert {"compile", "schemas", "log", "sources.specs"} & ours(loaded) <= (
        {"sources.specs"} if mode == "auto" else set()
    )
    assert len(ours(loaded)) <= MOST["hook"] + len(env) + (3 if mode == "auto" else 0)


def test_interpreter_starts_without_site_packages(site: Site) -> None:
    """So a third-party import on the way is an error here, not a slow success elsewhere."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    python = os.path.realpath(site.python)
    site.python.unlink()
    site.python.write_text(f'#!/bin/sh\nexec {python} "$1" -c \'{THIRD_PARTY}\' "${{6%:}}"\n')
    site.python.chmod(0o755)

    got = site.run("state", "c1", env={"PYTHONPATH": str(Path(pytest.__file__).parents[1])})

    assert got.out == b"1 1 []\n"
    assert got.err.splitlines()[-1].startswith("ModuleNotFoundError: No module named 'pytest'")


@pytest.mark.parametrize("module", ["errors", "oci/lowlevel", "runtime", "document", "create"])
def test_edited_module_is_read_again(module: str, site: Site) -> None:
    """However modules are loaded, one that does not fit its source is none."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    for _ in range(2):
        site.write_bundle(builders.asking())
        assert site.create().code == 0
    file = site.launcher.parents[2] / PACKAGE / f"{module}.py"
    before = file.stat()
    text = file.read_text()

    file.write_text(text + "import posix\nposix._exit(42)\n")
    assert site.create().code == 42
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    site.write_bundle(builders.asking())
    assert site.create().code == 0


@pytest.mark.parametrize("module", ["__init__", "start", "runtime", "oci/edit", "compile/snapshot"])
def test_compiled_file_that_is_cut_short_is_made_anew(module: str, site: Site) -> None:
    """As after a full disk, or a power cut; it is told once, except of what the log itself needs."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    log = site.folder / "log"
    site.write_bundle(builders.asking())
    assert site.create().code == 0
    shutil.rmtree(site.state)  # the next compiles config.toml again
    file = shim.cut_short(site.launcher, module)

    for _ in range(2):
        site.write_bundle(builders.asking())
        got = site.run("--log", log, "create", "--bundle", site.bundle, "c1")

        assert (got.err, got.code, got.runtime) == ("", 0, "runc")
        assert builders.environment(site.read_bundle())[-1] == "GPU=0"
    assert log.read_text().count(f"/{file.name}: cannot be read") == 1
    assert not file.exists() or file.stat().st_size > 100


# The rooms: each may use those in the lines above its own, and those of its own line.
LAYERS = """
errors start linux
document log schemas simulate
rootfs
store
oci net engines
cdi host prepare
admission containers generate topology watch
compile
container_cli hooks nri selftest sources
create doctor installer report
images
cli
__main__ runtime
"""
MODULES = sorted((shim.TREE / PACKAGE).rglob("*.py"))


def room(module: str) -> int:
    """Return the number of a module's line, by the longest name that covers it."""
    lines = [line.split() for line in LAYERS.strip().splitlines()]
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        for number, rooms in enumerate(lines):
            if ".".join(parts[:length]) in rooms:
                return number
    raise AssertionError(f"{module} is in no room: give it one in LAYERS")


def name_of(file: Path) -> str:
    """Return a file's module, without the package's name."""
    parts = file.relative_to(shim.TREE / PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@functools.cache
def used(file: Path, *, for_types: bool = False) -> set[str]:
    """List the modules of ours that a file imports, wherever in it; also those for types only?"""
    names = {name_of(other) for other in MODULES}
    modules = set()
    tree = ast.parse(file.read_text())
    typing = [node for node in ast.walk(tree) if is_for_types(node)]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped and not for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                modules.add(inner if inner in names else base)
        elif isinstance(node, ast.Import):
            modules |= {
                alias.name.partition(".")[2]
                for alias in node.names
                if alias.name.split(".")[0] == PACKAGE
            }
    return modules - {""}


def is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_room_uses_only_those_before_it(file: Path) -> None:
    own = name_of(file)
    if not own:
        assert used(file) == set()
        return

    assert {module for module in used(file) if room(module) > room(own)} == set()


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return names that lead back to the first of them; none if there is no circle."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        names: list[str] = error.args[1]
        return names
    return []


def test_circle_is_found() -> None:
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert sorted(set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}))) == ["b", "c"]


def test_no_circle_of_imports() -> None:
    """Neither of modules nor of rooms, those counted that a function or a type checker imports."""
    modules = {name_of(file): used(file, for_types=True) for file in MODULES}
    rooms: dict[str, set[str]] = {}
    for name, others in modules.items():
        own = name.partition(".")[0]
        rooms.setdefault(own, set()).update(
            {other.partition(".")[0] for other in others} - {own},
        )

    assert circle(modules) == []
    assert circle(rooms) == []


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_third_party_packages_stay_in_their_rooms(file: Path) -> None:
    """Elsewhere one of them would be a start-up of 65 ms, or a dependency of the runtime."""
    homes = {
        "google": {"nri.messages"},
        "jsonschema": {"schemas"},
        "plumbum": {"cli"},
        "pyroute2": {"net.links", "watch.uevents"},
        "tomlkit": {"cli", "engines"},
        "yaml": {"cdi.yaml_document", "cli"},
    }
    tree = ast.parse(file.read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }

    for name in names & set(homes):
        assert any(f"{name_of(file)}.".startswith(f"{home}.") for home in homes[name])
