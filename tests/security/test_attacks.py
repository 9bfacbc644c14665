# SPDX-License-Identifier: Apache-2.0
"""Each attack that is a folder: first against a naive hook, which it must harm, then against ours.

Ours is tried as the hook itself, and by runc and crun through the runtime, with the work done on
the host and by hooks, with every feature on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import shim
from sources import test_machine as machines

from nvidia_runtime.compile import config
from nvidia_runtime.selftest import attack, canary, stage, suite, ways

from . import naive

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = os.fspath(shim.BIN.resolve())
ATTACKS = attack.read_all()
# A root that they refuse is no matter of theirs.
FOR_RUNTIMES = [one for one in ATTACKS if not one.linked]
RUNTIMES = {
    name: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in ("runc", "crun")
}
# One attack of a number is enough where it takes minutes to try all in all ways.
SHORT = {
    *[(f"T{number:02}", "runc", "auto") for number in range(1, 36)],
    *[(number, "crun", "always") for number in ("T03", "T05", "T08", "T10", "T18")],
    *[(number, "crun", "auto") for number in ("T03", "T10")],
    *[(number, "runc", "always") for number in ("T03", "T35")],
    *[(number, "runc", "toolkit") for number in ("T05", "T08")],
}
# A naive hook that has not ended by then is one that hangs; ours have ten seconds.
NAIVE_PATIENCE = 1.0
HARMLESS = {
    "T04-parent-is-a-link-inside": "",  # it would write to the host's own folders: see naive.OUTSIDE
    "T10-files-are-folders": "writing to a folder fails in any program",
    "T10-link-is-a-folder": "removing a folder as if it were a file fails in any program",
    "T10-many-libraries": "a program that looks at each file once takes a second more, no worse",
    "T11-unreadable": "root reads everything",
    "T20-link-without-a-name": "what cannot be removed fails in any program",
    "T29-names-of-libraries": "harms a program that passes names to a shell, or to a file of lines",
    "T35-ordinary": "is not an attack",
}
# So many machines are made for all attacks.
PARTS = 6
CVES = (
    *("CVE-2019-5736", "CVE-2024-0132", "CVE-2024-0133", "CVE-2024-0134", "CVE-2024-0135"),
    *("CVE-2024-0136", "CVE-2024-0137", "CVE-2024-21626", "CVE-2025-23266", "CVE-2025-23267"),
    *("CVE-2025-23359", "CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881", "CVE-2026-24260"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nvcr-security-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def set_up(one: attack.Attack, folder: Path) -> stage.Stage:
    if one.needs_nodes and not shim.is_root:
        pytest.skip("device nodes need root")
    return stage.Stage(one, folder)


def run_naively(scene: stage.Stage) -> list[str]:
    """Run the naive hook as a careless runtime would; say what harm it did."""
    one, given = scene.attack, ways.environment(scene)
    calls = [scene.words(call) for call in one.calls]
    links = [os.fspath(link) for link in scene.links]
    work = json.dumps([one.mounts, links, one.volumes, one.env, calls])
    code = f"exec(open({naive.__file__!r}).read())"
    python = sys.executable if not given else "python3"
    words = [
        "/usr/bin/env",
        python,
        "-c",
        code,
        os.path.realpath(scene.folder),
        f"{scene.root}",
    ]
    try:
        with ways.leases(scene):
            done = subprocess.run(
                words,
                input=work,
                cwd=scene.root,
                env=given or stage.ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=NAIVE_PATIENCE,
                preexec_fn=ways._limit,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return ["does not end"]
    harm = scene.canary.harm() + scene.canary.leaks(scene.root)
    harm += [word for word in ("MemoryError", "RecursionError") if word in done.stderr]
    return harm + ([done.stdout] if done.returncode == naive.OUTSIDE else [])


@pytest.mark.parametrize(
    "one", [one for one in ATTACKS if not HARMLESS.get(one.name)], ids=lambda one: one.name
)
def test_naive_hook_is_harmed(one: attack.Attack, folder: Path) -> None:
    """The suite can fail: a careless program is harmed by the attacks that we defeat."""
    assert run_naively(set_up(one, folder))


def test_naive_hook_does_its_work_otherwise(folder: Path) -> None:
    """And does no harm by itself."""
    scene = set_up(attack.read(attack.ATTACKS / "T35-ordinary"), folder)

    assert run_naively(scene) == []
    assert os.readlink(scene.root / "usr/lib/x86_64-linux-gnu/libcuda.so") == "libcuda.so.1"


@pytest.mark.parametrize("one", FOR_RUNTIMES, ids=lambda one: one.name)
def test_hook(one: attack.Attack, folder: Path) -> None:
    scene = set_up(one, folder)

    assert ways.complaints(scene, ways.by_hook(BIN, scene), one.exit) == []


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one.name)
def test_preparation(one: attack.Attack, folder: Path) -> None:
    """What is done on the host before there is a container; none is created."""
    if reason := suite.refusal(BIN, ways.NOBODY):
        pytest.skip(reason)
    scene = set_up(one, folder)

    ended = ways.by_create(BIN, ways.NOBODY, "auto", scene)

    assert ways.complaints(scene, ended, one.create) == []


def rootless() -> list[object]:
    """Return the attacks, one of each number for the short form."""
    numbers = {one.number: one.name for one in reversed(ATTACKS)}
    return [
        pytest.param(
            one, id=one.name, marks=[] if numbers[one.number] == one.name else [pytest.mark.long]
        )
        for one in ATTACKS
    ]


@shim.needs_root
@pytest.mark.parametrize("one", rootless())
def test_preparation_by_a_user(one: attack.Attack, folder: Path) -> None:
    """As root in a user namespace; image, bundle and canary are the user's."""
    scene = set_up(one, folder)
    for place in (folder, *folder.rglob("*")):
        os.lchown(place, stage.NOBODY, stage.NOBODY)
    scene.canary.before = canary._look(scene.canary.folder)
    probe = [*ways.ROOTLESS, "exec test -r $0", f"{BIN}/{ways.RUNTIME}"]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces, and a tree that every user may read")

    ended = ways.by_create(BIN, ways.NOBODY, "auto", scene, enter=ways.ROOTLESS)

    assert ways.complaints(scene, ended, one.create) == []


@pytest.mark.parametrize("part", range(PARTS))
def test_preparation_on_a_machine(part: int, folder: Path) -> None:
    """In the default mode, what the machine has decides what is done in the image."""
    scenes = [set_up(one, folder / one.name) for one in FOR_RUNTIMES[part::PARTS]]
    jobs = [job(scene) for scene in scenes]

    with contextlib.ExitStack() as stack:
        for scene in scenes:
            stack.enter_context(ways.leases(scene))
        ends = machines.create("t4x1", folder, *jobs, hooks="auto")

    for scene, end in zip(scenes, ends, strict=True):
        name = scene.attack.name
        assert end["code"] in (0, 1), (name, end["err"])
        assert "Traceback" not in end["err"], name
        assert scene.canary.harm() + scene.canary.leaks(scene.root) == [], name
    assert [end["code"] for end in ends].count(0) > len(ends) // 2


def job(scene: stage.Stage) -> dict[str, Any]:
    """Return the container of an attack that asks for all GPUs of the machine."""
    env = [f"{name}={value}" for name, value in ways.environment(scene).items()]
    asked: dict[str, Any] = machines.job("NVIDIA_VISIBLE_DEVICES=all", *env)
    asked["spec"]["root"] = {"path": f"{scene.root}"}
    asked["spec"]["mounts"] += [
        {"destination": path, "source": f"{scene.root}{source}", "options": ["rbind"]}
        for source, path in scene.attack.volumes
    ]
    return asked


@pytest.mark.parametrize(("hooks", "count"), [("auto", 0), ("always", 1), ("toolkit", 5)])
def test_ways_are_what_they_say(hooks: str, count: int, folder: Path) -> None:
    """Nothing in the container, one call of ours, or a call for each verb of the spec's."""
    if reason := suite.refusal(BIN, ways.NOBODY):
        pytest.skip(reason)
    scene = set_up(attack.read(attack.ATTACKS / "T35-ordinary"), folder)

    ended = ways.by_create(BIN, ways.NOBODY, hooks, scene)

    assert ended.code == 0, ended.said
    document = json.loads((scene.bundle / "config.json").read_bytes())
    assert len(document.get("hooks", {}).get("createContainer", ())) == count
    is_linked = (scene.root / "usr/lib/x86_64-linux-gnu/libcuda.so").is_symlink()
    assert is_linked == (hooks == "auto")


def creates() -> list[object]:
    """Return each attack with each runtime and setting; most of them are for the long form."""
    seen: set[tuple[str, str, str]] = set()
    cases: list[object] = []
    for one in FOR_RUNTIMES:
        for runtime in RUNTIMES:
            for hooks in ("auto", "always", "toolkit"):
                key = one.number, runtime, hooks
                is_short = key in SHORT - seen
                seen.add(key)
                marks = [] if is_short else [pytest.mark.long]
                name = f"{one.name}-{runtime}-{hooks}"
                cases.append(pytest.param(one, runtime, hooks, id=name, marks=marks))
    return cases


@pytest.mark.parametrize(("one", "runtime", "hooks"), creates())
def test_create(one: attack.Attack, runtime: str, hooks: str, folder: Path) -> None:
    program = RUNTIMES[runtime]
    if reason := suite.refusal(BIN, program or ""):
        pytest.skip(reason)
    scene = set_up(one, folder / "c")

    ended = ways.by_create(BIN, program or "", hooks, scene)

    assert ways.complaints(scene, ended, one.create) == []


def test_t07_every_feature_is_on(folder: Path) -> None:
    """CVE-2025-23359: the first fixes held by default only."""
    path = stage.Stage(ATTACKS[0], folder).write_settings("runc", "/h/nvidia-cdi-hook", "auto")

    features = tomllib.loads(path.read_text())["features"]
    names = {name.partition(".")[2] for name in config.DEFAULTS if name.startswith("features.")}
    assert set(features) == names
    assert all(features.values())


@pytest.mark.parametrize("cve", CVES)
def test_t12_cve_has_an_attack(cve: str) -> None:
    assert [one.name for one in ATTACKS if cve in one.why]


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one.name)
def test_t35_attack_says_why(one: attack.Attack) -> None:
    assert one.number[0] == "T"
    assert 1 <= int(one.number[1:]) <= 35
    assert len(one.why) > 30


def test_t35_every_number_is_tried() -> None:
    """As a folder, or as a test whose name begins with it."""
    here = Path(__file__).parent
    files = [*here.glob("test_*.py"), here.parent / "engines" / "test_security.py"]
    tests = "".join(file.read_text() for file in files)
    numbers = {f"T{number:02}" for number in range(1, 36)}
    as_folders = {one.number for one in ATTACKS}

    assert {
        number for number in numbers - as_folders if f"def test_{number.lower()}_" not in tests
    } == set()


def test_advisories_are_shown_by_what_there_is() -> None:
    """Each row of SECURITY.md's table names attacks, or tests with the reason."""
    policy = shim.TREE / "SECURITY.md"
    if not policy.exists():
        pytest.skip("needs the repository's SECURITY.md")
    section = policy.read_text().partition("## Advisories")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    tests = "".join(file.read_text() for file in shim.TREE.glob("tests/**/test_*.py"))
    names = {one.name for one in ATTACKS}

    assert len(rows) >= 15
    for what, _, shown in rows:
        shows = re.findall(r"`([^`]+)`", shown)
        assert shows, what
        for name in shows:
            assert name in names or f"def {name}(" in tests, name
        is_attack = names.intersection(shows)
        assert is_attack or ": " in shown, f"{what}: no reason why it is no attack"
