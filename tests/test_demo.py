# SPDX-License-Identifier: Apache-2.0
"""``make run``: what its screen shows, that it shows the same again, and that nothing stays."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import waiting

DEMO = Path(__file__).parent / "demo.py"
NOBODY = 65534
STATE = Path("/run/nvidia-container-runtime")
HAS_GPU = os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Return the demo a folder for its own folders, where the machine can run it."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    for program in ("runc", "busybox"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"{program} is not installed")
    try:
        os.mknod(tmp_path / "node", 0o020600, os.makedev(120, 0))
    except PermissionError:
        pytest.skip("no CAP_MKNOD")
    (tmp_path / "node").unlink()
    return tmp_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one demo printed, without the ids and times of the run, and its container's id."""

    screen: str
    id: str


def run(scratch: Path) -> Run:
    """Run the demo."""
    done = subprocess.run(
        [sys.executable, os.fspath(DEMO)],
        env={**os.environ, "TMPDIR": os.fspath(scratch)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    match = re.search(r"\$ID is (\S+),", done.stdout)
    assert match
    screen = re.sub(r"nvcr-demo-\w{8}", "nvcr-demo-ID", done.stdout)
    return Run(screen=re.sub(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d ", "", screen), id=match[1])


def traces(scratch: Path, name: str) -> list[str]:
    """List what the demo with this container has left anywhere."""
    kept = [file for file in STATE.rglob("*") if file.is_file()]
    records = [file for file in kept if name in file.name or name.encode() in content(file)]
    # walk, unlike glob, goes on where a group of another test has just been removed.
    groups = [top for top, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(top) == name]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    here = [row for row in mounts if os.fspath(scratch) in row]
    return [*map(os.fspath, [*records, *scratch.iterdir()]), *groups, *here]


def content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # another test's, just removed
        return b""


@pytest.mark.skipif(HAS_GPU, reason="this machine has GPUs of its own")
def test_screen_shows_what_went_in_why_and_what_is_seen(scratch: Path) -> None:
    screen = run(scratch).screen

    for line in (
        r"  SIMULATED, since this machine has no GPU: what follows runs as by$",
        r'  \+      "NVIDIA_VISIBLE_DEVICES=void",',
        r'  \+      \{"path": "/dev/nvidia3", "major": 195, "minor": 3, .*',
        r"  device    /dev/nvidia3  c 195:3 +<- runtime.nvidia.com/gpu=1 ",
        r"  device    /dev/nvidiactl .* <- any device ",
        r"  mount     /usr/bin/nvidia-smi +<- any device ",
        r"  variable  NVIDIA_VISIBLE_DEVICES=void +<- any device ",
        r"  crw-rw-rw- +1 root +root +195, +3 nvidia3$",
        r"  /usr/bin/nvidia-smi ro,",
        r"  NVIDIA_VISIBLE_DEVICES=void$",
    ):
        assert re.search(f"^{line}", screen, re.MULTILINE), f"no {line} in\n{screen}"
    assert "\33" not in screen
    assert max(map(len, screen.splitlines())) <= 120


def test_again_shows_the_same_and_leaves_nothing(scratch: Path) -> None:
    first = run(scratch)
    second = run(scratch)

    assert first.screen == second.screen
    assert traces(scratch, first.id) == []
    assert traces(scratch, second.id) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15])
def test_interrupted_leaves_nothing(scratch: Path, delay: float) -> None:
    """SIGTERM, as from a CI that gives up, in the midst of it."""
    environment = {**os.environ, "TMPDIR": os.fspath(scratch)}
    words = [sys.executable, os.fspath(DEMO)]
    pipe = subprocess.PIPE
    configs: list[Path] = []
    with subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe) as demo:

        def has_begun() -> bool:
            configs.extend(scratch.glob("nvcr-demo-*/config.toml"))
            return bool(configs)

        waiting.eventually(has_begun, "the container is prepared", demo)
        time.sleep(delay)
        demo.send_signal(signal.SIGTERM)
        demo.communicate()

    assert demo.returncode in {143, 0, -signal.SIGTERM}  # the others: it was at its end
    assert traces(scratch, configs[0].parent.name) == []


def test_without_root_one_sentence_says_so() -> None:
    words = [sys.executable, os.fspath(DEMO)]
    other = NOBODY if os.geteuid() == 0 else None
    try:
        done = subprocess.run(words, user=other, capture_output=True, text=True, check=False)
    except PermissionError:
        pytest.skip(f"another user cannot run {sys.executable}")

    assert done.stderr == "make run: root is missing: device nodes and containers need it\n"
    assert done.returncode == 1
