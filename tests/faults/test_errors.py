# SPDX-License-Identifier: Apache-2.0
"""A call of the C library that fails is told in a sentence, or has no effect at all."""

from __future__ import annotations

import errno

import pytest
from shim import Site

from . import faulty


@pytest.mark.parametrize("name", faulty.SCENES)
def test_failing_call(name: str, library: str, request: pytest.FixtureRequest) -> None:
    with Site() as site:
        scene = faulty.SCENES[name](site)
        scene.library = library
        scene.reset()
        old = scene.state()
        count = scene.count(kill=False)
        new = scene.state()
        is_long = request.config.getoption("--long")
        wrong = []
        for turn, place in enumerate(faulty.places(count, 6, is_long=is_long)):
            number = faulty.ERRORS[turn % len(faulty.ERRORS)]
            scene.reset()
            ended = scene.faulty(f"fail {place} {number}")
            if complaint := judged(scene, ended.code, ended.err, old, new):
                wrong.append((place, errno.errorcode[number], complaint))

        assert not wrong, "\n".join(str(fault)[:600] for fault in wrong)


def judged(scene: faulty.Scene, code: int, err: str, old: faulty.State, new: faulty.State) -> str:
    """Say what is wrong with the end of a call, nothing if nothing is."""
    if "Traceback" in err or "internal error" in err:
        return err
    state = scene.state()
    if code == 0:
        is_well = state == new or scene.is_as_good(state)
        return "" if is_well else f"says that all is well: {state}"
    if code < 0 or not err.strip():
        return f"ends with {code} and no word"
    if any(now not in both for now, *both in zip(state, old, new, strict=True)):
        return f"neither old nor new: {state}"
    return ""
