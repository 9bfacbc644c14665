# SPDX-License-Identifier: Apache-2.0
"""T32: what the kernel lets a container open that makes all the nodes it likes."""

from __future__ import annotations

import pytest

from .bundles import Bundles
from .machine import MAJOR

# In /dev, since other file systems may be nodev; what a shell can open it closes again.
PROBE = f"""
for major in {MAJOR} {MAJOR - 1} 1; do
    for minor in 0 1 2 3 127 128 254 255 256 1048575; do
        mknod "/dev/probe$major.$minor" c $major $minor || exit
        said=$( (: <>"/dev/probe$major.$minor") 2>&1)
        case $said in *"not permitted"*) ;; *) echo $major $minor "${{said##*: }}" ;; esac
    done
done
"""


@pytest.mark.parametrize("view", ["runc_v1", "runc_v2", "crun_v1", "crun_v2"])
def test_t32_only_injected_nodes_can_be_opened(view: str, request: pytest.FixtureRequest) -> None:
    """CVE-2021-1056: GPU 0 and the control node, not 1, and nothing beside or behind them."""
    live: Bundles = request.getfixturevalue(f"live_{view}")

    done = live.run("sh", "-c", PROBE, gpus="0")

    assert done.returncode == 0, done.stderr
    opened = [line.split(" ", 2) for line in done.stdout.splitlines()]
    ours = {(major, minor) for major, minor, _ in opened if major != "1"}
    assert ours == {(str(MAJOR), "0"), (str(MAJOR), "255")}
    assert {said for major, _, said in opened if major != "1"} == {"No such device or address"}
