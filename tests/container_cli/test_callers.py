# SPDX-License-Identifier: Apache-2.0
"""Programs of users that call nvidia-container-cli: each by the words that it is known to use.

enroot's hook 98-nvidia.sh, Apptainer with --nvccli, and LXC's mount hook configure a root in a user
namespace that they have made, in which they may have the user's own id, not root's.  Charliecloud's
ch-fromhost asks for a list, and copies.  All but one are a user without rights.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import shim
from engines import processes, rootfs

from .conftest import Sites

USER = 4711
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs")
SAME_ID = ("--map-current-user", "--keep-caps")
ROOT = ("--map-root-user",)
# What the caller mounts before; the working directory is the root.
BIND = "mount --make-rslave /; mount --bind . . && cd . && mount -o remount,bind,nosuid,nodev ."
# A new shell stands in what was mounted over the folder.
DEV = "mount --rbind /dev dev; mount --rbind /proc proc"
# As with ENROOT_RESTRICT_DEV, and in LXC.
OWN_DEV = "mount -t tmpfs -o nosuid,noexec,mode=755 none dev; mount --rbind /proc proc"
OVERLAY = """
mount --make-rslave /; mount -t tmpfs none /mnt; mkdir /mnt/upper /mnt/work
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work,userxattr" none "$1"
"""
# The words are the root, the mounts, and the call.
RUN = """
root=$1 mounts=$2
shift 2
cd "$root" && eval "$(printf '%s' "$mounts" | sed "s|[$]1|$root|g")" && cd "$root" || exit 125
"$@" >"$XDG_RUNTIME_DIR/log" 2>&1 || { cat "$XDG_RUNTIME_DIR/log" >&2; exit 1; }
exec chroot "$root" /bin/sh -c "$LOOK"
"""
# Nodes with what opening them says; files that are mounted read-only; the loader's cache.
LOOK = """
PATH=/bin
for node in $(find /dev -maxdepth 1 -name 'nvidia*' -type c | busybox sort); do
  said=$( (: <"$node") 2>&1); echo "$node ${said##*: }"
done
for name in bin/nvidia-smi lib/x86_64-linux-gnu/libcuda.so lib/x86_64-linux-gnu/libEGL_nvidia.so.0
do
  file=$(busybox readlink -f "/usr/$name")
  ! busybox grep -q " $file ro," /proc/self/mountinfo || echo "${name##*/}"
done
busybox strings /etc/ld.so.cache | busybox grep -c '/libnvidia-ml.so.1$'
"""
OPENED = "No such device or address"
# What this machine lacks.
NO_32 = "nvidia-container-cli: the container asks for compat32 and gets no 32-bit libraries"
SMI, CUDA, EGL = "nvidia-smi", "libcuda.so", "libEGL_nvidia.so.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A program: its user namespace, its mounts, its words, and what its container has then.

    Without a user namespace it is root.
    """

    space: tuple[str, ...]
    mounts: str
    words: str
    files: tuple[str, ...]


CALLERS = {
    "enroot": Caller(
        space=SAME_ID,
        mounts=f"{BIND}; {DEV}",
        words="--user configure --no-cgroups --ldconfig=@/usr/sbin/ldconfig --device=all --utility",
        files=(SMI,),
    ),
    "enroot, an image of CUDA's": Caller(
        space=SAME_ID,
        mounts=f"{BIND}; {OWN_DEV}",
        words="--user --debug=/dev/stderr configure --no-cgroups --ldconfig=@/usr/sbin/ldconfig"
        " --device=0 --compute --utility --require=cuda>=11.0",
        files=(SMI, CUDA),
    ),
    "enroot --root, all capabilities": Caller(
        space=ROOT,
        mounts=f"{BIND}; {OWN_DEV}",
        words="--user configure --no-cgroups --ldconfig=@/usr/sbin/ldconfig --device=all"
        " --compute --compat32 --display --graphics --utility --video",
        files=(SMI, CUDA, EGL),
    ),
    "apptainer": Caller(
        space=SAME_ID,
        mounts=f"{OVERLAY} {DEV}",
        words="--user configure --no-cgroups --device=all --compute --utility"
        " --ldconfig=@/sbin/ldconfig",
        files=(SMI, CUDA),
    ),
    "apptainer --fakeroot": Caller(
        space=ROOT,
        mounts=f"{OVERLAY} {OWN_DEV}",
        words="--user configure --no-cgroups --device=0 --compute --compat32 --graphics --utility"
        " --video --display --require=cuda>=11.0 --ldconfig=@/sbin/ldconfig",
        files=(SMI, CUDA, EGL),
    ),
    # Installed setuid it calls as root, outside of user namespaces.
    "apptainer, setuid": Caller(
        space=(),
        mounts=f"{OVERLAY} {OWN_DEV}",
        words="configure --no-cgroups --device=all --compute --utility --ldconfig=@/sbin/ldconfig",
        files=(SMI, CUDA),
    ),
    "lxc": Caller(
        space=ROOT,
        mounts=f"{BIND}; {OWN_DEV}",
        words="--user configure --no-cgroups --ldconfig=@/sbin/ldconfig --device=all --compute"
        " --utility --video",
        files=(SMI, CUDA),
    ),
}


@pytest.fixture
def root(sites: Sites, busybox: str) -> Path:
    """Make a root of the user's, beside a folder for what a session has."""
    folder = sites("t4x1").scratch / "callers"
    shutil.rmtree(folder, ignore_errors=True)
    rootfs.build(folder / "root", busybox)
    (folder / "run").mkdir()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    return folder / "root"


def environment(root: Path) -> tuple[str, ...]:
    """Return the words that give a command a user's environment."""
    variables = f"HOME={root}", f"XDG_RUNTIME_DIR={root.parent}/run", f"LOOK={LOOK}"
    return ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *variables)


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
def test_root_that_its_caller_has_made(caller: Caller, sites: Sites, root: Path) -> None:
    user = (*AS_USER, "unshare", "--user", *caller.space) if caller.space else ("unshare",)
    space = (*user, "--mount", "sh", "-uc", RUN, "sh")
    call = (os.fspath(shim.BIN / "nvidia-container-cli"), *caller.words.split(), os.fspath(root))
    words = (*space, os.fspath(root), caller.mounts, *call)

    done = processes.run((*sites("t4x1").enter, *environment(root), *words))

    assert done.returncode == 0, done.stderr
    said = (root.parent / "run/log").read_text().splitlines()
    log = [line for line in said if not line.startswith(NO_32)]
    assert bool(log) == ("--debug" in caller.words), log
    *lines, cached = done.stdout.splitlines()
    opened = {line.split()[0] for line in lines if line.endswith(OPENED)}
    assert {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"} <= opened
    assert [line for line in lines if line[0] != "/"] == list(caller.files)
    assert cached == "1"


def test_charliecloud_copies_what_is_listed(sites: Sites, root: Path) -> None:
    """`ch-fromhost --nvidia`: programs go where they are on the host, libraries to one folder."""
    script = f"""
    {shim.BIN}/nvidia-container-cli list --binaries --libraries | while read -r path; do
      case $path in
        */bin/*) mkdir -p ".${{path%/*}}" && cp "$path" ".$path" ;;
        *) mkdir -p lib && cp "$path" lib ;;
      esac || exit
    done
    """
    words = (*AS_USER, "sh", "-euc", f"cd {root}; {script}")

    done = processes.run((*sites("t4x1").enter, *environment(root), *words))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (root / "usr/bin/nvidia-smi").stat().st_uid == USER
    assert (root / "lib/libcuda.so.580.95.05").stat().st_uid == USER
