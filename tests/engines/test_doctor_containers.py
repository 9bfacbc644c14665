# SPDX-License-Identifier: Apache-2.0
"""What doctor says of a real container that loses its device rules, and what it says to do."""

from __future__ import annotations

import json
from typing import Any

from nvidia_runtime.doctor import containers

from .running import Live, run
from .test_devices import GRANTED


def findings() -> list[dict[str, Any]]:
    """Return what doctor says of containers that run; others' creates may have failed today."""
    listed: list[dict[str, Any]] = json.loads(run("doctor", "--json").stdout)["findings"]
    codes = {code.id for code in containers.CODES} - {containers.REFUSED.id}
    return [one for one in listed if one["code"] in codes]


def test_container_as_it_was_made_is_silent(live: Live) -> None:
    assert live.pid
    assert findings() == []


def test_lost_rules(live: Live) -> None:
    live.lose()

    (finding,) = findings()

    assert finding["code"] == containers.LOST.id
    assert "2 of its device rules are gone" in finding["what"]
    program, *words = finding["next"].split()
    assert (program, words) == ("nvidia-ctk", ["repair", live.container.id[:12]])
    assert finding["fix"]["words"] == words
    assert run(*words).returncode == 0
    assert live.opened() == [GRANTED, GRANTED]
    assert findings() == []
