# SPDX-License-Identifier: Apache-2.0
"""What `nvidia-ctk explain` says that a running container has of what it was given."""

from __future__ import annotations

import pytest

from nvidia_runtime.linux.control_groups import DEVICES

from .bundles import Bundles
from .engine import FOREVER
from .running import PATHS, RULES, Live, run, things
from .test_devices import GRANTED, REFUSED


def test_container_as_it_was_made_has_all(live: Live) -> None:
    listed = things(live)

    assert [one for one in listed if one["state"] != "ok"] == []
    assert {one["kind"] for one in listed} == {"device", "rule", "mount", "variable"}
    assert live.opened() == [GRANTED, GRANTED]
    (line,) = [
        line
        for line in run("explain", live.container.id).stdout.splitlines()
        if line.startswith("now ")
    ]
    assert line == "now        all as given: 2 devices, 2 device rules, 3 mounts, 2 variables"


def test_lost_rules_are_shown(live: Live) -> None:
    live.lose()
    assert live.opened() == [REFUSED, REFUSED]

    wrong = [one for one in things(live) if one["state"] != "ok"]
    assert [(one["kind"], one["name"], one["asked"], one["state"]) for one in wrong] == [
        ("rule", path, rule, "missing") for path, rule in zip(PATHS, RULES, strict=True)
    ]
    said = run("explain", live.container.id).stdout.splitlines()
    assert "now        2 of 9 things are not as given; 'nvidia-ctk repair' can help" in said
    line = f"  missing  device rule {RULES[0]} of {PATHS[0]}"
    assert line + (", only m is left" if live.hierarchy == DEVICES else "") in said


@pytest.mark.parametrize("name", ["live_runc_v1", "live_crun_v2"])
def test_container_that_is_not_started_yet(name: str, request: pytest.FixtureRequest) -> None:
    """All is there but the environment, which comes with its program."""
    bundles: Bundles = request.getfixturevalue(name)
    bundle, words = bundles.bundle(FOREVER, "0"), bundles.words(bundles.runtime)
    assert bundles.create(bundle, words) == 0
    said = run("explain", bundle.name).stdout.splitlines()
    container = bundles.begin(bundle, words)
    container.kill()
    container.remove()

    line = "now        all that can be seen as given: 2 devices, 2 device rules, 3 mounts"
    assert said[said.index(line) + 1] == "  unknown  2 things: its program has not been started"


def test_files_of_a_container_that_went(live: Live) -> None:
    """What a container has unmounted or removed in itself is seen from outside."""
    script = "rm /dev/nvidia0; mknod /dev/nvidiactl2 c 120 254"
    assert live.container.exec("sh", "-c", script).returncode == 0

    wrong = [one for one in things(live) if one["state"] != "ok"]

    assert [(one["kind"], one["name"], one["got"]) for one in wrong] == [
        ("device", "/dev/nvidia0", "nothing")
    ]
