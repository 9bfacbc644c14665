# SPDX-License-Identifier: Apache-2.0
"""Device programs: what they decide here is what the kernel decides, whoever made them."""

from __future__ import annotations

import struct
from pathlib import Path

import device_groups
import pytest
from device_groups import MAJOR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvidia_runtime.linux import bpf, device_program, device_rules
from nvidia_runtime.linux.control_groups import UNIFIED
from nvidia_runtime.linux.device_program import UnknownError
from nvidia_runtime.linux.device_rules import ANY, Rule, bits, questions

PROGRAMS = Path(__file__).parent / "programs"
REFUSING = device_program.refusing()
EXIT = (0x95, 0, 0, 0)
ASKED = [
    Rule(kind=kind, major=major, minor=minor)
    for kind in "bc"
    for major in (MAJOR, MAJOR + 1)
    for minor in (0, 3)
]
ALLOWING = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)


def rule(text: str) -> Rule:
    """Read a rule as the files of cgroup v1 have it."""
    kind, numbers, access = text.split()
    major, minor = (ANY if one == "*" else int(one) for one in numbers.split(":"))
    return Rule(kind=kind, major=major, minor=minor, access=access)


def instructions(*rows: tuple[int, int, int, int]) -> bytes:
    return b"".join(device_program.INSTRUCTION.pack(*row) for row in rows)


def allowed(program: bytes, text: str) -> str:
    """Return what of a rule's access a program allows."""
    asked = rule(text)
    return "".join(
        letter for letter in asked.access if device_program.allows(program, bits(letter), asked)
    )


def of_systemd(*rules: str) -> bytes:
    """Return what systemd would load for DeviceAllow=, see its bpf-devices.c."""
    rows = [
        *((0x61, 0x12, 0, 0), (0x54, 0x02, 0, 0xFFFF)),
        *((0x61, 0x13, 0, 0), (0x74, 0x03, 0, 16), (0x61, 0x14, 4, 0), (0x61, 0x15, 8, 0)),
    ]
    parts = []
    for one in map(rule, rules):
        tests = [(0x55, 4, one.major)] * (one.major != ANY) + [(0x55, 5, one.minor)] * (
            one.minor != ANY
        )
        steps = [(0x55, 2, device_rules.KINDS[one.kind]), *tests]
        count = len(steps) + 1
        part = [(0xBC, 0x31, 0, 0), (0x54, 0x01, 0, bits(one.access)), (0x5D, 0x31, count, 0)]
        part += [
            (code, register, count - 1 - at, value)
            for at, (code, register, value) in enumerate(steps)
        ]
        parts.append(part)
    left = sum(len(part) + 1 for part in parts)
    for part in parts:
        left -= len(part) + 1
        rows += [*part, (0x05, 0, left + 2, 0)]  # behind the refusal
    rows += [(0xB7, 0, 0, 0), (0x05, 0, 1, 0), (0xB7, 0, 0, 1), EXIT]
    return instructions(*rows)


NODES = ("c 120:0 rwm", "c 120:255 rw", "c 120:255 m", "c 136:* rw", "c 136:* m", "c 1:3 rwm")


def programs() -> dict[str, bytes]:
    """Return programs that allow /dev/nvidia0 (120:0) and /dev/nvidiactl (120:255).

    Those of files are as the kernel showed them of a container.
    """
    own = {path.name: path.read_bytes() for path in PROGRAMS.iterdir()}
    return own | {"systemd": of_systemd(*NODES, "c *:* m", "b *:* m")}


@pytest.mark.parametrize("name", ["crun-1.8.1", "runc-1.1.5", "systemd"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("c 120:0 rwm", "rwm"),
        ("c 120:255 rwm", "rwm"),
        ("c 120:1 rwm", "m"),  # runtimes let all nodes be made
        ("b 120:0 rwm", "m"),
        ("c 1:3 rwm", "rwm"),
        ("c 136:17 rwm", "rwm"),
        ("c 10:229 rw", ""),
    ],
)
def test_programs_of_runtimes(name: str, asked: str, expected: str) -> None:
    program = programs()[name]

    assert allowed(program, asked) == expected


def test_kernel_decides_the_same_of_programs_of_runtimes(tmp_path: Path) -> None:
    asked = [*ASKED, *map(rule, ("c 120:255 rwm", "c 136:17 m", "c 10:299 rwm"))]
    with (
        device_groups.group(UNIFIED) as folder,
        device_groups.opened(folder) as group,
        device_groups.member(folder, tmp_path) as member,
    ):
        for name, program in programs().items():
            with bpf.loaded(program, "nvcr") as descriptor:
                bpf.attach(group, descriptor, bpf.F_ALLOW_MULTI)
                assert bpf.read_descriptor(descriptor).instructions == program, name
                for one in asked:
                    for question in questions(one.access):
                        verdict = device_program.allows(program, question, one)
                        assert verdict == member.may(question, one), name
                bpf.detach(group, descriptor)


def test_rules_in_front_of_a_program_are_added() -> None:
    program = device_program.with_rules(REFUSING, [rule("c 195:0 rw"), rule("b 8:1 r")])

    assert [
        allowed(program, text)
        for text in ("c 195:0 rwm", "b 8:1 rwm", "c 8:1 r", "c 195:1 rwm", "b 195:0 r")
    ] == ["rw", "r", "", "", ""]
    again = device_program.with_rules(program, [rule("c 195:1 rwm")])
    assert [allowed(again, f"c 195:{minor} rwm") for minor in (0, 1, 2)] == ["rw", "rwm", ""]


RULES = st.builds(
    Rule,
    kind=st.sampled_from("bc"),
    major=st.sampled_from((MAJOR, MAJOR + 1)),
    minor=st.integers(0, 3),
    access=st.sampled_from(("r", "w", "m", "rw", "rm", "wm", "rwm")),
)


def test_kernel_decides_the_same(tmp_path: Path) -> None:
    """Of generated rules, by real accesses of a process in a group with the program."""
    with (
        device_groups.group(UNIFIED) as folder,
        device_groups.opened(folder) as group,
        device_groups.member(folder, tmp_path) as member,
    ):

        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        @given(st.lists(RULES, max_size=6), st.sampled_from((REFUSING, ALLOWING)))
        def compare(rules: list[Rule], program: bytes) -> None:
            program = device_program.with_rules(program, rules)
            with bpf.loaded(program, "nvcr") as descriptor:
                bpf.attach(group, descriptor, bpf.F_ALLOW_MULTI)
                shown = bpf.read_descriptor(descriptor).instructions
                try:
                    for asked in ASKED:
                        for question in questions(asked.access):
                            verdict = device_program.allows(program, question, asked)
                            assert verdict == member.may(question, asked)
                            assert shown is not None
                            assert verdict == device_program.allows(shown, question, asked)
                finally:
                    bpf.detach(group, descriptor)

        compare()


LOAD_MINOR = (0x61, 0x10, 8, 0)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([(0x69, 0x10, 0, 0), (0x07, 0, 0, -2), EXIT], False),  # a short load: the type is 2
        ([(0x71, 0x10, 2, 0), (0x54, 0, 0, 4), EXIT], False),  # a byte: the access is not 4
        ([(0x18, 0, 0, 7), (0, 0, 0, 1), (0x77, 0, 0, 32), EXIT], True),
        ([(0xBF, 0x16, 0, 0), (0x61, 0x60, 8, 0), (0x57, 0, 0, 1), EXIT], True),  # r6 = context
        ([LOAD_MINOR, (0x87, 0, 0, 0), (0xC7, 0, 0, 63), (0x67, 0, 0, 1), EXIT], True),
        ([LOAD_MINOR, (0x84, 0, 0, 0), (0xC4, 0, 0, 31), (0x77, 0, 0, 32), EXIT], False),
        ([LOAD_MINOR, (0x65, 0, 1, -1), (0xB7, 0, 0, 0), EXIT], True),
        ([LOAD_MINOR, (0xB7, 0, 0, -1), (0x55, 0, 1, -1), (0xB7, 0, 0, 0), EXIT], False),
        ([LOAD_MINOR, (0xA6, 0, 1, 9), (0xB7, 0, 0, 0), EXIT], True),
        ([LOAD_MINOR, (0x15, 0, 1, 0), (0x05, 0, 1, 0), (0xB7, 0, 0, 0), EXIT], True),
        ([LOAD_MINOR, (0x37, 0, 0, 2), (0x97, 0, 0, 2), EXIT], True),  # 3 / 2 % 2
    ],
    ids=lambda value: "" if isinstance(value, bool) else "-".join(f"{row[0]:02x}" for row in value),
)
def test_instructions(rows: list[tuple[int, int, int, int]], verdict: bool, tmp_path: Path) -> None:
    """What compilers may write; the kernel, where there is one, agrees."""
    asked = Rule(kind="c", major=MAJOR, minor=3, access="r")
    program = instructions(*rows)

    assert device_program.allows(program, bits("r"), asked) == verdict
    # A program of this type must end with 0 or 1, and bit 0 of another is not what counts.
    program = instructions(*rows[:-1], (0x55, 0, 1, 0), (0x95, 0, 0, 0), (0xB7, 0, 0, 1), EXIT)
    with (
        device_groups.group(UNIFIED) as folder,
        device_groups.opened(folder) as group,
        device_groups.member(folder, tmp_path) as member,
        bpf.loaded(program, "nvcr") as descriptor,
    ):
        bpf.attach(group, descriptor, bpf.F_ALLOW_MULTI)
        assert member.may(bits("r"), asked) == verdict


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(0x85, 0, 0, 14), EXIT], "instruction 0 is 0x85"),
        ([(0x79, 0xA0, -8, 0), EXIT], "it reads other memory"),
        ([(0x61, 0x10, 12, 0), EXIT], "it reads other memory"),
        ([(0x07, 1, 0, 4), EXIT], "it counts with an address"),
        ([(0x18, 0x10, 0, 7), (0, 0, 0, 0), EXIT], "instruction 0 is 0x18"),
        ([(0xB7, 0, 0, 1)], "it leaves its end"),
        ([(0x05, 0, -1, 0)], "it does not end"),
        ([(0xBF, 0x10, 8, 0), EXIT], "instruction 0 is 0xbf"),
        ([(0xDC, 0, 0, 16), EXIT], "instruction 0 is 0xdc"),
        ([(0x7B, 0x1A, -8, 0), EXIT], "instruction 0 is 0x7b"),
    ],
)
def test_what_is_not_understood_is_said(rows: list[tuple[int, int, int, int]], says: str) -> None:
    with pytest.raises(UnknownError) as error:
        device_program.allows(instructions(*rows), bits("r"), Rule(kind="c", major=1, minor=3))

    assert str(error.value) == says


@given(st.binary(max_size=400).map(lambda data: data[: len(data) // 8 * 8]))
def test_any_bytes_are_decided_or_not(data: bytes) -> None:
    try:
        device_program.allows(data, bits("r"), Rule(kind="c", major=195, minor=0))
    except UnknownError as error:
        assert str(error)
