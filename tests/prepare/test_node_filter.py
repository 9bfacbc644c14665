# SPDX-License-Identifier: Apache-2.0
"""Which seccomp profiles can be given a rule against nodes of NVIDIA's GPUs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nvidia_runtime.prepare import node_filter

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
NOT_AS_THE_SPEC = "the container's seccomp profile is not as the runtime-spec has it"
OWN_RULES = "the container's seccomp profile has rules for mknod of its own"


# With these the kernel makes the node, or may.
PASSING = ("SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY", "SCMP_ACT_OF_TOMORROW", ["x"], None)
REFUSING = ("ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP")


def profile(default: Any, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"defaultAction": default, "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [*rules]}


def refuses(call: dict[str, Any], name: str) -> bool:
    return bool(call["names"] == [name] and call["action"] == ERRNO and call.get("args"))


def test_profile_that_allows_the_rest_gets_a_refusal() -> None:
    given = profile(ALLOW, {"names": ["reboot"], "action": ERRNO})
    before = copy.deepcopy(given)

    replacement, _ = node_filter.forbid({"linux": {"seccomp": given}})

    assert given == before
    assert replacement is not None
    assert replacement["flags"] == given["flags"]
    assert replacement["syscalls"][0] == given["syscalls"][0]
    assert [
        refuses(call, name)
        for call, name in zip(replacement["syscalls"][1:], node_filter.CALLS, strict=True)
    ] == [True, True]


def test_profile_that_refuses_the_rest_stays_as_strict() -> None:
    """A call that is not named there, or refused, is not allowed now."""
    given = profile(ERRNO, {"names": ["mknod", "read"], "action": ALLOW})

    replacement, _ = node_filter.forbid({"linux": {"seccomp": given}})

    assert replacement is not None
    assert replacement["syscalls"][0] == {"names": ["read"], "action": ALLOW}
    assert {call["names"][0] for call in replacement["syscalls"][1:]} == {"mknod"}
    assert len(replacement["syscalls"]) == 1 + 12


@pytest.mark.parametrize("action", [f"SCMP_ACT_{name}" for name in REFUSING])
def test_profile_that_refuses_the_calls_stays(action: str) -> None:
    for given in (profile(action), profile(ALLOW, {"names": ["mknod"], "action": action})):
        replacement, _ = node_filter.forbid({"linux": {"seccomp": given}})

        assert replacement is not None
        assert replacement["syscalls"][: len(given["syscalls"])] == given["syscalls"]


@pytest.mark.parametrize("major", [0, 1, 194, 195, 196, 451, 4095])
def test_rules_allow_every_other_major(major: int) -> None:
    given = profile(ERRNO, {"names": ["mknod"], "action": ALLOW})
    replacement, _ = node_filter.forbid({"linux": {"seccomp": given}})
    assert replacement is not None

    def allows(minor: int) -> bool:
        device = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
        conditions = [call["args"][0] for call in replacement["syscalls"]]
        return any(device & condition["value"] == condition["valueTwo"] for condition in conditions)

    assert {allows(minor) for minor in (0, 1, 255, 256, 1 << 19)} == {major != 195}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], NOT_AS_THE_SPEC),
        ({"syscalls": {}}, NOT_AS_THE_SPEC),
        ({"syscalls": [1]}, NOT_AS_THE_SPEC),
        ({"syscalls": [{"names": "mknod", "action": ALLOW}]}, NOT_AS_THE_SPEC),
        (profile(ERRNO, {"names": ["mknod"], "action": ALLOW, "args": [{}]}), OWN_RULES),
        (
            profile(
                ERRNO,
                {"names": ["mknod"], "action": ALLOW},
                {"names": ["mknod"], "action": ERRNO},
            ),
            OWN_RULES,
        ),
        *[
            (given, f"the container's seccomp profile has {action!r} for mknod")
            for action in PASSING
            for given in (
                profile(ERRNO, {"names": ["mknod", "mknodat"], "action": action}),
                profile(action),
            )
        ],
    ],
)
def test_profiles_that_are_left_alone(given: Any, reason: str) -> None:
    assert node_filter.forbid({"linux": {"seccomp": given}}) == (None, reason)
