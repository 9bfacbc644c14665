# SPDX-License-Identifier: Apache-2.0
"""The ways in which an attack is tried: by the hook itself, and by a create through the runtime.

Every process has a limit of time, and the hook of memory; a create sees a /run of its own, so that
nothing is left on the host.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nvidia_runtime.selftest.stage import ENVIRONMENT, Stage
from nvidia_runtime.selftest.stage import NOBODY as A_USER

HOOK, RUNTIME = "nvidia-cdi-hook", "nvidia-container-runtime"
# Instead of a low-level runtime: what is prepared on the host is there without a container.
NOBODY = "/bin/true"
MOST_MEMORY = 512 << 20
MOST_WRITTEN = 64 << 20
# crun refuses a machine with both versions of control groups; util-linux is everywhere.
PRIVATE = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
# As a rootless engine: root in a namespace of a user's.
ROOTLESS = (
    *("setpriv", f"--reuid={A_USER}", f"--regid={A_USER}", "--clear-groups"),
    *("unshare", "--user", "--map-root-user", *PRIVATE[1:]),
)
CREATE = """
mount -t tmpfs none /run || exit 125
[ ! -d /sys/fs/cgroup/unified ] || [ "$1" = /bin/true ] || umount /sys/fs/cgroup/unified || exit 125
runtime=$1 id=$2 root=$3
shift 3
"$@"
code=$?
"$runtime" --root "$root" delete --force "$id" >/dev/null 2>&1
exit $code
"""
# Leases of files that are never given back: who opens one waits for 45 seconds.
LEASES = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
for path in sys.argv[1:]:
    fcntl.fcntl(os.open(path, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
sys.stdin.read()
"""
# A longer variable is one that the kernel passes to no program.
LONGEST = 128 << 10


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the last process: its exit code, its output, and whether it had to be killed."""

    code: int
    said: str
    is_late: bool = False


def by_hook(folder: str, stage: Stage) -> Ended:
    """Make the attack's calls of the hook in ``folder``, up to the first that fails.

    The environment is the image's, as runc before 1.3 passes it to a hook without one; but the
    loader's variables act before any program, so only the hook's ``env`` can keep those out.
    """
    given = environment(stage)
    ended = Ended(0, "")
    for call in stage.attack.calls:
        words = [f"{folder}/{HOOK}", *stage.words(call)]
        ended = _run(words, stage, env=given or ENVIRONMENT, data=stage.state(), limit=_limit)
        if ended.code or ended.is_late:
            break
    return ended


def by_create(
    folder: str, runtime: str, hooks: str, stage: Stage, enter: tuple[str, ...] = PRIVATE
) -> Ended:
    """Create the attack's container with our runtime in ``folder`` above another, and delete it.

    ``hooks`` is the value of the setting in-container-hooks, ``enter`` what it is run by.
    """
    settings = stage.write_settings(runtime, f"{folder}/{HOOK}", hooks)
    # The control group has the container's name: two runs at a time must not share one.
    name = f"selftest-{stage.folder.parent.name}-{stage.folder.name}"
    state = f"{stage.folder}/state"
    words = [*enter, CREATE, "sh", runtime, name, state]
    words += [f"{folder}/{RUNTIME}", "--root", state, "create", "--bundle", f"{stage.bundle}", name]
    env = {**ENVIRONMENT, "NVIDIA_CTK_CONFIG_FILE_PATH": f"{settings}"}
    return _run(words, stage, env=env)


def complaints(stage: Stage, ended: Ended, wanted: int) -> list[str]:
    """Say what is wrong with the end of an attack; nothing if it was defeated."""
    said = []
    if ended.is_late:
        said.append(f"did not end within {stage.attack.seconds:.0f} seconds")
    elif ended.code not in ((0, 1) if wanted < 0 else (wanted,)):
        said.append(f"exit code {ended.code}, not {wanted}: {ended.said.strip()[-400:]}")
    elif ended.code and not is_ours(ended.said):
        said.append(f"the error is not one of ours: {ended.said.strip()[-400:]}")
    if "Traceback" in ended.said or "internal error" in ended.said:
        said.append(f"the error is not a sentence: {ended.said.strip()[-400:]}")
    return said + stage.complaints()


def is_ours(said: str) -> bool:
    """Whether an error is from one of our programs, or from the runtime about our hook."""
    return HOOK in said or RUNTIME in said or "hook" in said


def environment(stage: Stage) -> dict[str, str]:
    """Return the image's variables as a program can be given them."""
    entries = [entry for entry in stage.attack.env if entry[:3] != "LD_" and len(entry) < LONGEST]
    return dict(entry.split("=", 1) for entry in entries)


@contextmanager
def leases(stage: Stage) -> Iterator[None]:
    """Let another process hold the leases that an attack names, where the file system has any."""
    if not stage.attack.leased:
        yield
        return
    words = [
        sys.executable,
        "-IS",
        "-c",
        LEASES,
        *(f"{stage.root}{p}" for p in stage.attack.leased),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as holder:
        if holder.stdout:
            holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))


def _run(
    words: list[str],
    stage: Stage,
    *,
    env: dict[str, str],
    data: bytes = b"",
    limit: Callable[[], None] | None = None,
) -> Ended:
    """Run a program in the container's root, where hooks are called."""
    log = stage.folder / "said"
    with (
        leases(stage),
        log.open("wb") as said,
        subprocess.Popen(
            words,
            cwd=stage.root,
            env=env,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            preexec_fn=limit,  # noqa: PLW1509 (no threads here)
        ) as process,
    ):
        try:
            process.communicate(data, timeout=stage.attack.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return Ended(-1, "", is_late=True)
    return Ended(process.returncode, log.read_text("utf-8", "backslashreplace"))
