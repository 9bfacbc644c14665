# SPDX-License-Identifier: Apache-2.0
"""What only a bundle of our own shows: `run` is handed on, a refused `create` changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .bundles import Bundles

LOW_LEVEL = ("runc_v1", "runc_v2", "crun_v1", "crun_v2")


@pytest.fixture(params=LOW_LEVEL)
def bundles(request: pytest.FixtureRequest) -> Iterator[Bundles]:
    """Take each low-level runtime in turn."""
    live: Bundles = request.getfixturevalue(f"live_{request.param}")
    yield live
    live.clean()


def test_run_is_handed_on(bundles: Bundles) -> None:
    """As the toolkit does: no engine gives `run`, and only `create` injects."""
    program = os.fspath(bundles.runtime.path)
    done = bundles.run_by(program, "sh", "-c", "echo /dev/nvidia*; exit 42", gpus="all")

    assert (done.stdout, done.returncode) == ("/dev/nvidia*\n", 42)


def test_refused_create_leaves_the_bundle_as_it_was(bundles: Bundles) -> None:
    bundle = bundles.bundle(("true",), "7")
    before = (bundle / "config.json").read_bytes(), sorted(os.listdir(bundle))
    code = bundles.create(bundle, bundles.words(bundles.runtime))
    after = (bundle / "config.json").read_bytes(), sorted(os.listdir(bundle))

    assert code == 1
    assert after == (before[0], sorted([*before[1], "stderr", "stdout"]))
    assert bundles.containers() == []
