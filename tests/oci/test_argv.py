# SPDX-License-Identifier: Apache-2.0
"""The command line, read as runc and crun read it."""

from __future__ import annotations

import pytest

from nvidia_runtime.oci import argv

FIELDS = ("command", "complaint", "container", "bundle", "log", "log_json", "debug", "version")


def said(line: str) -> dict[str, object]:
    """Parse a line; return what differs from an empty one."""
    invocation = argv.parse(line.split())
    return {name: value for name in FIELDS if (value := getattr(invocation, name))}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("state c1", {"command": "state"}),
        ("create", {"command": "create"}),
        ("create c1", {"command": "create", "container": "c1"}),
        ("--root /run/x state c1", {"command": "state"}),
        ("--root create state c1", {"command": "state"}),
        ("--root=create state c1", {"command": "state"}),
        ("-root /run/x kill c1", {"command": "kill"}),
        ("---root /run/x kill c1", {"command": "kill"}),
        ("--criu /x --rootless true --cgroup-manager cgroupfs list", {"command": "list"}),
        ("--systemd-cgroup delete c1", {"command": "delete"}),
        ("-- state c1", {"command": "state"}),
        ("- c1", {"command": "-"}),
        ("--root", {}),
        ("--root=", {}),
        ("--version", {"version": True}),
        ("-version", {"version": True}),
        ("--version create c1", {"version": True, "command": "create", "container": "c1"}),
        ("exec c1 nvcc --version", {"command": "exec"}),
        ("start create", {"command": "start"}),
        ("start --debug --log /l c1", {"command": "start"}),
    ],
)
def test_globals(line: str, expected: dict[str, object]) -> None:
    assert said(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--log /l state", {"log": "/l"}),
        ("--log=/l state", {"log": "/l"}),
        ("--log /l --log /m state", {"log": "/m"}),
        ("--log a=b state", {"log": "a=b"}),
        ("--log=a=b state", {"log": "a=b"}),
        ("--log= state", {}),
        ("--log-format json state", {"log_json": True}),
        ("--log-format=json state", {"log_json": True}),
        ("--log-format=json --log-format text state", {}),
        ("--log-level debug state", {}),
        ("--debug state", {"debug": True}),
        ("--debug=true state", {"debug": True}),
        ("--debug=false state", {}),
        ("--debug=0 state", {}),
    ],
)
def test_log_flags(line: str, expected: dict[str, object]) -> None:
    assert said(line) == {"command": "state", **expected}


@pytest.mark.parametrize(
    ("line", "bundle", "container"),
    [
        ("--bundle /b c1", "/b", "c1"),
        ("--bundle=/b c1", "/b", "c1"),
        ("-b /b c1", "/b", "c1"),
        ("-b=/b c1", "/b", "c1"),
        ("---b /b c1", "/b", "c1"),
        ("c1 --bundle /b", "/b", "c1"),
        ("c1 -b=/b", "/b", "c1"),
        ("--bundle /a --bundle /b c1", "/b", "c1"),
        ("--bundle create c1", "create", "c1"),
        ("--bundle= c1", "", "c1"),
        ("--bundle --no-pivot c1", "--no-pivot", "c1"),
        ("--pid-file /p --console-socket /s --preserve-fds 3 -b /b c1", "/b", "c1"),
        ("--pid-file --bundle /b", "", "/b"),
        ("--no-pivot --no-new-keyring --bundle /b c1", "/b", "c1"),
        ("-f /config.json -b /b c1", "/b", "c1"),
        ("--bundle /b -- c1", "/b", "c1"),
        ("-b /b -- -c1", "/b", "-c1"),
        ("c1 -- --bundle /b", "", "c1"),
        ("c1 c2", "", "c1"),
        ("--bundle /b", "/b", ""),
        ("--pid-file", "", ""),
        ("", "", ""),
    ],
)
def test_create(line: str, bundle: str, container: str) -> None:
    invocation = argv.parse(["create", *line.split()])

    assert (invocation.bundle, invocation.container) == (bundle, container)


@pytest.mark.parametrize("flag", ["-b", "--bundle", "---bundle"])
def test_bundle_without_value(flag: str) -> None:
    invocation = argv.parse(["--log", "/l", "create", "c1", flag])

    assert invocation.complaint == f"flag {flag} of create has no value"
    assert invocation.log == "/l"


def test_words_stay_as_given() -> None:
    words = ["--log", "", "create", "-b", " \udcff\n", "c1", "--", "-x"]

    invocation = argv.parse(words)

    assert invocation.words == ["--log", "", "create", "-b", " \udcff\n", "c1", "--", "-x"]
    assert invocation.bundle == " \udcff\n"
