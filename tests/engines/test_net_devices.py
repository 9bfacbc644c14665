# SPDX-License-Identifier: Apache-2.0
"""netDevices: links move into real containers of runtimes that do not know them, and come back.

The host is a network namespace of the test's own, which a process holds and every call of the
runtime enters.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import waiting

from nvidia_runtime.net import devices

from . import cgroups, processes
from .bundles import BundleContainer, Bundles
from .docker import Docker
from .engine import FOREVER
from .machine import Machine, Runtime
from .podman import Podman

LOW_LEVEL = ("runc_v1", "runc_v2", "crun_v1", "crun_v2")
TREE = Path(__file__).resolve().parents[2]
STATE = "/run/nvidia-container-runtime"
OWN_STATE = f"mkdir -p {STATE} && mount -t tmpfs -o mode=755 none {STATE}"
RECOVER = "from nvidia_runtime.net import devices; print(*devices.recover(), sep='; ')"
ADDRESSES = ["10.1.2.3/24", "fd00::5/64"]

pytestmark = pytest.mark.skipif(not shutil.which("ip"), reason="ip is not installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network namespace, with or without a view of the file system, held by a process."""

    pid: int

    def enter(self, *kinds: str) -> tuple[str, ...]:
        """Return the words that go before a command to run it here."""
        return ("nsenter", "--target", str(self.pid), *[f"--{kind}" for kind in kinds])

    def ip(self, words: str) -> None:
        """Change something."""
        processes.succeed([*self.enter("net"), "ip", *words.split()])

    def links(self) -> dict[str, tuple[bool, list[str]]]:
        """List all links but lo: whether they are up, and their global addresses."""
        said = processes.succeed([*self.enter("net"), "ip", "-json", "address"])
        return {
            link["ifname"]: ("UP" in link["flags"], global_addresses(link))
            for link in json.loads(said)
            if link["ifname"] != "lo"
        }


def global_addresses(link: dict[str, Any]) -> list[str]:
    """List what a runtime has to preserve."""
    entries = [entry for entry in link["addr_info"] if entry.get("scope") == "global"]
    return [f"{entry['local']}/{entry['prefixlen']}" for entry in entries]


@contextmanager
def network(*enter: str) -> Iterator[Network]:
    """Hold a new network namespace, and a mount namespace of the view that ``enter`` makes."""
    words = ["unshare", "--net", "--mount", "--propagation", "slave", "sleep", "infinity"]
    with subprocess.Popen([*enter, *words], stderr=subprocess.PIPE) as holder:
        try:
            waiting.becomes(holder, "sleep", "the network is there")
            yield Network(pid=holder.pid)
        finally:
            holder.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A host with links, and a runtime whose CDI specs give them to containers."""

    host: Network
    bundles: Bundles
    machine: Machine

    def device(self, **names: str) -> str:
        """Describe a CDI device that has links; return its name."""
        return write_device(self.machine, **names)

    def start(self, asked: str, change: Callable[[Any], None] | None = None) -> BundleContainer:
        """Start a container that stays."""
        bundle, code = self.create(asked, change)
        assert code == 0, (bundle / "stderr").read_text()
        return self.bundles.begin(bundle, self.bundles.words(self.bundles.runtime))

    def create(self, asked: str, change: Callable[[Any], None] | None = None) -> tuple[Path, int]:
        """Create a container, after a change of its config.json; return the exit code too."""
        bundle = self.bundles.bundle(FOREVER, asked)
        file = bundle / "config.json"
        spec = json.loads(file.read_text())
        if change:
            change(spec)
        file.write_text(json.dumps(spec))
        return bundle, self.bundles.create(bundle, self.bundles.words(self.bundles.runtime))

    def refuse(self, asked: str, change: Callable[[Any], None] | None = None) -> str:
        """Create a container, which must fail; return what was said."""
        bundle, code = self.create(asked, change)
        assert code != 0
        return (bundle / "stderr").read_text()

    def left(self) -> list[str]:
        """List our pins and records."""
        look = f"ls {STATE}/netns; grep {STATE}/netns /proc/mounts"
        return processes.run([*self.host.enter("mount"), "sh", "-c", look]).stdout.split()


def write_device(machine: Machine, **names: str) -> str:
    """Add a CDI spec of one device with network interfaces; return the device's name."""
    folder = machine.scratch / "cdi"
    number = len(list(folder.iterdir()))
    edits = [{"hostInterfaceName": host, "name": name} for host, name in names.items()]
    spec = {
        "cdiVersion": "1.1.0",
        "kind": f"example.com/nic{number}",
        "devices": [{"name": "0", "containerEdits": {"netDevices": edits}}],
    }
    (folder / f"nic{number}.json").write_text(json.dumps(spec))
    return f"{spec['kind']}=0"


def write_runtime(machine: Machine, low_level: str, *enter: str) -> Runtime:
    """Make a runtime that enters the test's host, and whose Python has pyroute2."""
    runtime = machine.runtime("net", low_level)
    path = f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH\n"
    text = runtime.path.read_text()
    runtime.path.write_text(text.replace("exec ", f"{path}exec {shlex.join(enter)} "))
    return runtime


@pytest.fixture
def nics(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Make a place for CDI specs and settings of our own."""
    pytest.importorskip("pyroute2")
    folder = machine.scratch / "net"
    (folder / "cdi").mkdir(parents=True)
    yield Machine(scratch=folder, shim=machine.shim)
    shutil.rmtree(folder)


@pytest.fixture(params=LOW_LEVEL)
def site(request: pytest.FixtureRequest, nics: Machine) -> Iterator[Site]:
    """Take each low-level runtime in turn, on a host with two links."""
    live: Bundles = request.getfixturevalue(f"live_{request.param}")
    program, view = request.param.split("_")
    if devices.recognise(shutil.which(program) or "") == devices.MOVES:
        pytest.skip(f"this {program} moves interfaces itself, and gives none back")
    with network(*live.enter) as host:
        processes.succeed([*host.enter("mount"), "sh", "-c", OWN_STATE])
        add_link(host, "veth", "nic0")
        add_link(host, "veth", "nic1")
        enter = (*host.enter("net", "mount"), *cgroups.limits(view, program))
        runtime = write_runtime(nics, program, *enter)
        bundles = replace(live, enter=enter, runtime=runtime)
        yield Site(host=host, bundles=bundles, machine=nics)
        bundles.clean()


def add_link(host: Network, kind: str, name: str) -> None:
    """Add a link that is up and has addresses; of a veth, the peer is up as well."""
    peer = f"peer name p-{name}" if kind == "veth" else ""
    process = processes.run([*host.enter("net"), *f"ip link add {name} type {kind} {peer}".split()])
    if process.returncode != 0:
        pytest.skip(f"this kernel makes no {kind} links: {process.stderr.strip()}")
    for address in ADDRESSES:
        host.ip(f"address add {address} dev {name} nodad")
    host.ip(f"link set {name} up")
    if kind == "veth":
        host.ip(f"link set p-{name} up")


@pytest.mark.parametrize("kind", ["veth", "ifb"])
def test_link_moves_in_and_comes_back(site: Site, kind: str) -> None:
    add_link(site.host, kind, "fast0")
    before = site.host.links()
    container = site.start(site.device(fast0="net0"))
    inside, outside = Network(pid=container.pid).links(), site.host.links()
    seen = container.exec("cat", "/proc/net/dev").stdout
    container.kill()
    container.remove()

    assert inside == {"net0": (True, ADDRESSES)}
    assert "net0:" in seen
    assert outside.keys() == before.keys() - {"fast0"}
    assert site.host.links() == before
    assert site.left() == []


def test_two_links_and_a_template(site: Site) -> None:
    """The state of a link is as before on the host, and up in the container."""
    site.host.ip("link set nic1 down")
    site.host.ip("address add 10.9.9.9 peer 10.9.9.8 dev nic1")
    before = site.host.links()
    container = site.start(site.device(nic0="eth%d", nic1="eth%d"))
    inside = Network(pid=container.pid).links()
    container.kill()
    container.remove()

    assert before["nic1"] == (False, [ADDRESSES[0], "10.9.9.9/32"])
    assert inside["eth0"] == (True, ADDRESSES)
    assert inside["eth1"] == (True, [ADDRESSES[0], "10.9.9.9/32"])
    assert site.host.links() == before


def test_link_that_the_container_renamed_comes_back(site: Site) -> None:
    before = site.host.links()
    container = site.start(site.device(nic0="net0"))
    inside = Network(pid=container.pid)
    inside.ip("link set net0 name mine")
    inside.ip("link add net0 type veth peer name other")
    container.kill()
    container.remove()

    assert site.host.links() == before


def test_link_whose_name_was_taken_meanwhile_gets_another(site: Site) -> None:
    container = site.start(site.device(nic0="net0"))
    add_link(site.host, "veth", "nic0x")
    site.host.ip("link set nic0x down")
    site.host.ip("link set nic0x name nic0")
    container.kill()
    container.remove()

    assert site.host.links()["dev0"] == (True, ADDRESSES)
    assert site.left() == []


def test_next_create_recovers_what_a_killed_container_held(site: Site) -> None:
    """Nobody ran the poststop hook: the engine was killed with the container."""
    asked = site.device(nic0="net0")
    container = site.start(asked)
    os.kill(container.pid, signal.SIGKILL)
    os.waitpid(container.pid, 0)
    held = site.host.links(), len(site.left())
    second = site.start(asked)
    inside = Network(pid=second.pid).links()
    container.remove()
    second.kill()
    second.remove()

    assert "nic0" not in held[0]
    assert held[1] > 0
    assert inside == {"net0": (True, ADDRESSES)}
    assert site.host.links()["nic0"] == (True, ADDRESSES)
    assert site.left() == []


def test_nvidia_ctk_recovers_what_a_killed_container_held(site: Site) -> None:
    before = site.host.links()
    container = site.start(site.device(nic0="net0"))
    alive = recover(site)
    os.kill(container.pid, signal.SIGKILL)
    os.waitpid(container.pid, 0)
    said = recover(site)

    assert alive == "\n"
    assert said == f"container {container.id}: returned nic0\n"
    assert site.host.links() == before
    assert (site.left(), recover(site)) == ([], "\n")


def recover(site: Site) -> str:
    """Do what nvidia-ctk does; return what it says."""
    program = f"import sys; sys.path.insert(0, {os.fspath(TREE)!r}); {RECOVER}"
    return processes.succeed([*site.host.enter("net", "mount"), sys.executable, "-c", program])


def test_missing_link_is_an_error_before_the_runtime(site: Site) -> None:
    said = site.refuse(site.device(nic0="net0", nic2="net1"))

    assert "nic0.json: the host has no network interface nic2; did you mean nic1, nic0" in said
    assert "nic0" in site.host.links()
    assert site.bundles.containers() == []


def test_link_of_a_running_container_is_said_to_be_there(site: Site) -> None:
    asked = site.device(nic0="net0")
    container = site.start(asked)

    assert f"no network interface nic0; nic0 is in container {container.id}" in site.refuse(asked)
    assert Network(pid=container.pid).links() == {"net0": (True, ADDRESSES)}


def test_namespace_of_others_is_joined_and_left_alone(site: Site) -> None:
    """As with CNI: the namespace was there before the container, and is there after it."""
    before = site.host.links()
    with network() as pod:
        container = site.start(site.device(nic0="net0"), change=joining(pod))
        inside = pod.links()
        container.kill()
        container.remove()

        assert inside == {"net0": (True, ADDRESSES)}
        assert pod.links() == {}
        assert site.host.links() == before


def test_name_that_the_container_has_is_an_error(site: Site) -> None:
    before = site.host.links()
    with network() as pod:
        pod.ip("link add net1 type veth peer name other")
        said = site.refuse(site.device(nic0="net0", nic1="net1"), change=joining(pod))

        # crun sends what a hook says to nowhere.
        assert "already has a network interface net1" in said or "crun" in str(site.bundles.folder)
        assert pod.links().keys() == {"net1", "other"}
        assert site.host.links() == before
        assert site.left() == []


def joining(pod: Network) -> Callable[[Any], None]:
    """Make a container join a network namespace."""

    def change(spec: Any) -> None:
        for namespace in spec["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/proc/{pod.pid}/ns/net"

    return change


def test_all_or_none(site: Site) -> None:
    """A bridge stays where it is, so the link that has moved already comes back."""
    site.host.ip("link add br0 type bridge")
    before = site.host.links()
    said = site.refuse(site.device(nic0="net0", br0="net1"))

    assert "cannot move br0" in said or "crun" in str(site.bundles.folder)
    assert site.host.links() == before
    assert site.left() == []


def test_container_in_a_user_namespace(site: Site) -> None:
    """Its network is owned by a user namespace of its own, over which root has power."""

    def change(spec: Any) -> None:
        linux = spec["linux"]
        linux["namespaces"].append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        linux |= {"uidMappings": mapping, "gidMappings": mapping}

    before = site.host.links()
    container = site.start(site.device(nic0="net0"), change=change)
    inside = Network(pid=container.pid).links()
    container.kill()
    container.remove()

    assert inside == {"net0": (True, ADDRESSES)}
    assert site.host.links() == before


def test_rootless_is_told_what_it_lacks(site: Site) -> None:
    """Root of a user namespace has CAP_NET_ADMIN, but not over this network."""
    bundle = site.bundles.bundle(("true",), site.device(nic0="net0"))
    user = ("unshare", "--user", "--map-root-user")
    config = f"NVIDIA_CTK_CONFIG_FILE_PATH={site.bundles.runtime.path.parent}/config.toml"
    shim = ("env", config, os.fspath(site.machine.shim), "create", "--bundle", os.fspath(bundle))
    done = processes.run([*site.host.enter("net", "mount"), *user, *shim, bundle.name])
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces: {done.stderr}")

    assert "cannot move network interfaces: that needs CAP_NET_ADMIN over the host's" in done.stderr
    assert done.returncode == 1


def test_podman(live_podman: Podman, nics: Machine) -> None:
    with network() as host:
        add_link(host, "veth", "nic0")
        before = host.links()
        runtime = write_runtime(nics, "runc", *host.enter("net"))
        podman = replace(live_podman, runtime=runtime)
        container = podman.start(gpus=write_device(nics, nic0="net0"))
        seen, outside = container.exec("cat", "/proc/net/dev").stdout, host.links()
        container.kill()
        container.remove()

        assert "net0:" in seen
        assert "nic0" not in outside
        assert host.links() == before


def test_docker(live_docker: Docker, nics: Machine) -> None:
    """Docker's own hook, which makes the network, comes before ours."""
    ours = live_docker.runtime.path
    text = ours.read_text()
    with network() as host:
        add_link(host, "veth", "nic0")
        before = host.links()
        ours.write_text(write_runtime(nics, "runc", *host.enter("net")).path.read_text())
        try:
            container = live_docker.start(gpus=write_device(nics, nic0="net0"))
            seen, outside = container.exec("cat", "/proc/net/dev").stdout, host.links()
            container.kill()
            container.remove()
        finally:
            live_docker.clean()
            ours.write_text(text)

        assert "net0:" in seen
        assert "nic0" not in outside
        assert host.links() == before
