# SPDX-License-Identifier: Apache-2.0
"""The words of the audit system."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import denials

AVC = (
    "type=AVC msg=audit(1684465329.146:350): avc:  denied  { read write } for  pid=5016 "
    'comm="python" path="/dev/nvidia0" scontext=system_u:system_r:container_t:s0:c380,c597 '
    "tcontext=system_u:object_r:xserver_misc_device_t:s0 tclass=chr_file permissive=0"
)


def test_selinux() -> None:
    (denial,) = denials.parse([AVC])

    assert (denial.by, denial.time, denial.operation) == ("SELinux", 1684465329, "read write")
    assert (denial.program, denial.path) == ("python", "/dev/nvidia0")
    assert (denial.source, denial.target) == ("container_t", "xserver_misc_device_t")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        pytest.param(AVC + '\x1dARCH=x86_64 AUID="unset"', "permissive", "0", id="enriched"),
        pytest.param(AVC.replace('"python"', "6120620A"), "comm", "a b\n", id="in hexadecimal"),
        pytest.param(AVC.replace("5016", "50"), "pid", "50", id="a number is no hexadecimal"),
        pytest.param(AVC.replace("python", "a pid=1"), "comm", "a pid=1", id="with a blank"),
    ],
)
def test_fields(line: str, name: str, value: str) -> None:
    (denial,) = denials.parse([line])

    assert denial.fields[name] == value
    assert denial.source == "container_t"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(AVC.replace("permissive=0", "permissive=1"), id="permissive"),
        pytest.param(AVC.replace("denied", "granted"), id="granted"),
        pytest.param(AVC.replace("type=AVC", "type=USER_AVC"), id="of a program"),
        pytest.param('audit: type=1400 audit(1.2:3): apparmor="STATUS" name="x"', id="a status"),
        pytest.param('audit: type=1400 audit(1.2:3): apparmor="ALLOWED" name="x"', id="complaint"),
        pytest.param("audit: type=1326 audit(1.2:3): sig=0 syscall=1", id="only logged"),
        pytest.param("type=AVC msg=audit(x", id="cut short"),
    ],
)
def test_what_is_no_denial(line: str) -> None:
    assert denials.parse([line]) == []


def test_same_event_counts_once() -> None:
    kernel = AVC.replace("type=AVC msg=", "audit: type=1400 ")

    assert len(denials.parse([AVC, kernel, AVC.replace(":350)", ":351)")])) == 2


def test_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("x" * denials.MOST + "\n" + AVC + "\n")

    lines = denials.read_file(str(path))

    assert lines is not None
    assert lines[-2:] == [AVC, ""]
    assert sum(map(len, lines)) <= denials.MOST
    assert denials.read_file(str(tmp_path)) is None
