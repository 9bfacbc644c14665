# SPDX-License-Identifier: Apache-2.0
"""The first line, and the exit code."""

from __future__ import annotations

import pytest

from nvidia_runtime.doctor import verdict
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Engine, Finding, Fine, Said

BROKEN = Code("NCT-9101", ERROR, "", "", "")
ODD = Code("NCT-9001", WARNING, "", "", "")
TOLD = Code("NCT-9002", NOTE, "", "", "")
DOCKER, PODMAN = Engine("docker"), Engine("podman")


def finding(code: Code, engine: str = "") -> Finding:
    return Finding(code=code, what="", engine=engine)


@pytest.mark.parametrize(
    ("said", "line", "code"),
    [
        pytest.param([DOCKER, Fine("all")], "yes", 0, id="fine"),
        pytest.param([DOCKER, finding(ODD)], "yes", 2, id="warning"),
        pytest.param([DOCKER, finding(TOLD)], "yes", 0, id="note"),
        pytest.param([DOCKER, finding(BROKEN)], "no (NCT-9101)", 1, id="broken for all"),
        pytest.param(
            [DOCKER, PODMAN, finding(BROKEN, "podman"), finding(ODD)],
            "for docker yes, podman no (NCT-9101)",
            1,
            id="broken for one",
        ),
        pytest.param([DOCKER, finding(BROKEN, "docker")], "no (NCT-9101)", 1, id="the only one"),
    ],
)
def test_sentence(said: list[Said], line: str, code: int) -> None:
    assert verdict.sentence(said) == f"{verdict.BEGINNING} {line}"
    assert verdict.exit_code(verdict.findings(said)) == code


def test_most_important_first() -> None:
    listed = verdict.findings([finding(TOLD), finding(ODD), finding(BROKEN)])

    assert [one.code for one in listed] == [BROKEN, ODD, TOLD]


def test_severity_of_a_finding_counts() -> None:
    mild = Finding(code=BROKEN, what="", severity=WARNING)

    assert verdict.exit_code([mild]) == 2
