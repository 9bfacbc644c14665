# SPDX-License-Identifier: Apache-2.0
"""A node of a cluster: a Debian of its own with its containerd, on a simulated machine.

It has mount, process and network namespaces, and all of its files but the control groups are in
memory: what happens on it ends with it.  Instead of systemd, a shell is its first process, which
starts containerd again whenever it ends.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import debians
import demo_container
import pytest
import simulated
import waiting
from engines import cri, installed, processes, rootfs
from installer.node import contents

from nvidia_runtime.simulate import catalogue, programs
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File

# A Debian's packages for this purpose.
PACKAGES = ("containerd", "containernetworking-plugins")
SUITES = {"bookworm": (1, 6), "trixie": (1, 7), "sid": (2, 1)}
SOCKET = "/run/containerd/containerd.sock"
CONFIG = "/etc/containerd/config.toml"
QUERY = "/bin/deviceQuery"  # in the image of pods
CRI_SECTION = '[plugins."io.containerd.grpc.v1.cri"]\n'
# Without the right to lower it, which tests may lack.
SETTING = "    restrict_oom_score_adj = true\n"
NETWORK = {
    "cniVersion": "0.4.0",
    "name": "node",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": "10.88.0.0/16"}]],
            },
        }
    ],
}
START = (
    *("unshare", "--mount", "--propagation=private", "--pid", "--net", "--mount-proc"),
    *("--fork", "--kill-child"),
)
# The words are a folder for a tmpfs, the Debian, its own files, the driver's, and where these go.
SCRIPT = """
stage=$1 debian=$2 own=$3 driver=$4 root=$5
ip link set lo up
mount -t tmpfs -o mode=755 node "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
mount -t overlay -o "lowerdir=$debian,upperdir=$stage/upper,workdir=$stage/work" overlay "$stage/root"
mkdir -p "$stage/root/var/lib/containerd"
for place in dev run tmp var/lib/containerd; do mount -t tmpfs -o mode=755 tmpfs "$stage/root/$place"; done
mkdir -p "$stage/root$root"
tar -C "$own" -c . | tar -C "$stage/root" -x --keep-directory-symlink
tar -C "$driver" -c . | tar -C "$stage/root$root" -x --keep-directory-symlink
cd "$stage/root"
for name in null zero full random urandom tty; do cp -a "/dev/$name" dev/; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for place in proc sys; do mount --rbind "/$place" "$place"; done
pivot_root . mnt
umount -l mnt
mount --make-rshared /
hash -r
: >/run/here
while :; do
  env --default-signal=HUP,INT containerd >>/run/containerd.log 2>&1 || :
  echo >>/run/containerd.ends
  while [ -e /run/hold ]; do sleep 0.1; done
done
"""
# Not looked at: what belongs to the kernel, and what the engine keeps of images and pods.
LEFT_OUT = ("proc", "sys", "dev/pts", "dev/shm", "run", "tmp", "var/lib/containerd", "var/lib/cni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that is up; ``pid`` is that of its first process."""

    suite: str
    machine: SimulatedMachine
    pid: int
    service: cri.Cri

    @property
    def version(self) -> tuple[int, int]:
        """The version of its containerd."""
        return SUITES[self.suite]

    def path(self, path: str) -> Path:
        """Return a file of the node as this process reaches it."""
        return Path(f"/proc/{self.pid}/root/{path.lstrip('/')}")

    @property
    def enter(self) -> tuple[str, ...]:
        """The words that go before a command to run it on the node."""
        namespaces = ("--mount", "--pid", "--net", "--root", "--wd")
        return ("nsenter", f"--target={self.pid}", *namespaces, "--")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program on the node."""
        return processes.run([*self.enter, *words])

    def succeed(self, *words: str) -> str:
        """Run a program that must exit with 0; return its standard output."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def starts(self) -> int:
        """Count how often containerd has ended, and was started again."""
        file = self.path("/run/containerd.ends")
        return file.read_text().count("\n") if file.exists() else 0

    def listen(self) -> None:
        """Wait until containerd answers a kubelet."""
        waiting.eventually(self.service.is_there, "containerd answers")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have containerd not start again where it ends."""
        file = self.path("/run/hold")
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    def load(self, archive: Path, name: str) -> None:
        """Put an image into the engine; its name is that in the archive, or begins with this one."""
        there = self.path(f"/tmp/{archive.name}")
        shutil.copy(archive, there)
        local = ["--local"] if self.version >= (2,) else []
        words = ("ctr", "--namespace=k8s.io", "images", "import", *local, f"--base-name={name}")
        self.succeed(*words, f"/tmp/{archive.name}")
        there.unlink()

    def listing(self) -> dict[str, str]:
        """List all files of its root: mode, owner, target or digest."""
        return contents(self.path("/"), LEFT_OUT)


@contextmanager
def up(
    suite: str, machine: str, scratch: Path, group: str, driver_root: str = "/"
) -> Iterator[Node]:
    """Keep a node, with an image for its pods."""
    try:
        debian = debians.root("nodes", suite, PACKAGES)
    except (SystemExit, subprocess.CalledProcessError) as error:
        pytest.skip(f"{suite} cannot be made: {error}")
    own = files(debian, scratch / "own", catalogue.find(machine))
    (scratch / "stage").mkdir()
    words = (SCRIPT, "node", scratch / "stage", debian, own, scratch / "driver", driver_root)
    inside = simulated.words(machine, ["sh", "-euc", *words], root_only=scratch / "driver")
    holder = subprocess.Popen(
        [*START, *inside], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/"
    )
    pid = 0
    try:
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        waiting.eventually(children.read_text, "the node has a process", holder)
        pid = int(children.read_text())
        here = Path(f"/proc/{pid}/root/run/here")
        waiting.eventually(here.exists, "the node is there", holder)
        socket = Path(f"/proc/{pid}/root{SOCKET}")
        service = cri.Cri(socket=socket, image=rootfs.IMAGE, group=group, logs=Path("/run/log"))
        node = Node(suite=suite, machine=catalogue.find(machine), pid=pid, service=service)
        node.listen()
        for file, name in (("own-image.tar", rootfs.IMAGE), ("own-pause.tar", pause(debian))):
            node.load(scratch / file, name.rpartition(":")[0])
        yield node
    finally:
        holder.kill()
        holder.communicate()
        # The last of its processes that goes.
        waiting.eventually(lambda: not pid or not waiting.is_alive(pid), "the node has gone")


def files(debian: Path, folder: Path, machine: SimulatedMachine) -> Path:
    """Write the files that this node has and its Debian has not; its images beside them."""
    (folder / "etc/containerd").mkdir(parents=True)
    text = (debian / CONFIG[1:]).read_text()
    assert text.count(CRI_SECTION) == 1
    (folder / CONFIG[1:]).write_text(text.replace(CRI_SECTION, CRI_SECTION + SETTING))
    (folder / "etc/cni/net.d").mkdir(parents=True)
    (folder / "etc/cni/net.d/10-node.conflist").write_text(json.dumps(NETWORK))
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    root = folder.with_name("rootfs")
    rootfs.build(root, installed.require("busybox"))
    add_programs(root, machine)
    rootfs.archive(root, folder.with_name("own-image.tar"))
    command = ("/bin/sleep", "10000")
    rootfs.archive(root, folder.with_name("own-pause.tar"), name=pause(debian), command=command)
    return folder


def add_programs(root: Path, machine: SimulatedMachine) -> None:
    """Add a user's program to an image, and the C library for it and the driver's programs."""
    file = programs.tree(machine)[programs.DEVICE_QUERY]
    assert isinstance(file, File)
    program = root / QUERY[1:]
    program.write_bytes(file.data)
    program.chmod(file.mode)
    for library in demo_container.libraries(str(program)):
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)


def pause(debian: Path) -> str:
    """Return the name of the image that a containerd starts each pod with."""
    said = processes.succeed(["chroot", str(debian), "containerd", "config", "dump"])
    (name,) = re.findall(r"^ *sandbox(?:_image)? = ['\"](.+)['\"]$", said, re.MULTILINE)
    return str(name)
