# SPDX-License-Identifier: Apache-2.0
"""The words of nvidia-cdi-hook: what the hook reads is what a spec or the runtime wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.prepare import verbs

VALUES = st.text(st.characters(exclude_characters=",\0"), max_size=20)


@st.composite
def steps(draw: st.DrawFn) -> verbs.Step:
    step = verbs.Step(draw(st.sampled_from(sorted(verbs.VERBS))))
    for flag, kind in verbs.VERBS[step.verb].items():
        if kind == verbs.LIST:
            step.lists[flag] = draw(st.lists(VALUES, unique=True, max_size=3))
        elif draw(st.booleans()):
            step.texts[flag] = draw(VALUES)
    return step


def nothing(_name: str) -> str:
    return ""


@given(st.lists(steps(), min_size=1, max_size=5))
def test_words_of_many_steps_are_read_as_they_were_written(plan: list[verbs.Step]) -> None:
    words: list[str] = []
    for step in plan:
        words += [*([verbs.THEN] if words else []), *verbs.words(step)]

    call = verbs.parse(words, nothing)

    assert [(step.verb, step.texts) for step in call.steps] == [
        (step.verb, step.texts) for step in plan
    ]
    for copy, step in zip(call.steps, plan, strict=True):
        assert all(copy.all(flag) == step.all(flag) for flag in verbs.VERBS[step.verb])


@given(
    st.lists(st.text(max_size=10) | st.sampled_from([*verbs.VERBS, "--then", "--", "-d", "--link"]))
)
def test_no_words_make_it_crash(words: list[str]) -> None:
    try:
        verbs.parse(words, nothing)
    except NvidiaRuntimeError:
        pass


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_verb_is_for_the_host_and_for_a_hook(verb: str) -> None:
    module = verbs.module(verbs.Step(verb))

    assert callable(module.plan)
    assert callable(module.run)
    assert verb in verbs.USAGE


@pytest.mark.parametrize(
    ("words", "environment", "debug"),
    [
        (["noop"], {}, False),
        (["--debug", "noop"], {}, True),
        (["-d", "noop"], {}, True),
        (["--debug=false", "noop"], {"NVIDIA_CTK_DEBUG": "true"}, False),
        (["noop"], {"NVIDIA_CTK_DEBUG": "true"}, True),
        (["noop"], {"NVIDIA_CDI_DEBUG": "1"}, True),
    ],
)
def test_debug(words: list[str], environment: dict[str, str], debug: bool) -> None:
    call = verbs.parse(words, lambda name: environment.get(name, ""))

    assert call.switches["debug"] is debug


def test_boolean_that_is_none() -> None:
    with pytest.raises(NvidiaRuntimeError, match="NVIDIA_CTK_DEBUG: must be true or false"):
        verbs.parse(["noop"], {"NVIDIA_CTK_DEBUG": "maybe"}.get)  # type: ignore[arg-type]
