# SPDX-License-Identifier: Apache-2.0
"""JSON documents by CPython's accelerator: exact as ``json``, and clear about what is wrong."""

from __future__ import annotations

import json
import math

import pytest

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError

PATH = "/b/config.json"


def refusal(data: bytes) -> str:
    """Return the message by which a document is refused, without the file's name."""
    with pytest.raises(NvidiaRuntimeError) as error:
        document.loads(data, PATH)
    assert error.value.where == PATH
    return error.value.what


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", {}),
        (b" \t\r\n{} \t\r\n", {}),
        (b"null", None),
        (b'"\\u00e9\xc3\xa9"', "\u00e9\u00e9"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        (b"-0", 0),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"[1.10,1E5,1e-7]", [1.1, 100000.0, 1e-07]),
        (b"0.12345678901234567", 0.12345678901234567),
        (b'{"":{"":[]}}', {"": {"": []}}),
    ],
)
def test_loads(data: bytes, expected: object) -> None:
    assert document.loads(data, PATH) == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty, not a JSON document"),
        (b" \n", "is empty, not a JSON document"),
        (b"{", "line 1, column 2: expecting property name enclosed in double quotes"),
        (b'{"a"', "line 1, column 5: expecting ':' delimiter"),
        (b'{"a":', "line 1, column 6: expecting value"),
        (b'{"a":1', "line 1, column 7: expecting ',' delimiter"),
        (b'{"a', "line 1, column 2: unterminated string starting"),
        (b'{"a":1}\n{', "line 2, column 1: extra data"),
        (b"{} x", "line 1, column 4: extra data"),
        (b"{}\0", "line 1, column 3: extra data"),
        (b"[1 2]", "line 1, column 4: expecting ',' delimiter"),
        (b"01", "line 1, column 2: extra data"),
        (b"1.", "line 1, column 2: extra data"),
        (b"nul", "line 1, column 1: expecting value"),
        (b"'a'", "line 1, column 1: expecting value"),
        (b'"\\x"', "line 1, column 2: invalid \\escape"),
        (b'"a\nb"', "line 1, column 3: invalid control character"),
        (b"\xef\xbb\xbf{}", "line 1, column 1: unexpected UTF-8 BOM (decode using utf-8-sig)"),
        (b'{"a":NaN}', "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b'{"a":"\xff"}', "is not UTF-8: byte 0xff at offset 6"),
        (b'"\xed\xa0\x80"', "is not UTF-8: byte 0xed at offset 1"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_loads_says_what_is_wrong(data: bytes, says: str) -> None:
    assert refusal(data).removeprefix("is not JSON: ") == says


def test_number_of_too_many_digits() -> None:
    assert refusal(b"9" * 5000) == "has a number of too many digits"


def test_complaint_about_what_is_right_is_short() -> None:
    assert document.complaint(b"{}") == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": [1, None, True], "a": {}}, b'{"b":[1,null,true],"a":{}}'),
        ('\u00e9\n"\\/<', '"\u00e9\\n\\"\\\\/<"'.encode()),
        ("\x7f\u2028", '"\x7f\u2028"'.encode()),
        (["\ud800", "\u00e9"], b'["\\ud800","\\u00e9"]'),
        (2**70, b"1180591620717411303424"),
        ([0.1, 1e22, -0.0, 5.0], b"[0.1,1e+22,-0.0,5.0]"),
        (0.12345678901234567, b"0.12345678901234566"),
    ],
)
def test_dumps(value: object, expected: bytes) -> None:
    assert document.dumps(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"b":[{"c":null}]}}',
        '["\\ud800 \\udfff","\U0001f600"]',
        "[1e308,-1e-308,5e-324,0.1,9007199254740993]",
        '{"\\u0000":"\\u001f"}',
    ],
)
def test_what_was_read_can_be_written_again(text: str) -> None:
    value = document.loads(text.encode(), PATH)

    assert document.loads(document.dumps(value), PATH) == value == json.loads(text)


@pytest.mark.parametrize("value", [{1, 2}, b"x", object])
def test_dumps_no_more_than_json(value: object) -> None:
    with pytest.raises(TypeError, match="is no JSON"):
        document.dumps({"a": value})


def test_infinity_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        document.dumps([math.inf])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        ({}, "an object"),
        ([], "a list"),
        ("", "a string"),
        (False, "a boolean"),
        (0, "a number"),
        (0.5, "a number"),
    ],
)
def test_kind(value: object, name: str) -> None:
    assert document.kind(value) == name
