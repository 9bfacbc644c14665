# SPDX-License-Identifier: Apache-2.0
"""The attacks against `nvidia-container-cli configure`: the container exists by then.

Each attack that is a folder, on a machine, so that all is mounted that a driver has: in containers
as they stand at prestart, and by runc and crun.  T02's race is first won against a program that
looks where a path leads and then uses the path.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import simulated
from container_cli import containers

from nvidia_runtime.selftest import attack, stage, suite, ways

from .test_races import IMAGE, swapping

ATTACKS = attack.read_all()
# What only a call of the hook would have made is not there.
BY_CALLS = ("T20-paths-of-links",)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nvcr-cli-security-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def complaints(scene: stage.Stage, end: dict[str, Any]) -> list[str]:
    """Say what is wrong after an attack; a call may fail, with a sentence."""
    canary, name = scene.canary, scene.attack.name
    if end["code"] or name in BY_CALLS:
        scene.attack.after.clear()
    bad = scene.complaints() if not scene.attack.linked else canary.harm()
    bad += [path for path in end.get("mounted", ()) if path.startswith(f"{canary.folder}")]
    said = " ".join(end["said"])
    if end["code"] not in (0, 1) or "internal error" in said or "ended by" in said:
        bad.append(said)
    return bad


def configure(scenes: list[stage.Stage], folder: Path) -> list[dict[str, Any]]:
    """Configure the container of each attack; return what became of each."""
    jobs = [
        (f"{one.root}", [f"{one.root}{source}:{path}" for source, path in one.attack.volumes])
        for one in scenes
    ]
    words = [*containers.program("container_cli.gauntlet"), json.dumps(jobs)]
    with contextlib.ExitStack() as stack:
        for scene in scenes:
            stack.enter_context(ways.leases(scene))
        done = simulated.run("t4x1", words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    ends: list[dict[str, Any]] = json.loads(done.stdout)
    return ends


def test_attacks_on_containers_that_stand(folder: Path) -> None:
    simulated.need_root()
    scenes = [stage.Stage(one, folder / one.name) for one in ATTACKS]

    ends = configure(scenes, folder)

    for scene, end in zip(scenes, ends, strict=True):
        assert complaints(scene, end) == [], scene.attack.name
        if scene.attack.linked:
            assert end["said"][0].endswith("the container's root is a link")
    assert [end["code"] for end in ends].count(0) > len(ends) // 2


CHOSEN = ("T02-compat-folder-is-a-link", "T03-links-at-mount-targets", "T17-volumes-of-devices")
FOR_RUNTIMES = [one for one in ATTACKS if not one.linked]


@pytest.mark.parametrize(
    ("program", "attacks"),
    [
        pytest.param("runc", [one for one in ATTACKS if one.name in CHOSEN], id="runc"),
        pytest.param("runc", FOR_RUNTIMES, id="runc-all", marks=pytest.mark.long),
        pytest.param("crun", FOR_RUNTIMES, id="crun-all", marks=pytest.mark.long),
    ],
)
def test_attacks_on_containers_of_a_runtime(
    program: str, attacks: list[attack.Attack], folder: Path
) -> None:
    runtime = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(os.fspath(simulated.TREE / "packaging/bin"), runtime):
        pytest.skip(reason)
    simulated.need_root()
    scenes = [stage.Stage(one, folder / one.name) for one in attacks]
    lines = []
    for scene in scenes:
        file = scene.bundle / "config.json"
        document = json.loads(file.read_text())
        containers.call(devices=["all"])(document)
        file.write_text(json.dumps(document))
        name, state = f"nvcr-{folder.name}-{scene.attack.name}", f"{scene.folder}/state"
        words = [*ways.PRIVATE, ways.CREATE, "sh", runtime, name, state, runtime]
        words += ["--root", state, "create", "--bundle", f"{scene.bundle}", name]
        line = shlex.join(words)
        lines.append(f"{line} >{scene.folder}/said 2>&1 </dev/null; echo $? >{scene.folder}/code")

    with contextlib.ExitStack() as stack:
        for scene in scenes:
            stack.enter_context(ways.leases(scene))
        done = simulated.run("t4x1", ["sh", "-c", "\n".join(lines)], cwd=folder, timeout=300)

    assert done.returncode == 0, done.stderr
    codes = [int((scene.folder / "code").read_text()) for scene in scenes]
    for scene, code in zip(scenes, codes, strict=True):
        said = (scene.folder / "said").read_text("utf-8", "backslashreplace")
        end = {"code": min(code, 1), "said": [said]}  # crun has codes of its own
        assert "Traceback" not in said, scene.attack.name
        assert complaints(scene, end) == [], scene.attack.name
    assert codes.count(0) > len(codes) // 2


def place(scene: stage.Stage, way: str, seconds: float, tries: int) -> dict[str, Any]:
    """Let a process place what it has, until it has won or the time is over."""
    words = [*containers.program("security.placer"), way]
    words += [str(scene.root), str(scene.canary.folder), str(seconds), str(tries)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(("one", "other"), [("usr/lib", "evil-lib"), ("etc", "evil-etc")])
@pytest.mark.parametrize(
    ("seconds", "tries"),
    [
        pytest.param(1.0, 1_000_000, id="short"),
        pytest.param(900.0, 100_000, id="long", marks=pytest.mark.long),
    ],
)
def test_t02_race_is_lost(one: str, other: str, seconds: float, tries: int, folder: Path) -> None:
    """CVE-2024-0132, CVE-2025-23359: folders of the container are exchanged with links."""
    simulated.need_root()
    scene = stage.Stage(IMAGE, folder / "s")
    with swapping(scene, one, other):
        end = place(scene, "ours", seconds, tries)

    assert end["out"] == []
    assert end["done"] > 20
    assert end["done"] + end["failed"] > 100
    assert scene.canary.harm() == []
    assert scene.canary.leaks(scene.root) == []


def test_t02_race_is_won_against_who_looks_first(folder: Path) -> None:
    simulated.need_root()
    scene = stage.Stage(IMAGE, folder / "s")
    with swapping(scene, "usr/lib", "evil-lib"):
        end = place(scene, "naive", 60, 1_000_000)

    assert end["out"], "the swapper never wins: the test shows nothing"


@pytest.mark.parametrize(
    "tries", [pytest.param(8, id="short"), pytest.param(300, id="long", marks=pytest.mark.long)]
)
@pytest.mark.parametrize(("one", "other"), [("usr/lib", "evil-lib"), ("etc", "evil-etc")])
def test_t02_containers_are_configured_while_they_change(
    one: str, other: str, tries: int, folder: Path
) -> None:
    simulated.need_root()
    scene = stage.Stage(IMAGE, folder / "s")
    with swapping(scene, one, other):
        ends = configure([scene] * tries, folder)

    for end in ends:
        assert complaints(scene, end) == []
