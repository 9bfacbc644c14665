# SPDX-License-Identifier: Apache-2.0
"""A process that is killed at any call that changes a disk leaves old files or new ones, whole.

The next call does what this one would have done, and what undoes still undoes.
"""

from __future__ import annotations

import signal

import pytest
from shim import Site

from . import faulty


@pytest.mark.parametrize("name", faulty.SCENES)
def test_kill(name: str, library: str, request: pytest.FixtureRequest) -> None:
    with Site() as site:
        scene = faulty.SCENES[name](site)
        scene.library = library
        scene.reset()
        old = scene.state()
        count = scene.count(kill=True)
        new = scene.state()
        assert old != new
        wrong = []
        for place in faulty.places(count, 4, is_long=request.config.getoption("--long")):
            scene.reset()
            ended = scene.faulty(f"kill {place}")
            if ended.code == 0:  # what depends on the time was not done
                assert scene.state() == new
                continue
            assert ended.code == -signal.SIGKILL, ended.err
            if complaint := recovery(scene, old, new):
                wrong.append((place, complaint))

        assert not wrong, "\n".join(str(fault)[:600] for fault in wrong)


def recovery(scene: faulty.Scene, old: faulty.State, new: faulty.State) -> str:
    """Say what is wrong after a kill, and after what a user does then; nothing if all is well."""
    if any(now not in both for now, *both in zip(scene.state(), old, new, strict=True)):
        return f"neither old nor new: {scene.state()}"
    again = scene.run(scene.again)
    if again.code or scene.state() != new:
        return f"the next call: {again.code} {again.err} {scene.state()}"
    if not scene.undo:
        return ""
    undone = scene.run(scene.undo)
    if undone.code or scene.state() != old:
        return f"undone: {undone.code} {undone.err} {scene.state()}"
    return ""
