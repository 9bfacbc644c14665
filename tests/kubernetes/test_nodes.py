# SPDX-License-Identifier: Apache-2.0
"""The image on nodes with containerd 1.6, 1.7 and 2.1: installed by its manifests, and removed.

The kubelet's part, as far as the CRI goes, is `kubelet`; what device plugins and DRA drivers answer
it is `allocation`.  Nodes are simulated machines: nobody computes in these pods.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import shim
import waiting
from engines import cri

from nvidia_runtime.simulate.machine import SimulatedGpu, SimulatedMachine

from . import allocation, crio, kustomize, manifests, node, rollout
from .allocation import Allocation, allocated
from .conftest import Image
from .kustomize import Document
from .manifests import NAME
from .node import Node
from .rollout import Rollout

pytestmark = [pytest.mark.long, shim.needs_root, shim.needs_x86_64]
MACHINE = "h100x8"
REPOSITORY = f"docker.io/library/{NAME}"
TAG = re.compile(rf"{NAME}-image-(.+)-[a-z0-9]+\.tar")
CONFIG, DROP_IN = "etc/containerd/config.toml", "etc/containerd/conf.d/99-nvidia.toml"
TREE = "usr/local/nvidia"
CONTROL = {f"/dev/nvidia{name}" for name in ("ctl", "-uvm", "-uvm-tools", "-modeset")}
RIGHTS = 1 << 18 | 1 << 19  # CAP_SYS_CHROOT, CAP_SYS_PTRACE
GPU = re.compile(r"/dev/nvidia\d+")
CHANNELS = "/dev/nvidia-caps-imex-channels"
# Says of each minor whether the container may open it; nothing opens, for there is no driver.
OPEN = """
for minor in 0 1 2 3 4 5 6 7; do
  mknod /tmp/gpu$minor c 195 $minor
  case $( (: </tmp/gpu$minor) 2>&1) in *'not permitted'*) ;; *) echo $minor ;; esac
done
"""
# By which the engine's NRI is reached from the installer's pod, which has the host's root.
PLUGIN = {
    "ENABLE_NRI_PLUGIN": "true",
    "NRI_NAMESPACE": "nvcr",
    "NRI_SOCKET": "/host/run/nri/nri.sock",
}
VOLUMES = {
    "ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS": "true",
    "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED": "false",
}
PREFIXES = {"NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES": "cdi.k8s.io/"}
Answer = Callable[[Sequence[SimulatedGpu]], Allocation]


@dataclass(frozen=True, slots=True)
class Way:
    """How a pod gets GPUs: its runtime handler, the answer, and the first containerd with that."""

    handler: str
    answer: Answer
    since: tuple[int, int] = (1, 6)

    @property
    def id(self) -> str:
        """Its name."""
        return f"{self.answer.__name__}-{self.handler or 'no class'}"


# containerd 1.6 knows no CDI: what it is told of it comes to nothing, without an error.
CDI = (1, 7)
# Since then a plugin may name CDI devices.
NRI = (2, 1)
WAYS = (
    Way("nvidia", allocation.envvar),
    Way("nvidia-legacy", allocation.envvar),
    Way("nvidia", allocation.variable_of_names),
    Way("nvidia-cdi", allocation.variable_of_names),
    Way("", allocation.cdi_annotations, CDI),
    Way("nvidia", allocation.cdi_annotations, CDI),
    Way("", allocation.cdi_cri, CDI),
    Way("nvidia", allocation.cdi_cri, CDI),
    Way("nvidia-cdi", allocation.cdi_cri, CDI),
    Way("", allocation.claim, CDI),
    Way("nvidia", allocation.claim, CDI),
)


@contextmanager
def up(
    suite: str, folder: Path, image: Image, group: str, driver_root: str = "/"
) -> Iterator[Node]:
    """Keep a node with our image."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    with node.up(suite, MACHINE, folder, group, driver_root) as site:
        site.load(image[0], REPOSITORY)
        yield site


@pytest.fixture(scope="module", params=node.SUITES)
def site(
    request: pytest.FixtureRequest,
    image: Image,
    group: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """Keep a node for all pods with GPUs."""
    with up(request.param, tmp_path_factory.mktemp("node"), image, group) as node:
        yield node


@pytest.fixture(params=node.SUITES)
def fresh(
    request: pytest.FixtureRequest,
    image: Image,
    group: str,
    tmp_path: Path,
) -> Iterator[Node]:
    """Keep a node for one test."""
    with up(request.param, tmp_path, image, group) as node:
        yield node


Render = Callable[..., Document]


@pytest.fixture(scope="module")
def render(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return how a DaemonSet is rendered, with the image's tag as a user would write it."""

    def rendered(*components: str, engine: str = "containerd", name: str = NAME) -> Document:
        tag = TAG.fullmatch(image[0].name)
        assert tag
        folder = tmp_path_factory.mktemp("rendered")
        chosen = manifests.choose(folder, engine, components, tag[1])
        has_kubectl = shutil.which("kubectl")
        listed = manifests.render(chosen) if has_kubectl else kustomize.build(chosen)
        return manifests.of_kind(listed, "DaemonSet")[name]

    return rendered


@pytest.fixture(scope="module")
def installed(site: Node, render: Render) -> Rollout:
    """Install on the node, and write the specs that other daemons of a cluster would."""
    installer = rollout.roll_out(site, render())
    installer.become_ready()
    allocation.write_specs(site)
    return installer


def seen(container: cri.PodContainer, machine: SimulatedMachine) -> set[str]:
    """Return the nodes of a container, which may open those of its GPUs, and no others.

    Programs agree: the driver's nvidia-smi, and one of the image's own that asks libcuda.
    """
    nodes = set(succeed(container, "find", "/dev", "-name", "nvidia*", "-type", "c").split())
    minors = {int(minor) for minor in succeed(container, "sh", "-c", OPEN).split()}
    assert {path for path in nodes if GPU.fullmatch(path)} == {f"/dev/nvidia{n}" for n in minors}
    if minors:
        listed = succeed(container, "nvidia-smi", "-L").splitlines()
        uuids = [gpu.uuid for gpu in machine.gpus if gpu.minor in minors]
        assert [line.partition("UUID: ")[2].rstrip(")") for line in listed] == uuids
        detected = f"Detected {len(minors)} CUDA Capable device(s)"
        assert detected in succeed(container, node.QUERY)
    return nodes


def succeed(container: cri.PodContainer, *words: str) -> str:
    """Run a command in a container, which must exit with 0; return its output."""
    got = container.exec(*words)
    assert got.returncode == 0, got.stderr
    return got.stdout


def nodes_of(gpus: Sequence[SimulatedGpu]) -> set[str]:
    """Return the nodes that a container with these GPUs has."""
    return {f"/dev/nvidia{gpu.minor}" for gpu in gpus} | CONTROL if gpus else set()


def nodes_in_pod(
    site: Node, handler: str, answer: Allocation, annotations: dict[str, str] | None = None
) -> set[str]:
    """Start a pod, and end it; return the nodes of its container."""
    with allocated(site, handler, answer, annotations) as container:
        return seen(container, site.machine)


def test_installer_has_the_rights_of_the_manifest(installed: Rollout) -> None:
    text = installed.node.path(f"/proc/{installed.pid}/status").read_text()
    status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)

    assert {status[f"Cap{kind}"] for kind in ("Eff", "Prm", "Bnd")} == {f"{RIGHTS:016x}"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "Read-only" in installed.container.exec("sh", "-c", ": >/x").stderr


def test_installer_has_told_this_engine(installed: Rollout) -> None:
    log = installed.log()

    assert "containerd was told to read its files (signal)" in log
    assert "its files are read" not in log  # it was asked itself, by its program
    assert installed.node.starts() == 1
    assert installed.node.path(DROP_IN).exists()
    assert installed.is_ready()


@pytest.mark.parametrize("way", WAYS, ids=[way.id for way in WAYS])
@pytest.mark.parametrize("indices", [(1,), (6, 0)], ids=["one GPU", "two GPUs"])
def test_pod_sees_its_gpus(installed: Rollout, way: Way, indices: tuple[int, ...]) -> None:
    machine = installed.node.machine
    gpus = [machine.gpus[index] for index in indices]
    expected = nodes_of(gpus) if installed.node.version >= way.since else set()

    with allocated(installed.node, way.handler, way.answer(gpus)) as container:
        assert seen(container, machine) == expected
        is_claimed = "CLAIM=yes" in container.exec("env").stdout

    assert is_claimed == (way.answer is allocation.claim and bool(expected))


@pytest.mark.parametrize("handler", ["", "nvidia", "nvidia-cdi", "nvidia-legacy"])
def test_pod_that_asks_for_nothing_gets_nothing(installed: Rollout, handler: str) -> None:
    with allocated(installed.node, handler, Allocation()) as container:
        assert seen(container, installed.node.machine) == set()


@pytest.mark.parametrize("handler", ["", "nvidia"])
def test_channel_of_a_compute_domain(installed: Rollout, handler: str) -> None:
    if installed.node.version < CDI:
        pytest.skip("containerd 1.6 has no CDI")
    with allocated(installed.node, handler, allocation.channel(1)) as container:
        listed = succeed(container, "find", "/dev", "-name", "channel*").split()
        assert listed == [f"{CHANNELS}/channel1"]
        assert succeed(container, "stat", "-c", "%t:%T", *listed) == "ea:1\n"


def by_annotation(site: Node, answer: Allocation) -> set[str]:
    """Start a pod whose annotation names devices; return the nodes of its container."""
    annotations = {"nvidia.cdi.k8s.io/container.app": ",".join(answer.cdi)}
    return nodes_in_pod(site, "", Allocation(), annotations)


def test_component_nri(installed: Rollout, render: Render) -> None:
    site = installed.node
    if site.version < NRI:
        pytest.skip("containerd before 2.1 takes no CDI devices of a plugin")
    gpus = site.machine.gpus[3:5]
    assert by_annotation(site, allocation.cdi_cri(gpus)) == set()
    plugin = rollout.roll_out(site, render("nri", name=f"{NAME}-nri"))
    try:
        waiting.eventually(lambda: "registered with" in plugin.log(), "the plugin is registered")
        assert by_annotation(site, allocation.cdi_cri(gpus)) == nodes_of(gpus)
        assert by_annotation(site, allocation.management()) == set()
        assert "management.nvidia.com/gpu" in plugin.log()
    finally:
        plugin.end()


def test_other_variables(fresh: Node, render: Render) -> None:
    """Volume mounts in the variable's place, annotations for us, our default, our plugin."""
    default = {"NVIDIA_RUNTIME_SET_AS_DEFAULT": "true"}
    variables = VOLUMES | PREFIXES | default | (PLUGIN if fresh.version >= NRI else {})
    installer = rollout.roll_out(fresh, render(), variables)
    installer.become_ready()
    allocation.write_specs(fresh)
    gpus = fresh.machine.gpus[5:7]

    for handler in ("nvidia", ""):
        assert nodes_in_pod(fresh, handler, allocation.volume_mounts(gpus)) == nodes_of(gpus)
        assert nodes_in_pod(fresh, handler, allocation.envvar(gpus)) == set()
        assert nodes_in_pod(fresh, handler, allocation.cdi_annotations(gpus)) == nodes_of(gpus)
    if fresh.version >= NRI:
        waiting.eventually(lambda: "registered with" in installer.log(), "it is registered")
        assert by_annotation(fresh, allocation.cdi_cri(gpus)) == nodes_of(gpus)
        assert by_annotation(fresh, allocation.management()) >= nodes_of(fresh.machine.gpus)
    assert installer.end() == 0


def differences(before: dict[str, str], site: Node) -> set[str]:
    """Name the files of a node that are not what they were."""
    after = site.listing()
    return {path for path in before | after if before.get(path) != after.get(path)}


def remove(site: Node, render: Render, before: dict[str, str]) -> None:
    """Roll out the removal; nothing stays but the folder that the kubelet made for a mount."""
    removal = rollout.roll_out(site, render("uninstall"))
    removal.become_ready()
    removal.end()
    assert differences(before, site) == {TREE}
    assert list(site.path(TREE).iterdir()) == []


def test_end_gives_the_engine_its_files_and_removal_takes_the_rest(
    fresh: Node, render: Render
) -> None:
    before = fresh.listing()
    installer = rollout.roll_out(fresh, render())
    installer.become_ready()
    gpus = fresh.machine.gpus[:1]
    assert nodes_in_pod(fresh, "nvidia", allocation.envvar(gpus)) == nodes_of(gpus)
    assert {CONFIG, DROP_IN} <= differences(before, fresh)

    assert installer.end() == 0

    assert {path for path in differences(before, fresh) if not path.startswith(TREE)} == set()
    assert fresh.starts() == 2
    with pytest.raises(cri.refused(), match='no runtime for "nvidia" is configured'):
        fresh.service.start_pod("nvidia")
    remove(fresh, render, before)


def test_killed_installer_is_repaired_by_its_next_start(fresh: Node, render: Render) -> None:
    before = fresh.listing()
    installer = rollout.roll_out(fresh, render())
    installer.become_ready()
    gpus = fresh.machine.gpus[:1]

    installer.signal("KILL")

    assert nodes_in_pod(fresh, "nvidia", allocation.envvar(gpus)) == nodes_of(gpus)
    installer.start()
    installer.become_ready()
    assert fresh.starts() == 1
    installer.signal("KILL")
    remove(fresh, render, before)


def test_killed_while_the_engine_is_away(fresh: Node, render: Render) -> None:
    before = fresh.listing()
    with fresh.held():
        installer = rollout.roll_out(fresh, render())
        waiting.eventually(lambda: fresh.starts() == 1, "containerd has ended")
        installer.signal("KILL")
    fresh.listen()
    installer.start()
    installer.become_ready()
    gpus = fresh.machine.gpus[:1]
    assert nodes_in_pod(fresh, "nvidia", allocation.envvar(gpus)) == nodes_of(gpus)
    assert installer.end() == 0
    remove(fresh, render, before)


def test_ended_while_the_engine_is_away(fresh: Node, render: Render) -> None:
    """Its files are not ours any more when it starts at last."""
    before = fresh.listing()
    with fresh.held():
        installer = rollout.roll_out(fresh, render())
        waiting.eventually(lambda: fresh.starts() == 1, "containerd has ended")
        assert DROP_IN in differences(before, fresh)
        installer.signal("TERM")
        waiting.eventually(
            lambda: all(path.startswith(TREE) for path in differences(before, fresh)),
            "containerd has its files back",
        )
    waiting.eventually(installer.has_ended, "the installer has ended")
    assert installer.end() == 0
    remove(fresh, render, before)


def test_driver_in_a_containers_root(
    image: Image, group: str, render: Render, tmp_path: Path
) -> None:
    with up("trixie", tmp_path / "node", image, group, "/run/nvidia/driver") as site:
        assert not site.path("/dev/nvidiactl").exists()
        installer = rollout.roll_out(site, render("driver-container"))
        installer.become_ready()
        gpus = site.machine.gpus[1:3]

        assert nodes_in_pod(site, "nvidia", allocation.envvar(gpus)) == nodes_of(gpus)
        assert installer.end() == 0


def test_k3s_finds_the_runtime_where_it_looks(fresh: Node, render: Render) -> None:
    """/usr/local/nvidia/toolkit; the overlay tells the engine nothing."""
    before = fresh.listing()
    installer = rollout.roll_out(fresh, render(engine="k3s"))
    installer.become_ready()
    assert {path for path in differences(before, fresh) if not path.startswith(TREE)} == set()
    assert fresh.starts() == 0
    assert installer.end() == 0
    removal = rollout.roll_out(fresh, render("uninstall", engine="k3s"))
    removal.become_ready()
    removal.end()
    assert differences(before, fresh) == {TREE}
    assert fresh.starts() == 0


def test_crio(image: Image, group: str, render: Render, tmp_path: Path) -> None:
    """Its file, and stand-ins for cri-o and systemctl on the node; containerd runs the pods."""
    with up("sid", tmp_path / "node", image, group) as site, crio.standing_in(site):
        before = site.listing()
        installer = rollout.roll_out(site, render(engine="crio"))
        installer.become_ready()

        assert crio.starts(site) == 2
        entries = crio.runtimes(site)
        assert {name: entry["runtime_path"] for name, entry in entries.items()} == {
            "nvidia": f"/{TREE}/toolkit/nvidia-container-runtime",
            "nvidia-cdi": f"/{TREE}/toolkit/nvidia-container-runtime.cdi",
            "nvidia-legacy": f"/{TREE}/toolkit/nvidia-container-runtime.legacy",
        }
        assert "its files are read" not in installer.log()
        assert installer.end() == 0

        assert {path for path in differences(before, site) if not path.startswith(TREE)} == set()
        assert crio.starts(site) == 3
        assert site.starts() == 0
        removal = rollout.roll_out(site, render("uninstall", engine="crio"))
        removal.become_ready()
        removal.end()
        assert differences(before, site) == {TREE}
