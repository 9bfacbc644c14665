# SPDX-License-Identifier: Apache-2.0
"""A seccomp filter against device nodes of NVIDIA's GPUs, in the place of a hook.

mknod(2) of character major 195 fails with EPERM; every other node, and FIFOs, can still be made.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

MAJOR = 195
# A dev_t as the system call takes it has the major number in bits 8 to 19, see kdev_t.h.
SHIFT, MASK = 8, 0xFFF00
WANTED = MAJOR << SHIFT
# The argument that is the dev_t.
CALLS = {"mknod": 2, "mknodat": 3}
EPERM = 1
# A filter of the machine's own architecture alone would kill programs of its other ones.
ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
# LOG and TRACE let a call pass, NOTIFY may.
REFUSING = tuple(
    f"SCMP_ACT_{name}" for name in ("ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP")
)
ALLOW, ERRNO, EQUAL = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_CMP_MASKED_EQ"


def forbid(spec: "Document") -> "tuple[Document | None, str]":
    """Return the container's filter with these nodes forbidden, or ``None`` and why not."""
    linux = spec.get("linux")
    profile = linux.get("seccomp") if type(linux) is dict else None
    if profile is None:
        machine = posix.uname().machine
        if machine not in ARCHITECTURES:
            return None, f"the architectures of {machine} are not known"
        base: "Document" = {"defaultAction": ALLOW, "architectures": ARCHITECTURES[machine]}
        return {**base, "syscalls": [_refuse(name) for name in CALLS]}, ""
    calls = profile.get("syscalls", []) if type(profile) is dict else None
    if type(calls) is not list or not all(map(_is_rule, calls)):
        return None, "the container's seccomp profile is not as the runtime-spec has it"
    rules = {name: [call for call in calls if name in call["names"]] for name in CALLS}
    if any(len(own) > 1 or (own and own[0].get("args")) for own in rules.values()):
        return None, "the container's seccomp profile has rules for mknod of its own"
    default = profile.get("defaultAction")
    added: "list[Document]" = []
    for name, own in rules.items():
        action = own[0]["action"] if own else default
        if action in REFUSING:
            added += [{**call, "names": [name]} for call in own]
        elif action != ALLOW:
            return None, f"the container's seccomp profile has {action!r} for {name}"
        elif default == ALLOW:
            added.append(_refuse(name))
        else:
            added += _allow_others(name)
    kept = [_without(call) for call in calls]
    return {**profile, "syscalls": [call for call in kept if call["names"]] + added}, ""


def _is_rule(call: object) -> bool:
    return type(call) is dict and type(call.get("names")) is list and "action" in call


def _without(call: "Document") -> "Document":
    return {**call, "names": [name for name in call["names"] if name not in CALLS]}


def _refuse(name: str) -> "Document":
    """Return the rule that refuses a call for our major number."""
    condition = {"index": CALLS[name], "value": MASK, "valueTwo": WANTED, "op": EQUAL}
    return {"names": [name], "action": ERRNO, "errnoRet": EPERM, "args": [condition]}


def _allow_others(name: str) -> "list[Document]":
    """Return rules that allow a call for all other majors: a bit of the number differs."""
    rules: "list[Document]" = []
    for number in range(SHIFT, 20):
        bit = 1 << number
        condition = {"index": CALLS[name], "value": bit, "valueTwo": bit & ~WANTED, "op": EQUAL}
        rules.append({"names": [name], "action": ALLOW, "args": [condition]})
    return rules
