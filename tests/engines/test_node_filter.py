# SPDX-License-Identifier: Apache-2.0
"""The seccomp filter against nodes of NVIDIA's GPUs, in real containers that may make nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from nvidia_runtime.prepare import node_filter

from . import processes
from .bundles import Bundles

TRIES = """
for node in "n1 c 195 7" "n2 c 195 255" "n3 c 194 0" "n4 c 196 0" "n5 c 1 3" "n6 p" "n7 c 451 0"; do
  mknod /dev/$node 2>/dev/null && echo "made $node" || echo "refused $node"
done
"""
OTHERS = ["made n3 c 194 0", "made n4 c 196 0", "made n5 c 1 3", "made n6 p", "made n7 c 451 0"]
ALLOW = "SCMP_ACT_ALLOW"
OURS = ["n1 c 195 7", "n2 c 195 255"]
# As docker has it: what is not named is refused.
USUAL = [
    *("access", "arch_prctl", "brk", "capget", "capset", "chdir", "clone", "clone3", "close"),
    *("dup2", "dup3", "execve", "exit", "exit_group", "fchown", "fcntl", "fork", "fstat"),
    *("fstatfs", "futex", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpid"),
    *("getppid", "getpgrp", "getrandom", "gettid", "getuid", "ioctl", "lseek", "lstat", "mkdir"),
    *("mmap", "mprotect", "munmap", "newfstatat", "open", "openat", "pipe", "pipe2", "poll"),
    *("prctl", "prlimit64", "pread64", "read", "readlink", "readlinkat", "rseq", "rt_sigaction"),
    *("rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "set_robust_list", "set_tid_address"),
    *("setgid", "setgroups", "setpgid", "setuid", "sigaltstack", "stat", "statfs", "statx"),
    *("tgkill", "umask", "uname", "unlink", "vfork", "wait4", "write", "writev", "faccessat"),
    *("faccessat2", "epoll_ctl", "epoll_pwait", "epoll_create1", "nanosleep", "sched_yield"),
    *(
        "mknod",
        "mknodat",
        "sched_getaffinity",
        "setresgid",
        "setresuid",
        "madvise",
        "chmod",
        "fchmod",
        "fchmodat",
    ),
]
DOCKERS = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": USUAL, "action": "SCMP_ACT_ALLOW"}],
}


@pytest.fixture(params=["runc_v1", "runc_v2", "crun_v1"])
def bundles(request: pytest.FixtureRequest) -> Iterator[Bundles]:
    live: Bundles = request.getfixturevalue(f"live_{request.param}")
    yield live
    live.clean()


def tries(bundles: Bundles, change: dict[str, Any]) -> list[str]:
    """Run a container that tries to make nodes; ``change`` goes into its linux section."""
    bundle = bundles.bundle(("sh", "-c", TRIES), None)
    document = json.loads((bundle / "config.json").read_text())
    document["linux"] |= change
    (bundle / "config.json").write_text(json.dumps(document))
    words = [*bundles.words(bundles.runtime), "run", "--bundle", os.fspath(bundle), bundle.name]
    done = processes.run(words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("profile", [None, DOCKERS], ids=["no profile", "docker's"])
def test_filter(profile: dict[str, Any] | None, bundles: Bundles) -> None:
    """Without it, all nodes can be made: so the test shows what the filter does."""
    before = {"seccomp": profile} if profile else {}
    rules, reason = node_filter.forbid({"linux": before})
    assert (rules is None, reason) == (False, "")

    assert tries(bundles, before) == [*[f"made {node}" for node in OURS], *OTHERS]
    assert tries(bundles, {"seccomp": rules}) == [*[f"refused {node}" for node in OURS], *OTHERS]


@pytest.mark.parametrize("action", ["SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_profile_that_does_not_refuse_leaves_the_hook(action: str, bundles: Bundles) -> None:
    """Whoever takes these for refusals adds no rule, and drops the hook."""
    logging = [
        {"names": [name for name in USUAL if name not in node_filter.CALLS], "action": ALLOW},
        {"names": [*node_filter.CALLS], "action": action},
    ]
    profile = {**DOCKERS, "syscalls": logging}
    rewritten, reason = node_filter.forbid({"linux": {"seccomp": profile}})
    assert (rewritten, reason) == (
        None,
        f"the container's seccomp profile has '{action}' for mknod",
    )

    if action == "SCMP_ACT_LOG":  # TRACE needs somebody who traces
        assert tries(bundles, {"seccomp": profile}) == [*[f"made {node}" for node in OURS], *OTHERS]
