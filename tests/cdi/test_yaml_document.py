# SPDX-License-Identifier: Apache-2.0
"""YAML as the CDI library reads it, and YAML that is there to do harm."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from nvidia_runtime.cdi import yaml_document
from nvidia_runtime.errors import NvidiaRuntimeError

FILE = "/etc/cdi/x.yaml"


def loaded(text: str, most: int = 1000) -> object:
    return yaml_document.load(text.encode(), FILE, most)


def refusal(data: bytes, most: int = 1000) -> str:
    """Return the message by which a document is refused, without the file's name."""
    with pytest.raises(NvidiaRuntimeError) as error:
        yaml_document.load(data, FILE, most)
    assert error.value.where == FILE
    return error.value.what


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y", True),
        ("Yes", True),
        ("ON", True),
        ("n", False),
        ("off", False),
        ("FALSE", False),
        ("yEs", "yEs"),
        ("'y'", "y"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nil", "nil"),
        ("0", 0),
        ("-12", -12),
        ("+1_000", 1000),
        ("0660", 0o660),
        ("-010", -8),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("089", 89.0),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.1.0", "1.1.0"),
        ("0.5.0", "0.5.0"),
        ("12:30:45", "12:30:45"),
        ("2001-12-14", "2001-12-14"),
        ("0000:3b:00.0", "0000:3b:00.0"),
        ("=", "="),
    ],
)
def test_scalars(text: str, expected: object) -> None:
    value = loaded(f"x: {text}")

    assert value == {"x": expected}
    assert isinstance(value, dict)
    assert type(value["x"]) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5: a", {"5": "a"}),
        ("1: a", {"1": "a"}),
        ("0: a", {"0": "a"}),
        ("y: a", {"true": "a"}),
        ("~: a", {"null": "a"}),
        ("1.5: a", {"1.5": "a"}),
        ("n: a\nno2: b", {"false": "a", "no2": "b"}),
    ],
)
def test_keys_are_strings(text: str, expected: object) -> None:
    assert loaded(text) == expected


def test_aliases_and_merges() -> None:
    text = "a: &a {p: 1, q: 2}\nb: {<<: *a, r: 3}\nc: *a"

    expected = {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2, "r": 3}, "c": {"p": 1, "q": 2}}
    assert loaded(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{<<: {p: 1}, p: 2}", {"p": 2}),
        ("{p: 2, <<: {p: 1}}", {"p": 2}),
        ("{<<: [{p: 1, q: 1}, {p: 2, r: 2}]}", {"p": 1, "q": 1, "r": 2}),
        ("{<<: {}}", {}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)
def test_what_is_written_goes_before_what_is_merged(text: str, expected: object) -> None:
    assert loaded(text) == expected


@pytest.mark.parametrize("rest", ["--- {b: 2}", "---", "--- [", "..."])
def test_first_document_counts(rest: str) -> None:
    """As for the CDI library, which reads no further."""
    assert loaded(f"---\na: 1\n{rest}") == {"a": 1}


def test_byte_order_mark_is_no_content() -> None:
    assert yaml_document.load(b"\xef\xbb\xbfa: 1", FILE, 10) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a: 1\na: 2", "is not YAML: line 2, column 1: repeated key 'a'"),
        (b"5: 1\n'5': 2", "is not YAML: line 2, column 1: repeated key '5'"),
        (b"a: 1\n<<: 2", "is not YAML: line 2, column 1: '<<' must merge mappings"),
        (b"\xff\xfea\0", "is not UTF-8: byte 0xff at offset 0"),
    ],
)
def test_broken(data: bytes, says: str) -> None:
    assert refusal(data) == says


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: [1", "line 2, column 1: "),
        (b"- *x", "line 1, column 3: "),
        (b"a: &a [*a]", "line 1, column 4: "),
        (b"a: !!python/object/apply:os.system [id]", "line 1, column 4: "),
        (b"a: \x01", ""),
    ],
)
def test_broken_in_the_words_of_the_library(data: bytes, place: str) -> None:
    """Those differ by its version; where it is they agree."""
    assert re.match(rf"is not YAML: {place}\S", refusal(data))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int ''",
        "a: !!int x",
        "a: !!int +",
        "a: !!float ''",
        "a: !!bool maybe",
        "a: !!timestamp soon",
        "a: !!timestamp 2001-99-99",
        "a: !!binary x",
        "!!map 5",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "? !!set {a}\n: b",
        f"a: {'9' * 5000}",
    ],
    ids=lambda text: str(text)[:30],
)
def test_odd_tags_and_keys_are_refused_and_break_nothing(text: str) -> None:
    assert refusal(text.encode()).startswith("is not YAML: ")


def test_small_file_that_describes_a_huge_document() -> None:
    lines = ["a0: &a0 [x, x]", *[f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]]

    says = refusal("\n".join(lines).encode())

    assert says == "describes more than 1000 values with its aliases"


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? "])
def test_depth_is_refused_and_ends_no_process(unit: str) -> None:
    """PyYAML's loader in C has no limit but that of the stack: a fault would end every create."""
    code = "import sys; from nvidia_runtime.cdi import yaml_document\n"
    code += f"yaml_document.load({unit!r}.encode() * 200_000, {FILE!r}, 1000)"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (run.returncode, run.stderr.splitlines()[-1:]) == (
        1,
        [f"nvidia_runtime.errors.NvidiaRuntimeError: {FILE}: is nested deeper than 50 levels"],
    )


def test_fifty_levels() -> None:
    assert loaded("[" * 50 + "]" * 50)
    assert refusal(b"[" * 51 + b"]" * 51) == "is nested deeper than 50 levels"


def test_too_many_values() -> None:
    assert refusal(b"- x\n" * 1000) == "has more than 1000 values"


def test_resolvers_of_other_users_of_the_library_stay() -> None:
    import yaml

    assert yaml.safe_load("[12:30, 2001-12-14, y]")[0] == 750
