# SPDX-License-Identifier: Apache-2.0
"""Files of variables as systemd reads them."""

from __future__ import annotations

import pytest

from nvidia_runtime.watch import environment_file


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB=two words \n", {"A": "1", "B": "two words"}),
        ("# A=1\n; B=2\n\n  C = 3\n", {}),
        ("A=\"a 'b' \\\"c\\\"\"\nB='x y'\nC=\n", {"A": "a 'b' \"c\"", "B": "x y", "C": ""}),
        ("A=1,\\\n2\n", {"A": "1,2"}),
        ("export A=1\n2A=1\nA\n", {}),
    ],
    ids=["plain", "comments and blanks", "quotes", "continued", "none of it"],
)
def test_form_of_settings(text: str, variables: dict[str, str]) -> None:
    assert environment_file.parse(text) == variables


def test_lines_of_which_nothing_comes() -> None:
    text = "# comment\n; comment\n\nA=1\nexport B=1\nC = 1\nD\n"

    assert environment_file.skipped(text) == ["export B=1", "C = 1", "D"]
