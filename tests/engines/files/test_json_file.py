# SPDX-License-Identifier: Apache-2.0
"""JSON files edited in place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvidia_runtime.engines import difference, json_file
from nvidia_runtime.engines.difference import ABSENT, Edit
from nvidia_runtime.errors import NvidiaRuntimeError

NAMES = st.sampled_from(["runtimes", "nvidia", "a", "b c", "ü", '"', "\\", "\ud800"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
) | st.sampled_from(['"', "}", ",", ":", "ü", "\ud800", "\n", "<&>"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
STYLES = st.sampled_from(
    [
        {},
        {"indent": 4},
        {"indent": 1},
        {"indent": "\t"},
        {"separators": (",", ":")},
        {"indent": 2, "ensure_ascii": False},
        {"indent": 2, "separators": (" ,", " : ")},
    ]
)
ENTRY = {"args": [], "path": "p"}
EDITS = [
    Edit(("runtimes", "nvidia"), ENTRY),
    Edit(("default-runtime",), "nvidia"),
    Edit(("features", "cdi"), value=True),
]


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, STYLES, st.booleans(), st.lists(st.sampled_from(EDITS), unique_by=id))
def test_any_file(
    document: dict[str, Any], style: dict[str, Any], is_crlf: bool, edits: list[Edit]
) -> None:
    """The result says what it should, keeps every line, and can be taken back."""
    text = json.dumps(document, **style)
    text = text.replace("\n", "\r\n") if is_crlf else text
    before = json_file.parse(text, "f")

    new = json_file.edit(text, edits)

    after = json_file.parse(new, "f")
    assert difference.is_same(after, difference.carried_out(edits, before))
    assert ("\r\n" in text) <= ("\n" not in new.replace("\r\n", ""))
    back = json_file.edit(new, difference.between(after, before))
    assert difference.is_same(json_file.parse(back, "f"), before)
    if document and all(difference.at(before, edit.path[:1]) is ABSENT for edit in edits):
        assert back == text


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, STYLES, DOCUMENTS)
def test_any_file_becomes_any_other(
    document: dict[str, Any], style: dict[str, Any], wanted: dict[str, Any]
) -> None:
    text = json.dumps(document, **style)
    other = json_file.parse(json.dumps(wanted), "f")

    new = json_file.edit(text, difference.between(json_file.parse(text, "f"), other))

    assert difference.is_same(json_file.parse(new, "f"), other)


@pytest.mark.parametrize(
    ("before", "edits", "after"),
    [
        ("", EDITS[1:2], '{\n    "default-runtime": "nvidia"\n}\n'),
        ('{"n": 12345678901234567890, "f": 1.10}', EDITS[1:2], None),
        ('{\n\t"a": 1\n}', EDITS[1:2], '{\n\t"a": 1,\n\t"default-runtime": "nvidia"\n}'),
        ('{"a":1}', EDITS[:1], '{"a":1,"runtimes":{"nvidia":{"args":[],"path":"p"}}}'),
        ('{"a": 1,"b": 2}', EDITS[1:2], '{"a": 1,"b": 2,"default-runtime": "nvidia"}'),
        ('{\n  "a": {}\n}\n', [Edit(("a", "b"), 1)], '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ('{\n  "a": 1,\n  "b": 2\n}', [Edit(("a",), ABSENT)], '{\n  "b": 2\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}', [Edit(("b",), ABSENT)], '{\n  "a": 1\n}'),
    ],
    ids=["empty", "numbers", "tabs", "compact", "mixed", "empty object", "first", "last"],
)
def test_edit(before: str, edits: list[Edit], after: str | None) -> None:
    expected = after or before[:-1] + ', "default-runtime": "nvidia"}'

    assert json_file.edit(before, edits) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "f:1:2: expecting property name"),
        ('{"a":1} x', "f:1:9: extra data"),
        ('{\n  "a": 1,\n}', "f:"),
        ("[]", "f:1:1: must be an object"),
        ('{\n "a": [1, NaN]}', "f:2:11: has NaN, which is not a JSON number"),
        (
            '{"a": "NaN",\n "b": {"c": 1, "d": {"c": 2},\n"c": 3}}',
            "f:3:1: an object has the same key",
        ),
        ('{"\\u0061": 1, "a": 2}', "f:1:15: an object has the same key twice"),
        ('// mine\n{"a": 1}', "f:1:1: expecting value"),
        ('{"a":' * 100000, "f: is nested too deeply"),
        ("\ufeff{}", "f:1:1: "),
    ],
    ids=["end", "more", "comma", "list", "NaN", "twice", "escaped", "comment", "deep", "mark"],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        json_file.parse(text, "f")

    assert str(error.value).startswith(says)


def test_comments_get_a_hint() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        json_file.parse('{\n  "a": 1, // mine\n  "b": 2\n}', "f")

    assert (str(error.value).partition(": ")[0], error.value.hint) == (
        "f:2:11",
        "JSON has no comments",
    )


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_nothing_stays_nothing(text: str) -> None:
    assert json_file.edit(text, []) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [('{"a": "\0"}', "invalid control character")],
    ids=["control character"],
)
def test_what_is_wrong_is_said_in_whole_words(text: str, what: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        json_file.parse(text, "f")

    assert error.value.what == what
