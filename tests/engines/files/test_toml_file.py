# SPDX-License-Identifier: Apache-2.0
"""TOML files edited in place."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvidia_runtime.engines import difference, toml_file, toml_render
from nvidia_runtime.engines.difference import ABSENT, Edit
from nvidia_runtime.errors import NvidiaRuntimeError

from . import toml_texts

CRI = ("plugins", "io.containerd.grpc.v1.cri")
RUNTIME = {"runtime_type": "io.containerd.runc.v2", "options": {"BinaryName": "/bin/x", "n": 1}}
# What we do to files of engines, in any of which the tables above may be missing.
EDITS = [
    Edit((*CRI, "runtimes", "nvidia"), RUNTIME),
    Edit((*CRI, "default"), "nvidia"),
    Edit((*CRI, "enable_cdi"), value=True),
    Edit(("imports",), ["/etc/conf.d/*.toml"]),
    Edit(("version",), 2),
]


def has_way(document: object, path: tuple[str, ...]) -> bool:
    """Whether a place can be reached: engines' modules refuse other documents."""
    for step in path[:-1]:
        if not isinstance(document, dict):
            return False
        document = document.get(step, {})
    return isinstance(document, dict)


def is_subsequence(some: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in some)


@settings(max_examples=300, deadline=None)
@given(toml_texts.texts(), st.lists(st.sampled_from(EDITS), min_size=1, unique_by=lambda e: e.path))
def test_any_file(written: tuple[difference.Document, str], edits: list[Edit]) -> None:
    """The result says what it should, keeps every line that is not ours, and can be taken back."""
    document, text = written
    edits = [edit for edit in edits if has_way(document, edit.path)]
    before = tomllib.loads(text)

    new = toml_file.edit(text, edits, "f")

    expected = difference.carried_out(edits, before)
    after = tomllib.loads(new)
    assert difference.is_same(difference.pruned(after), difference.pruned(expected))
    if all(difference.at(before, edit.path) is ABSENT for edit in edits) and "{" not in text:
        assert is_subsequence(text.split("\n")[:-1], new.split("\n"))
    assert ("\r\n" in text) == ("\r\n" in new) or not text.strip()
    assert toml_file.edit(new, difference.between(after, expected), "f") == new
    back = toml_file.edit(new, difference.between(after, before), "f")
    assert difference.is_same(difference.pruned(tomllib.loads(back)), difference.pruned(before))


@settings(max_examples=150, deadline=None)
@given(toml_texts.texts(), toml_texts.documents())
def test_any_file_becomes_any_other(
    written: tuple[difference.Document, str], wanted: difference.Document
) -> None:
    _, text = written

    new = toml_file.edit(text, difference.between(tomllib.loads(text), wanted), "f")

    assert difference.is_same(difference.pruned(tomllib.loads(new)), difference.pruned(wanted))


@settings(max_examples=150, deadline=None)
@given(toml_texts.documents())
def test_what_is_rendered_is_read_as_it_was(document: difference.Document) -> None:
    assert difference.is_same(tomllib.loads(toml_render.render(document)), document)


@pytest.mark.parametrize(
    ("before", "edits", "after"),
    [
        pytest.param(
            "a.b.c = 1 # why\na.d = 2\n",
            [Edit(("a", "b", "e"), {"f": 1})],
            "a.b.c = 1 # why\na.b.e.f = 1\na.d = 2\n",
            id="dotted keys get dotted keys, in their own table",
        ),
        pytest.param(
            'x = { a = "}" } # c\n',
            [Edit(("x", "b"), {"c": 1})],
            'x = { a = "}", b = { c = 1 } } # c\n',
            id="an inline table stays one",
        ),
        pytest.param(
            "[a.b]\nx = 1\n[c]\ny = 1\n[a.d]\nz = 1\n",
            [Edit(("a", "b", "e"), 2)],
            "[a.b]\nx = 1\ne = 2\n[c]\ny = 1\n[a.d]\nz = 1\n",
            id="tables out of order",
        ),
        pytest.param(
            "x = 1\r\n[a]\r\ny = 1\r\n",
            [Edit(("a", "z"), 1), Edit(("b",), {"c": 1})],
            "x = 1\r\n[a]\r\ny = 1\r\nz = 1\r\n[b]\r\nc = 1\r\n",
            id="lines of CRLF",
        ),
        pytest.param(
            "# licence\n\n# of a\n[a]\n",
            [Edit(("x",), 1)],
            "# licence\nx = 1\n\n# of a\n[a]\n",
            id="a first pair comes behind the file's own comment",
        ),
        pytest.param(
            "# of a\n[a]\n", [Edit(("x",), 1)], "x = 1\n# of a\n[a]\n", id="not behind a header's"
        ),
        pytest.param(
            "[a]\nx = 1\n# off = 2\n\n# of b\n[b]\n",
            [Edit(("a", "c"), {"d": 1})],
            "[a]\nx = 1\n# off = 2\n\n[a.c]\nd = 1\n\n# of b\n[b]\n",
            id="what is commented out stays with its table, a header's comment with it",
        ),
        pytest.param("x = 1", [Edit(("y",), 2)], "x = 1\ny = 2\n", id="a last line without an end"),
        pytest.param(
            'x = [\n  "a", # one\n  "b" # two\n]\n',
            [Edit(("x",), ["a", "b", "c"])],
            'x = [\n  "a", # one\n  "b", # two\n  "c"\n]\n',
            id="a list in lines gets a line",
        ),
        pytest.param(
            'x = [\n  "a", # one\n  "b",\n]\n',
            [Edit(("x",), ["a"])],
            'x = [\n  "a", # one\n]\n',
            id="an element goes with its line",
        ),
        pytest.param(
            'x = ["a", "b"] # c\n', [Edit(("x",), ["b"])], 'x = ["b"] # c\n', id="or alone"
        ),
        pytest.param(
            "[a]\nx = 1\n\n[b]\n[b.c]\ny = 1\n[d]\n",
            [Edit(("b",), ABSENT)],
            "[a]\nx = 1\n[d]\n",
            id="a table goes with those below it",
        ),
        pytest.param(
            "[[a]]\nx = 1\n[[a]]\nx = 2\n[b]\n",
            [Edit(("b", "x"), 1)],
            "[[a]]\nx = 1\n[[a]]\nx = 2\n[b]\nx = 1\n",
            id="lists of tables are left alone",
        ),
        pytest.param(
            'x = """\n[a]\n"""\n',
            [Edit(("a", "y"), 1)],
            'x = """\n[a]\n"""\n\n[a]\ny = 1\n',
            id="text",
        ),
    ],
)
def test_edit(before: str, edits: list[Edit], after: str) -> None:
    assert toml_file.edit(before, edits, "f") == after


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", "f:1:11: invalid value"),
        ("a = 1\n[b\n", "f:2:3: expected ']' at the end of a table declaration"),
        ("a = 1\na = 2", "f:2:6: cannot overwrite a value"),
        ('{{ template "base" . }}\n', "f:1:1: invalid statement"),
        ("a = " + "[" * 20000, "f: is nested too deeply"),
        ("a = 2020-13-45", "f:1:9: expected newline or end of document after a statement"),
        ("a = " + "9" * 5000, "f: has a value that cannot be read: "),
    ],
    ids=["no value", "open header", "twice", "a template of k3s", "deep", "no date", "huge"],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        toml_file.parse(text, "f")

    assert str(error.value).startswith(says)
    assert ("runtimeClassName: nvidia" in error.value.hint) == ("{{" in text)
