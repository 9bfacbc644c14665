# SPDX-License-Identifier: Apache-2.0
"""What a device program decides, and the same program with rules in front; bytes in, bytes out.

A program is asked by running it here.  The instructions are those that the kernel shows of a loaded
one: it does not change how device programs read their context, so they may be loaded again.
Those of runc, crun and systemd read the context, compare and jump; whatever else one does is not
understood.  See Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable, Sequence

from nvidia_runtime.linux.device_rules import KINDS, Rule, bits

INSTRUCTION = struct.Struct("=BBhi")  # operation; source and target; offset; constant
Row = tuple[int, int, int, int]
LOAD_LONG, CALL, EXIT = 0x18, 0x85, 0x95
CLASS, FROM_REGISTER = 0x07, 0x08
LOAD, ARITHMETIC, JUMP, JUMP_32, ARITHMETIC_64 = 1, 4, 5, 6, 7
MEMORY, MOVE = 0x60, 0xB0
NOT_EQUAL = 0x55  # of a register, below 16, and a constant
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
CONTEXT = struct.Struct("=III")  # access and type, major, minor: struct bpf_cgroup_dev_ctx
MOST_STEPS = 100_000
LONG, SHORT = (1 << 64) - 1, (1 << 32) - 1


class UnknownError(ValueError):
    """The program does what is not understood."""


def _signed(value: int, mask: int) -> int:
    return value - mask - 1 if value > mask >> 1 else value


# By the upper four bits of the operation: of two values, and the mask of their width.
RESULTS: dict[int, Callable[[int, int, int], int]] = {
    0x00: lambda one, two, _: one + two,
    0x10: lambda one, two, _: one - two,
    0x20: lambda one, two, _: one * two,
    0x30: lambda one, two, _: one // two if two else 0,
    0x40: lambda one, two, _: one | two,
    0x50: lambda one, two, _: one & two,
    0x60: lambda one, two, mask: one << (two & mask.bit_length() - 1),
    0x70: lambda one, two, mask: one >> (two & mask.bit_length() - 1),
    0x80: lambda one, _, __: -one,
    0x90: lambda one, two, _: one % two if two else one,
    0xA0: lambda one, two, _: one ^ two,
    MOVE: lambda _, two, __: two,
    0xC0: lambda one, two, mask: _signed(one, mask) >> (two & mask.bit_length() - 1),
}
TESTS: dict[int, Callable[[int, int, int], bool]] = {
    0x00: lambda _, __, ___: True,
    0x10: lambda one, two, _: one == two,
    0x20: lambda one, two, _: one > two,
    0x30: lambda one, two, _: one >= two,
    0x40: lambda one, two, _: bool(one & two),
    0x50: lambda one, two, _: one != two,
    0x60: lambda one, two, mask: _signed(one, mask) > _signed(two, mask),
    0x70: lambda one, two, mask: _signed(one, mask) >= _signed(two, mask),
    0xA0: lambda one, two, _: one < two,
    0xB0: lambda one, two, _: one <= two,
    0xC0: lambda one, two, mask: _signed(one, mask) < _signed(two, mask),
    0xD0: lambda one, two, mask: _signed(one, mask) <= _signed(two, mask),
}
ALWAYS = 0x00


def allows(program: bytes, question: int, rule: Rule) -> bool:
    """Whether a program allows an access, as bits, to a rule's device.

    Raises `UnknownError` where that cannot be told.
    """
    rows = _rows(program)
    state = _State(CONTEXT.pack(question << 16 | KINDS[rule.kind], rule.major, rule.minor))
    values, at = state.values, 0
    for _ in range(MOST_STEPS):
        if not 0 <= at < len(rows):
            raise UnknownError("it leaves its end")
        operation, register, offset, constant = rows[at]
        # Nearly all of a program with many rules.
        if operation == NOT_EQUAL and register in values and constant >= 0:
            at += 1 if values[register] == constant else 1 + offset
            continue
        if operation == EXIT:
            return bool(state.value(0, LONG))
        at = _step(state, rows, at)
    raise UnknownError("it does not end")


@functools.lru_cache(maxsize=8)
def _rows(program: bytes) -> list[Row]:
    return list(INSTRUCTION.iter_unpack(program))


class _State:
    """The registers, of which some may point into the context."""

    def __init__(self, context: bytes) -> None:
        self.context = context
        self.values: dict[int, int] = {}
        self.pointers = {1: 0}  # by register, its offset in the context

    def value(self, register: int, mask: int) -> int:
        if register not in self.values:
            raise UnknownError("it counts with an address")
        return self.values[register] & mask

    def set(self, register: int, value: int) -> None:
        self.pointers.pop(register, None)
        self.values[register] = value

    def copy(self, target: int, source: int) -> None:
        if source in self.pointers:
            self.values.pop(target, None)
            self.pointers[target] = self.pointers[source]
        else:
            self.set(target, self.value(source, LONG))

    def load(self, target: int, source: int, offset: int, size: int) -> None:
        at = self.pointers.get(source, -1) + offset
        if source not in self.pointers or not 0 <= at <= len(self.context) - size:
            raise UnknownError("it reads other memory")
        self.set(target, int.from_bytes(self.context[at : at + size], sys.byteorder))


def _step(state: _State, rows: list[Row], at: int) -> int:
    """Do an instruction; return where the next is."""
    operation, registers, offset, constant = rows[at]
    target, source = registers & 15, registers >> 4
    kind, code = operation & CLASS, operation & 0xF0
    if operation == LOAD_LONG and source == 0 and at + 1 < len(rows):
        state.set(target, constant & SHORT | (rows[at + 1][3] & SHORT) << 32)
        return at + 2
    if kind == LOAD and operation & 0xE0 == MEMORY:
        state.load(target, source, offset, SIZES[operation & 0x18])
        return at + 1
    is_wide = kind in (ARITHMETIC_64, JUMP)
    mask = LONG if is_wide else SHORT
    is_counting = kind in (ARITHMETIC, ARITHMETIC_64)
    is_known = code in TESTS if kind in (JUMP, JUMP_32) else is_counting and code in RESULTS
    if not is_known or (is_counting and offset):
        raise UnknownError(f"instruction {at} is {operation:#04x}")
    if (kind, code) == (JUMP_32, ALWAYS):  # a jump with a longer offset
        return at + 1 + constant
    if operation == ARITHMETIC_64 | MOVE | FROM_REGISTER:
        state.copy(target, source)
        return at + 1
    if operation == JUMP | ALWAYS:
        return at + 1 + offset
    two = state.value(source, mask) if operation & FROM_REGISTER else constant & mask
    one = 0 if is_counting and code == MOVE else state.value(target, mask)
    if is_counting:
        state.set(target, RESULTS[code](one, two, mask) & mask)
        return at + 1
    return at + 1 + (offset if TESTS[code](one, two, mask) else 0)


def with_rules(program: bytes, rules: Sequence[Rule]) -> bytes:
    """Return a program that allows what rules say, and of all else what the program says.

    It begins as the program does, with the context in register 1 and nothing in the others.
    """
    rows: list[Row] = [
        (0x61, 0x12, 0, 0),  # r2 = access and type
        (0xBC, 0x23, 0, 0),  # r3 = r2
        (0x74, 0x03, 0, 16),  # r3 >>= 16
        (0x54, 0x02, 0, 0xFFFF),  # r2 &= 0xffff
        (0x61, 0x14, 4, 0),  # r4 = major
        (0x61, 0x15, 8, 0),  # r5 = minor
    ]
    for rule in rules:
        rows += [
            (0x55, 0x02, 5, KINDS[rule.kind]),  # another type: the next rule
            (0x45, 0x03, 4, 7 & ~bits(rule.access)),  # more than the rule allows
            (0x55, 0x04, 3, rule.major),
            (0x55, 0x05, 2, rule.minor),
            (0xB4, 0x00, 0, 1),  # r0 = 1
            (EXIT, 0x00, 0, 0),
        ]
    return b"".join(INSTRUCTION.pack(*row) for row in rows) + program


def refusing() -> bytes:
    """Return the program that allows nothing."""
    return INSTRUCTION.pack(0xB4, 0x00, 0, 0) + INSTRUCTION.pack(EXIT, 0x00, 0, 0)
