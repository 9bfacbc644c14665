# SPDX-License-Identifier: Apache-2.0
"""``docker run --gpus`` where runc or crun is the runtime: our hook, and nothing of NVIDIA's but the
driver, on a simulated machine.

Each container is compared with one of our runtime in its default mode: it has the same nodes, files
and links, and the same mounts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from distributions.site import Site, hold

from . import cgroups, docker, processes
from .installed import require
from .machine import Machine
from .places import note
from .rootfs import IMAGE

MACHINE = "a100x8mig"
HOOK = "nvidia-container-runtime-hook"
# Of files the sums, of nodes the numbers, of links the targets; then the mounts, who we are, and
# what opening the nodes answers: that there is no driver, not that it is forbidden.
LOOK = r"""
b=/bin/busybox
$b find / \( -path /proc -o -path /sys \) -prune -o ! -type d -print | $b sort | while read -r path; do
  case $path in /etc/host* | /etc/resolv.conf | /dev/pts/* | /.dockerenv) continue ;; esac
  $b printf '%s %s ' "$($b stat -c '%F %t:%T %a %u:%g' "$path")" "$path"
  if [ -h "$path" ]; then $b readlink "$path"
  elif [ -f "$path" ]; then $b md5sum <"$path"
  else echo; fi
done
$b awk '$5 !~ "^/etc/" { print "mount", $4, $5, $6 }' /proc/self/mountinfo | $b grep -i nvidia | $b sort
$b cat /proc/driver/nvidia/params
$b awk '$1 == "CapEff:"' /proc/self/status
for node in /dev/nvidia*[0-9l] /dev/nvidia-caps/*; do
  [ ! -c "$node" ] || $b cat "$node" 2>&1
done
exit 0
"""
EVERY = "utility,compute,video,graphics,display,ngx"
# The words of the user, and what our runtime is asked for in their place.
ASKED = {
    "all": (["--gpus=all"], "all", EVERY),
    "two": (["--gpus=2"], "0,1", EVERY),
    "one": (["--gpus=device=5"], "5", EVERY),
    "of MIG": (["--gpus=device=1:0"], "1:0", EVERY),
    "utility": (['--gpus="device=4","capabilities=utility"'], "4", "utility"),
    "video": (['--gpus="device=4","capabilities=video"'], "4", "video"),
    "read only": (["--gpus=device=5", "--read-only"], "5", EVERY),
    "a right more": (["--gpus=device=5", "--cap-add=SYS_ADMIN"], "5", EVERY),
}
ORDINARY = ("all", "of MIG")
WAYS = [
    pytest.param(view, runtime, name, marks=() if is_ordinary else pytest.mark.long)
    for view in ("v1", "v2")
    for runtime in ("runc", "crun")
    for name in ASKED
    for is_ordinary in [view == "v1" and runtime == "runc" and name in ORDINARY]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockers:
    """Daemons on the machine that know --gpus, started when they are first asked for."""

    site: Site
    image: Path
    group: str
    shim: Path
    stack: ExitStack
    runtimes: dict[str, str] = field(default_factory=dict)

    def runtime(self, low_level: str) -> str:
        """Return our runtime over another one; it heeds capabilities, as the hook does."""
        if low_level not in self.runtimes:
            runtime = self.site.runtime(low_level, require(low_level))
            with (runtime.path.parent / "config.toml").open("a") as file:
                file.write('modes.jit-cdi.driver-capabilities = "requested"\n')
            self.runtimes[low_level] = os.fspath(runtime.path)
        return self.runtimes[low_level]

    def client(self, view: str, **more: object) -> tuple[str, ...]:
        """Return the client's words of a daemon in a view of the control groups."""
        folder = self.site.scratch / "-".join([view, *more])
        if folder.exists():
            return docker.client_of(folder)
        folder.mkdir()
        settings = docker.settings(folder, containerd=Path(), group=self.group)
        del settings["containerd"]
        runtimes = {"crun": require("crun")}
        for program in ("runc", "crun"):
            runtimes[f"nvidia-{program}"] = self.runtime(program)
        settings["runtimes"] = {name: {"path": os.fspath(path)} for name, path in runtimes.items()}
        file = folder / "daemon.json"
        file.write_text(json.dumps({**settings, **more}))
        env = {**os.environ, "PATH": f"{self.shim.parent}:{os.environ['PATH']}"}
        enter = (*self.site.enter, *cgroups.enter(view, "crun"))
        client = self.stack.enter_context(docker.daemon_on(file, env=env, enter=enter))
        processes.succeed([*client, "load", "--input", os.fspath(self.image)])
        return client


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    """Keep a machine with MIG devices and whole GPUs."""
    with hold(MACHINE, machine.scratch / "by-hook", machine.shim) as held:
        yield held


@pytest.fixture(scope="module")
def dockers(site: Site, image: Path, group: str, machine: Machine) -> Iterator[Dockers]:
    """Return the daemons; they end with the tests of this module."""
    for program in ("dockerd", "docker", "runc"):
        require(program)
    with ExitStack() as stack:
        yield Dockers(site=site, image=image, group=group, shim=machine.shim, stack=stack)


def run(client: tuple[str, ...], *words: str, look: str = LOOK) -> str:
    """Return what a container says of itself."""
    start = (*client, "run", "--rm", "--network=none", *words)
    return processes.succeed([*start, IMAGE, "/bin/busybox", "sh", "-c", look])


def begin(dockers: Dockers, view: str, runtime: str, **more: object) -> tuple[str, ...]:
    """Return the client's words where containers of the runtime start at all."""
    if why := cgroups.missing(view):
        pytest.skip(why)
    client = dockers.client(view, **more)
    words = (*client, "run", "--rm", "--network=none", f"--runtime={runtime}", IMAGE, "true")
    alone = processes.run(words)
    if alone.returncode != 0:
        pytest.skip(f"docker alone starts nothing by {runtime} on cgroup {view}: {alone.stderr}")
    return client


def by_runtime(
    client: tuple[str, ...], runtime: str, asked: str, capabilities: str, *words: str
) -> str:
    """Return what a container of our runtime says, in its default mode."""
    variables = {"NVIDIA_VISIBLE_DEVICES": asked, "NVIDIA_DRIVER_CAPABILITIES": capabilities}
    env = [f"--env={name}={value}" for name, value in variables.items()]
    return run(client, f"--runtime={runtime}", *env, *words)


@pytest.mark.parametrize(("view", "runtime", "name"), WAYS)
def test_container_is_as_of_the_default_mode(
    view: str, runtime: str, name: str, dockers: Dockers
) -> None:
    words, asked, capabilities = ASKED[name]
    client = begin(dockers, view, runtime)
    expected = by_runtime(client, f"nvidia-{runtime}", asked, capabilities, *words[1:])
    env = f"--env=NVIDIA_DRIVER_CAPABILITIES={capabilities}"
    own = () if "capabilities" in words[0] else (env,)

    seen = run(client, f"--runtime={runtime}", *own, *words)

    assert seen.splitlines() == expected.splitlines()
    assert re.search(r"character special file .* /dev/nvidia\d", seen)
    assert "/dev/nvidiactl': No such device" in seen
    if (runtime, name) == ("runc", "all"):
        note("docker-gpus-runc", "works")


REMAPPED = [
    pytest.param(view, runtime, marks=pytest.mark.long)
    for view in ("v1", "v2")
    for runtime in ("runc", "crun")
]


@pytest.mark.parametrize(("view", "runtime"), REMAPPED)
def test_container_of_a_user_namespace(
    view: str, runtime: str, site: Site, dockers: Dockers
) -> None:
    """Its root belongs to another user, and no node can be made there: each is mounted.

    runc and crun mount nodes as they like, and crun forgets what a mount should forbid.
    """
    for name in ("subuid", "subgid"):
        site.path(f"/etc/{name}").write_text("nobody:200000:65536\nnogroup:200000:65536\n")
    client = begin(dockers, view, runtime, **{"userns-remap": "nobody:nogroup"})
    expected = by_runtime(client, f"nvidia-{runtime}", "5", EVERY)

    env = f"--env=NVIDIA_DRIVER_CAPABILITIES={EVERY}"
    seen = run(client, f"--runtime={runtime}", env, "--gpus=device=5")

    assert without_owners(seen) == without_owners(expected)
    assert "/dev/nvidiactl': No such device" in seen


def without_owners(seen: str) -> list[str]:
    """Return what a container says, of nodes the path and the numbers, of mounts rw or ro."""
    lines = [line for line in seen.splitlines() if not re.match(r"mount \S+ /dev/", line)]
    lines = [re.sub(r"^(mount \S+ \S+ r[ow]).*", r"\1", line) for line in lines]
    return [re.sub(r"^(character special file \S+) \d+ \d+:\d+", r"\1", line) for line in lines]
