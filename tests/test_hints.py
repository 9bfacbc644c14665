# SPDX-License-Identifier: Apache-2.0
"""A hint helps: each is printed by a call that fails, and followed by one that does not.

The hints are read out of the code, so one that nobody has tried fails here.  What needs a program
that is not here is listed with the reason.
"""

from __future__ import annotations

# Steps are tuples of calls.
# mypy: disable-error-code="func-returns-value"
import errno
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import hints
import pytest
import shim
import simulated
from cli import ctk
from engines.files import listener
from faults import faulty
from faults.conftest import library
from hook_host import Hook, container
from host import trees
from images import written
from shim import NAME, Site, needs_root
from sources import test_machine as machines
from sources import test_renew as renew
from sources import test_updates as updates

from nvidia_runtime.engines import write
from nvidia_runtime.net import devices as net_devices
from nvidia_runtime.simulate import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Follow = Callable[[Site], object]

# Calls of nvidia-ctk: a hint, the words that lead to it, and those that it leads to.
GDR = ("cdi", "generate", "--mode=gdrcopy", "--dev-root={root}")
IMEX = ("cdi", "generate", "--mode=imex", "--dev-root={root}")
CSV = ("cdi", "generate", "--mode=csv", "--driver-root={root}", "--dev-root={root}")
SPEC = ("cdi", "transform", "root", "--input={cdi}/nvidia.json", "--from=/a")
BLANK = ("cdi", "files", "nvidia.com/gpu=0", "--spec-dir={tmp}/odd")
FOLDER_OF_DOCKER = ("runtime", "configure", "--runtime=docker", "--config={tmp}")
DOCKER = (*FOLDER_OF_DOCKER[:3], "--config={tmp}/daemon.json")
MENDED = (*FOLDER_OF_DOCKER[:3], "--config={tmp}/mended.json")
PODMAN = ("runtime", "configure", "--runtime=podman", "--config={tmp}/containers.conf")
CRIO = ("runtime", "configure", "--runtime=crio", "--config={tmp}/c.conf", "--drop-in-config=")
SELFTEST = ("selftest", "--security", "--programs={bin}", "--only=T20-link")
CONTAINERD_2 = (
    *("runtime", "configure", "--runtime=containerd", "--config={tmp}/first.toml"),
    "--executable-path={tmp}/containerd",
)
CALLS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    (
        "the manual page nvidia-container-codes(7) lists all",
        ("doctor", "NCT-0000"),
        ("doctor", "NCT-0101"),
    ),
    ("name a container, or give --all", ("repair",), ("repair", "--all")),
    ("kinds are …", (*BLANK, "--only=all"), (*BLANK, "--only=files")),
    ("--format=json can say it", (*BLANK, "--format=apptainer"), (*BLANK, "--format=json")),
    ("formats are …", (*GDR, "--format=xml"), (*GDR, "--format=json")),
    ("modes are auto, …", ("cdi", "generate", "--mode=cuda"), GDR),
    ("versions are …", (*GDR, "--spec-version=9.9.9"), (*GDR, "--spec-version=1.0.0")),
    (
        "ask for …, or leave out what needs it",
        (*GDR, "--spec-version=0.3.0"),
        (*GDR, "--spec-version=0.5.0"),
    ),
    (
        "it is a number from 0 to …, or … and a number",
        (*IMEX, "--device-id=x"),
        (*IMEX, "--device-id=channel7"),
    ),
    ("channels of this machine: …", (*IMEX, "--device-id=8"), (*IMEX, "--device-id=7")),
    (
        "load its kernel module, or say with --dev-root where the nodes are",
        ("cdi", "generate", "--mode=gdrcopy", "--dev-root={tmp}"),
        GDR,
    ),
    ("it is 'host' or 'container'", (*SPEC, "--relative-to=x"), (*SPEC, "--relative-to=host")),
    (
        "'… --help' lists its flags and arguments",
        ("cdi", "list", "--nope"),
        ("cdi", "list", "--help"),
    ),
    ("'… --help' lists the commands", ("nope",), ("--help",)),
    ("or leave it out", (*DOCKER, "--cdi.enabled=maybe"), (*DOCKER, "--cdi.enabled")),
    (
        "write --set …=VALUE",
        ("config", "--set=nvidia-container-cli.root"),
        ("config", "--set=nvidia-container-cli.root=/x"),
    ),
    (
        "give each setting a --set of its own",
        ("config", "--set=nvidia-container-cli.root=/x,nvidia-container-cli.user=a"),
        ("config", "--set=nvidia-container-cli.root=/x", "--set=nvidia-container-cli.user=a"),
    ),
    (
        "the default is nvidia.com/gpu",
        ("config", f"--set={NAME}.modes.cdi.default-kind=gpu"),
        ("config", f"--set={NAME}.modes.cdi.default-kind=nvidia.com/gpu"),
    ),
    (
        "'nvidia-ctk config explain …' lists its settings",
        ("config", "--set=nvidia-container-cli=x"),
        ("config", "explain", "nvidia-container-cli"),
    ),
    (
        "…'nvidia-ctk config explain' lists the settings",
        ("config", "--set=nvidia-container-cli.roto=x"),
        ("config", "explain"),
    ),
    (
        "'nvidia-ctk config explain' lists all of them",
        ("config", "explain", "nope"),
        ("config", "explain"),
    ),
    (
        "leave out one of them",
        ("config", "--in-place", "--output={tmp}/x", "--config={tmp}/config.toml"),
        ("config", "--output={tmp}/x", "--config={tmp}/config.toml"),
    ),
    (
        "leave out --format, or --in-place and --output",
        ("config", "--in-place", "--json", "--config={tmp}/config.toml"),
        ("config", "--json", "--config={tmp}/config.toml"),
    ),
    ("it is one of …", ("runtime", "configure", "--runtime=lxc"), DOCKER),
    (
        "… reads one file only; leave --drop-in-config out",
        (*DOCKER, "--drop-in-config={tmp}/x.json"),
        DOCKER,
    ),
    ("it is '…' or '…'", (*DOCKER, "--config-source=x"), (*DOCKER, "--config-source=file")),
    (
        "leave --nvidia-runtime-name out, or take another",
        (*DOCKER, "--nvidia-runtime-name=runc"),
        DOCKER,
    ),
    (
        "give it a --drop-in-config, which is of version 3",
        (*CONTAINERD_2, "--drop-in-config="),
        (*CONTAINERD_2, "--drop-in-config={tmp}/conf.d/x.toml"),
    ),
    (
        "… does not look in PATH",
        (
            *("runtime", "configure", "--runtime=crio", "--config={tmp}/crio.conf"),
            *("--drop-in-config=", "--nvidia-runtime-path=x"),
        ),
        (
            *("runtime", "configure", "--runtime=crio", "--config={tmp}/crio.conf"),
            *("--drop-in-config=", "--nvidia-runtime-path=/x"),
        ),
    ),
    (
        "--config-source=file reads its files instead; --executable-path names the program",
        (*CRIO, "--config-source=command", "--executable-path=/nowhere"),
        (*CRIO, "--config-source=file"),
    ),
    ("--list lists them, and --from reads one", ("simulate",), ("simulate", "--list")),
    ("there are …", ("simulate", "x4x4"), ("simulate", "--list")),
    (
        "for example '… … -- nvidia-ctk cdi generate'",
        ("simulate", "t4x1"),
        ("simulate", "t4x1", "--", "true"),
    ),
    (
        "name a new folder",
        ("simulate", "t4x1", "--write={cdi}"),
        ("simulate", "t4x1", "--write={tmp}/m"),
    ),
    (
        "--nvidia-runtime-hook-path=/usr/bin/nvidia-container-runtime-hook is the default",
        (
            *("runtime", "configure", "--runtime=crio", "--config-mode=oci-hook"),
            *("--oci-hook-path={tmp}/hook.json", "--nvidia-runtime-hook-path=x"),
        ),
        (
            *("runtime", "configure", "--runtime=crio", "--config-mode=oci-hook"),
            "--oci-hook-path={tmp}/hook.json",
        ),
    ),
    (
        "name a file in a folder of your own",
        (*GDR, "--output={sticky}/link.json"),
        (*GDR, "--output={tmp}/gdr.json"),
    ),
    (
        "change it by hand: …",
        ("config", "--set=nvidia-container-cli.root=/x", "--in-place", "--config={tmp}/odd.toml"),
        ("config", "--set=nvidia-container-cli.root=/x", "--in-place", "--config={tmp}/even.toml"),
    ),
    (
        "a container that requested nothing has none; 'nvidia-ctk explain' lists all records",
        ("explain", "never-made"),
        ("explain",),
    ),
    ("the only one is --security", ("selftest",), SELFTEST),
    ("see --programs", ("selftest", "--security", "--programs={tmp}"), SELFTEST),
    (
        "mend it by hand; nothing was changed",
        (*FOLDER_OF_DOCKER[:3], "--config={tmp}/wrong.json"),
        MENDED,
    ),
    ("JSON has no comments", (*FOLDER_OF_DOCKER[:3], "--config={tmp}/comments.json"), MENDED),
    ("name a file by --config", FOLDER_OF_DOCKER, DOCKER),
    (
        "such as /etc/containers/containers.conf.d/99-nvidia.conf",
        (*PODMAN, "--drop-in-config={tmp}/99-nvidia.toml"),
        (*PODMAN, "--drop-in-config={tmp}/99-nvidia.conf"),
    ),
    (
        "the driver's NVreg_CreateImexChannel0, or nvidia-modprobe -i, makes them",
        ("cdi", "generate", "--mode=imex", "--dev-root={tmp}"),
        IMEX,
    ),
    (
        "--csv.file names the lists, --dev-root where the nodes are",
        (*CSV, "--csv.file={tmp}/absent.csv"),
        (*CSV, "--csv.file={tmp}/list.csv"),
    ),
    (
        "name it by index: --device-name-strategy=index",
        (*CSV, "--csv.file={tmp}/list.csv", "--device-name-strategy=uuid"),
        (*CSV, "--csv.file={tmp}/list.csv", "--device-name-strategy=index"),
    ),
    (
        "this system has device 0, which is also called all",
        (*CSV, "--csv.file={tmp}/list.csv", "--device-id=1"),
        (*CSV, "--csv.file={tmp}/list.csv", "--device-id=0"),
    ),
]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Return a scratch folder, a root with device nodes, and a spec dir."""
    root = tmp_path / "root"
    (root / "dev/nvidia-caps-imex-channels").mkdir(parents=True)
    os.mknod(root / "dev/gdrdrv", 0o20666, os.makedev(10, 55))
    os.mknod(root / "dev/nvidia-caps-imex-channels/channel7", 0o20666, os.makedev(234, 7))
    cdi = tmp_path / "cdi"
    ctk.write(cdi / "nvidia.json", builders.cdi_spec())
    odd = builders.device("0", mounts=[{"hostPath": "/a b", "containerPath": "/a b"}])
    ctk.write(tmp_path / "odd" / "nvidia.json", builders.cdi_spec(odd))
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "odd.toml").write_text('[[nvidia-container-cli]]\nroot = "/y"\n')
    (tmp_path / "even.toml").write_text('[nvidia-container-cli]\nroot = "/x"\n')
    (tmp_path / "wrong.json").write_text('{"default-runtime": 1}')
    (tmp_path / "comments.json").write_text("{\n// mine\n}")
    (tmp_path / "mended.json").write_text("{}")
    (tmp_path / "list.csv").write_text("dev, /dev/gdrdrv\n")
    (tmp_path / "absent.csv").write_text("dev, /dev/absent\n")
    (tmp_path / "first.toml").write_text('root = "/x"\n')
    (tmp_path / "containerd").write_text(
        "#!/bin/sh\necho containerd github.com/containerd v2.1.4\n"
    )
    (tmp_path / "containerd").chmod(0o755)
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "link.json").symlink_to(tmp_path / "linked.json")
    os.lchown(sticky / "link.json", shim.NOBODY, shim.NOBODY)
    programs = shim.BIN.resolve()
    return {"tmp": tmp_path, "root": root, "cdi": cdi, "sticky": sticky, "bin": programs}


@needs_root
@pytest.mark.parametrize(("hint", "wrong", "right"), CALLS, ids=[row[0] for row in CALLS])
def test_call(
    hint: str, wrong: tuple[str, ...], right: tuple[str, ...], folders: dict[str, Path]
) -> None:
    env = {"STATE_DIRECTORY": str(folders["tmp"])}
    failed = ctk.run(*(word.format(**folders) for word in wrong), **env)
    done = ctk.run(*(word.format(**folders) for word in right), **env)

    assert failed.code != 0
    assert pattern(hint).search(failed.err), failed.err
    assert done.code == 0, done.err


def pattern(hint: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, hint.split(hints.GAP))))


# Containers: what is wrong, and what is done about it as the hint says.


def ask(site: Site, devices: str = "0", **fields: Any) -> None:
    """Write a container that asks for devices."""
    site.write_bundle(builders.asking(devices, **fields))


def hook(site: Site, *words: str) -> None:
    """Write a spec whose device wants a hook."""
    edits = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}
    hooks = [{**edits, "args": ["nvidia-cdi-hook", *words]}]
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", hooks=hooks)))
    (site.bundle / "rootfs").mkdir(exist_ok=True)
    ask(site)


def specs(site: Site, *names: str, **files: object) -> None:
    site.write_specs(nvidia=builders.cdi_spec(*map(builders.device, names)), **files)


def generate(site: Site) -> None:
    """Do as the advice for a machine with a driver; this one has a node by its own mode."""
    specs(site, "0")


UUID = "GPU-8a56a4bc-51f8-4f2a-8e31-9c0d5a5b5c1e"
NODE = {"path": "/dev/nvcr-none", "type": "c"}
MANY = ",".join(map(str, range(5000)))
CHANNELS = ["NVIDIA_VISIBLE_DEVICES=0", f"NVIDIA_IMEX_CHANNELS={','.join(map(str, range(20481)))}"]
CONTAINERS: dict[str, tuple[Follow, Follow]] = {
    "name fewer": (
        lambda site: (specs(site, "0"), ask(site, process={"env": CHANNELS})),
        lambda site: ask(site, process={"env": [CHANNELS[0], "NVIDIA_IMEX_CHANNELS=0"]}),
    ),
    "name fewer, or ask for all": (
        lambda site: (specs(site, "0", "all"), ask(site, MANY)),
        lambda site: ask(site, "all"),
    ),
    "correct the file; without one, the defaults hold": (
        lambda site: (specs(site, "0"), ask(site), site.write_config("[x")),
        lambda site: site.write_config(),
    ),
    'write … = "@/sbin/ldconfig"': (
        lambda site: (specs(site, "0"), ask(site), ldconfig(site, "/sbin/ldconfig")),
        lambda site: ldconfig(site, "@/sbin/ldconfig"),
    ),
    "set ….mode to one of auto, …": (
        lambda site: (specs(site, "0"), ask(site), site.write_config(mode="x")),
        lambda site: site.write_config(mode="cdi"),
    ),
    "ask for devices below …=, or for others": (
        lambda site: (specs(site, "0"), ask(site, "runtime.nvidia.com/gpu=0,nvidia.com/gpu=0")),
        lambda site: ask(site, "nvidia.com/gpu=0"),
    ),
    "install runc or crun, or name it in nvidia-container-runtime.runtimes of config.toml": (
        lambda site: (specs(site, "0"), ask(site), site.write_config(runtimes=["/nope"])),
        lambda site: site.write_config(),
    ),
    "--bundle must name a folder with a config.json; the default is the working directory": (
        lambda site: (specs(site, "0"), (site.bundle / "config.json").unlink(missing_ok=True)),
        ask,
    ),
    "the engine or 'runc spec' writes this file; see the OCI runtime-spec, config.md": (
        lambda site: (specs(site, "0"), site.write_bundle(b"[]")),
        ask,
    ),
    "see the OCI runtime-spec, config.md; the engine or 'runc spec' writes this file": (
        lambda site: (specs(site, "0"), site.write_bundle({"process": 5})),
        ask,
    ),
    'set … to "auto" to allow a hook for it': (
        lambda site: (
            hook(site, "update-ldcache"),
            ask(site, mounts=[{"destination": "/etc", "source": "/etc"}]),
            site.write_config(in_container_hooks="never"),
        ),
        lambda site: site.write_config(in_container_hooks="auto"),
    ),
    "mend that place in the image, or take the hook that wants it out of the CDI spec": (
        lambda site: (
            hook(site, "create-symlinks", "--link", "a::/usr/lib/b"),
            (site.bundle / "rootfs/usr").write_text("a file where a folder should be"),
        ),
        lambda site: (site.bundle / "rootfs/usr").unlink(),
    ),
    "generate the CDI spec anew, or load the driver that makes the node": (
        lambda site: (
            site.write_specs(nvidia=builders.cdi_spec(builders.device("0", deviceNodes=[NODE]))),
            ask(site),
        ),
        generate,
    ),
    "let it be written in the container, or …": (
        lambda site: (
            hook(site, "update-ldcache", "--folder", "/opt/nv"),
            covered_etc(site.bundle / "rootfs"),
        ),
        lambda site: shutil.rmtree(site.bundle / "rootfs/etc"),
    ),
    "run 'nvidia-ctk cdi validate …' for all that is wrong with it": (
        lambda site: (site.write_specs(nvidia=builders.cdi_spec(bogus=1)), ask(site)),
        lambda site: (validate(site), specs(site, "0")),
    ),
    "put a CDI spec of kind … into …": (
        lambda site: ask(site, "a.b/c=0"),
        lambda site: site.write_specs(c=builders.cdi_spec(kind="a.b/c")),
    ),
    "write one: nvidia-ctk cdi generate --output=…": (ask, generate),
    "update this program, or write the file for CDI … or older": (
        lambda site: (site.write_specs(nvidia=builders.cdi_spec(cdiVersion="1.9.0")), ask(site)),
        lambda site: specs(site, "0"),
    ),
    "take it out of one of …": (
        lambda site: (specs(site, "0", other=builders.cdi_spec()), ask(site)),
        lambda site: (site.specs / "other.json").unlink(),
    ),
    "ask for …, or generate a spec with them: …": (
        lambda site: (specs(site, "all"), ask(site, "3")),
        lambda site: ask(site, "all"),
    ),
    "run 'nvidia-ctk cdi list' to see what this host has": (
        lambda site: (specs(site, "0", "1"), ask(site, "9")),
        lambda site: ask(site, listed(site)),
    ),
    "correct it or set …=true": (
        lambda site: (specs(site, "0"), site.write_config(requirements="enforce"), require(site)),
        lambda site: require(site, "NVIDIA_DISABLE_REQUIRE=true"),
    ),
    "reinstall it, or name another in nvidia-container-runtime.runtimes": (
        lambda site: (specs(site, "0"), ask(site), site.write_config(runtimes=[broken(site)])),
        lambda site: site.write_config(),
    ),
}


def covered_etc(root: Path) -> None:
    """Make what can be written neither as a file nor as a folder."""
    (root / "etc/ld.so.cache").mkdir(parents=True)
    (root / "etc/ld.so.conf.d").write_text("a file where a folder should be")


def broken(site: Site) -> str:
    """Return a program that cannot be executed."""
    path = site.folder / "broken"
    path.write_bytes(b"\x7fELF, but no more")
    path.chmod(0o755)
    return str(path)


def ldconfig(site: Site, value: str) -> None:
    text = f'nvidia-container-cli.ldconfig = "{value}"\n[{NAME}]\nmode = "cdi"\n'
    text += f"runtimes = {json.dumps([str(site.runtime)])}\n[{NAME}.modes.cdi]\n"
    site.write_config(text + f"spec-dirs = {json.dumps([str(site.specs)])}\n")


def require(site: Site, *more: str) -> None:
    env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=x", *more]
    ask(site, process={"env": env})


def validate(site: Site) -> None:
    """See that the command says more than the error did."""
    said = ctk.run("cdi", "validate", site.specs / "nvidia.json")
    assert said.code == 1
    assert "bogus" in said.out + said.err


def listed(site: Site) -> str:
    """Return the first device that the command lists."""
    lines = ctk.run("cdi", "list", f"--spec-dir={site.specs}").lines()
    return next(line.split()[0] for line in lines if "=" in line)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        yield machine


# On a machine with a GPU: words of `cdi generate` that fail, and others.
MACHINES = {
    "they are …": ("--device-name-strategy=x", "--device-name-strategy=uuid"),
    "it has …; 'nvidia-smi -L' shows their UUIDs": ("--device-id=7", "--device-id=0"),
    "did you mean …? …": ("--device-id={short}", "--device-id={uuid}"),
    "install the driver there, or set its root (nvidia-container-cli.root, --driver-root)": (
        "--driver-root=/srv",
        "--driver-root=/",
    ),
    "load the driver, or say with --dev-root where the nodes are": (
        "--mode=management --dev-root=/srv",
        "--mode=management --dev-root=/",
    ),
}


@pytest.mark.parametrize("hint", MACHINES)
def test_machine(hint: str) -> None:
    def run(word: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        uuid = catalogue.find("t4x1").gpus[0].uuid
        words = ["cdi", "generate", *word.format(short=uuid[:12], uuid=uuid).split()]
        env = {"PATH": os.environ["PATH"]}
        return simulated.run("t4x1", [sys.executable, "-c", code, *words], env=env)

    wrong, right = map(run, MACHINES[hint])

    assert wrong.returncode == 1
    assert pattern(hint).search(wrong.stderr), wrong.stderr
    assert right.returncode == 0, right.stderr


# Containers on a machine with a GPU: what is wrong, and what is done about it.
CARD = """cdiVersion: 0.5.0
kind: {kind}
devices: [{{name: all, containerEdits: {{deviceNodes: [{{path: /dev/nvidia0}}]}}}}]
containerEdits: {{mounts: [{{hostPath: {library}, containerPath: /x}}]}}
"""


def others(kind: str, library: str) -> str:
    """Return the command that writes another writer's spec with a library of the driver."""
    text = CARD.format(kind=kind, library=library)
    return f"mkdir -p /etc/cdi; cat > /etc/cdi/others.yaml <<'END'\n{text}END\n"


def misfit(kind: str) -> tuple[str, str, str]:
    """Return what is asked for, and the commands that write a spec wrongly, and anew."""
    old = "/usr/lib/libcuda.so.570.10.01"
    return f"{kind}=all", others(kind, old), others(kind, updates.CUDA)


# A file whose name is always another, as while a driver is installed.
INSTALL = f"""(
at={updates.LIB}/libnvidia-new.so.570
n=0; touch $at.0
while mv $at.$n $at.$((n + 1)); do n=$((n + 1)); done
) > /dev/null 2>&1 & echo $! > /tmp/installer"""
CREATES = {
    "try again when that has ended": (
        "all",
        INSTALL,
        "kill $(cat /tmp/installer)",
    ),
    "if 'nvidia-ctk cdi generate' wrote it, generate it anew: …": (
        "nvidia.com/gpu=all",
        f"{renew.GENERATE} && echo '# mine' >> {renew.FILE} && rm {renew.LIBRARY}",
        renew.GENERATE,
    ),
    "restart the DRA driver on this node, or delete the pod": misfit("k8s.gpu.nvidia.com/claim"),
    "restart NVIDIA's device plugin on this node": misfit("k8s.device-plugin.nvidia.com/gpu"),
    "whoever wrote it for … has to write it anew": misfit("example.com/card"),
    "try again when the update has ended; then reboot, or load the kernel modules anew": (
        "all",
        f"cp {renew.LIBRARY} {updates.LIB}/libnvidia-new.so.{updates.NEW}",
        f"{updates.UPDATE} wait",
    ),
    "the driver was updated: reboot, or unload and load its kernel modules": (
        "all",
        f"{updates.UPDATE} wait; echo {updates.OLD} > /sys/module/nvidia/version",
        f"echo {updates.NEW} > /sys/module/nvidia/version",
    ),
}


REQUIREMENTS = {
    "…set …=true": ("t4x1", 'requirements = "enforce"\n'),
    "set …=true in the container if it runs here all the same": ("orin", ""),
}


@pytest.mark.parametrize("hint", REQUIREMENTS)
def test_requirement_on_a_machine(hint: str, tmp_path: Path) -> None:
    machine, text = REQUIREMENTS[hint]
    asked = ("NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_CUDA=cuda>=99.0")
    jobs = [machines.job(*asked), machines.job(*asked, "NVIDIA_DISABLE_REQUIRE=true")]

    failed, done = machines.create(machine, tmp_path, *jobs, settings=text)

    assert failed["code"] == 1
    assert pattern(hint).search(failed["err"]), failed["err"]
    assert (done["code"], done["err"]) == (0, "")


@pytest.mark.parametrize("hint", CREATES)
def test_create_on_a_machine(hint: str, tmp_path: Path) -> None:
    asked, break_it, follow = CREATES[hint]
    jobs = [
        machines.job(f"NVIDIA_VISIBLE_DEVICES={asked}", shell=f"{command}\n{machines.SETTLE}")
        for command in (break_it, follow)
    ]

    failed, done = machines.create("t4x1", tmp_path, *jobs)

    assert failed["code"] == 1
    assert pattern(hint).search(failed["err"]), failed["err"]
    assert (done["code"], done["err"]) == (0, "")


# The prestart hook: what is wrong, and what is done about it.
PRESTART: dict[str, tuple[Callable[[Hook], object], Callable[[Hook], object]]] = {
    "add CAP_SYS_ADMIN, or take … out": (
        lambda hook: hook.site.write_bundle(container("NVIDIA_MIG_CONFIG_DEVICES=0")),
        lambda hook: hook.site.write_bundle(
            container("NVIDIA_MIG_CONFIG_DEVICES=0", capabilities={"bounding": ["CAP_SYS_ADMIN"]})
        ),
    ),
    "take them out of …, or add them to …": (
        lambda hook: (
            hook.site.write_bundle(container("NVIDIA_DRIVER_CAPABILITIES=video")),
            hook.write_settings('supported-driver-capabilities = "compute,utility"'),
        ),
        lambda hook: hook.write_settings('supported-driver-capabilities = "compute,utility,video"'),
    ),
    "correct ….path, or leave it empty: ours does the work then": (
        lambda hook: (
            hook.site.write_bundle(container()),
            hook.write_settings(cli=f"path = {json.dumps(broken(hook.site))}"),
        ),
        lambda hook: hook.write_settings(),
    ),
    "correct the file, or take the entry out": (
        lambda hook: (
            hook.site.write_bundle(container()),
            hook.write_settings(cli='environment = ["no value"]'),
        ),
        lambda hook: hook.write_settings(cli='environment = ["A=1"]'),
    ),
    "does nvidia-smi answer, and what does dmesg say of the driver? or raise …": (
        lambda hook: (
            hook.site.write_runtime(hook.cli.name, "sleep 1.5"),
            hook.site.write_bundle(container()),
            hook.write_settings("nvidia-container-runtime-hook.timeout = 1"),
        ),
        lambda hook: hook.write_settings("nvidia-container-runtime-hook.timeout = 20"),
    ),
    "the mode for these devices is …, and the hook is legacy mode's; … and … in … decide": (
        lambda hook: (hook.site.write_bundle(container()), hook.write_settings(mode="cdi")),
        lambda hook: hook.write_settings(mode="legacy"),
    ),
}


@pytest.mark.parametrize("hint", PRESTART)
def test_prestart_hook(hint: str, site: Site) -> None:
    hook = Hook(site)
    break_it, follow = PRESTART[hint]
    break_it(hook)
    failed = hook.run()
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    follow(hook)

    done = hook.run()
    assert (done.code, done.err) == (0, "")


def test_configuration_of_the_prestart_hook(site: Site) -> None:
    hook = Hook(site)
    site.write_bundle(container())
    hint = pattern("correct …, or leave it out: without a file the defaults hold")

    assert hint.search(hook.run("-config=/nope.toml", "prestart").err)
    assert hook.run(f"-config={site.config}", "prestart").code == 0


def test_bundle_of_a_create(site: Site) -> None:
    specs(site, "0")
    ask(site)

    failed = site.run("create", "c1", "--bundle")

    assert pattern("--bundle names the bundle's folder").search(failed.err)
    assert site.create().code == 0


@pytest.mark.parametrize(
    ("hint", "wrong", "right"),
    [
        (
            "'nvidia-cdi-hook --help' lists the verbs and their flags",
            ["create-symlinks", "--nope"],
            ["--help"],
        ),
        (
            "write TARGET…LINK",
            ["create-symlinks", "--link", "a"],
            ["create-symlinks", "--link", "a::/usr/lib/b"],
        ),
        (
            "an OCI runtime calls hooks, and writes the state: see the OCI runtime-spec, "
            "runtime.md",
            ["update-ldcache", "--container-spec", "/dev/null"],
            ["update-ldcache", "--container-spec", "{state}"],
        ),
    ],
)
def test_cdi_hook(hint: str, wrong: list[str], right: list[str], site: Site) -> None:
    (site.bundle / "rootfs/etc").mkdir(parents=True)
    ask(site, root={"path": "rootfs"})
    state = site.folder / "state.json"
    state.write_text(json.dumps({"ociVersion": "1.0.0", "bundle": str(site.bundle)}))

    def run(words: list[str]) -> shim.Ended:
        with state.open("rb") as stdin:
            words = [word.format(state=state) for word in words]
            launcher = shim.BIN / "nvidia-cdi-hook"
            return shim.end(site.start(*words, launcher=launcher, stdin=stdin))

    failed, done = run(wrong), run(right)

    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert done.code == 0, done.err


def test_beginning_of_an_id(site: Site) -> None:
    specs(site, "0")
    for name in ("ab", "ac"):
        ask(site)
        assert site.create(name).code == 0

    def explain(name: str) -> shim.Ended:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        words = [sys.executable, "-c", code, "explain", name]
        return shim.end(site.execute(words, env=site.environment))

    assert pattern("add more of the id").search(explain("a").err)
    assert explain("ab").code == 0


def test_name_of_two_containers(site: Site) -> None:
    specs(site, "0")
    ask(site, annotations={"nerdctl/name": "web"})
    root = site.folder / "runc"
    for name in ("ab", "ac"):
        assert site.run("--root", root, "create", "--bundle", site.bundle, name).code == 0
        (root / name).mkdir(parents=True)
        (root / name / "state.json").write_text('{"init_process_pid": 0, "init_process_start": 0}')

    def explain(name: str) -> shim.Ended:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        words = [sys.executable, "-c", code, "explain", name]
        return shim.end(site.execute(words, env=site.environment))

    assert pattern("name one by its id").search(explain("web").err)
    assert explain("ab").code == 0


def test_image_of_another_engine(tmp_path: Path) -> None:
    def explain(image: str | Path) -> ctk.Ended:
        return ctk.run("explain", "--image", image, DOCKER_HOST="unix:///nowhere")

    assert pattern(EXPORT).search(explain("nowhere/x:1").err)
    file = written.packed(written.layout(tmp_path / "x", [{"a": "b"}]), tmp_path / "x.tar")
    assert explain(file).code == 0


EXPORT = (
    "docker's and podman's are known by name; of another engine export it ('ctr images export "
    "FILE NAME'), and name the file"
)


def test_journal_of_the_engines(tmp_path: Path) -> None:
    journal = tmp_path / "engines.json"
    journal.symlink_to(journal.name)
    words = [word.format(tmp=tmp_path) for word in DOCKER]
    env = {"STATE_DIRECTORY": str(tmp_path)}
    hint = pattern("move it away to go on without what it says")

    assert hint.search(ctk.run(*words, **env).err)
    assert not (tmp_path / "daemon.json").exists()
    journal.rename(tmp_path / "away")
    assert ctk.run(*words, **env).code == 0


@pytest.mark.parametrize("hint", CONTAINERS)
def test_container(hint: str, site: Site) -> None:
    break_it, follow = CONTAINERS[hint]
    break_it(site)
    failed = site.create()
    assert failed.code in (1, 127)
    assert pattern(hint).search(failed.err), failed.err

    follow(site)

    done = site.create()
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


MS_REMOUNT = 32
# What a file system or a limit refuses: what mounts or changes it, and what undoes that.
LIMITS: dict[str, tuple[Follow, Follow]] = {
    "make the file system writable": (
        lambda site: remount(site, "size=1m,ro"),
        lambda site: remount(site, "size=1m,rw"),
    ),
    "make room on the file system": (
        lambda site: remount(site, "size=4k"),
        lambda site: remount(site, "size=1m"),
    ),
    "mount -t proc proc /proc": (
        lambda site: (specs(site, "0"), ask(site), cover_proc(site, "tmpfs")),
        lambda site: cover_proc(site, "proc"),
    ),
}


def cover_proc(site: Site, kind: str) -> None:
    site.inside(shim.mount, kind, "/proc", 0, kind)


def remount(site: Site, options: str) -> None:
    """Let the bundle be a file system of its own, which has no room but for config.json."""
    folder, is_first = f"{site.bundle}", not (site.bundle / "config.json").exists()
    if is_first:
        specs(site, "0")
        site.inside(shim.mount, "none", folder, 0, "tmpfs", "size=8k")
        site.inside(ask, site)
    site.inside(shim.mount, "none", folder, MS_REMOUNT | flag(options), "tmpfs", options)


def check_that_it_helps(
    hint: str, break_it: Callable[[Site], object], follow: Callable[[Site], object], site: Site
) -> None:
    """A create fails with the hint, and works without a word when that was followed."""
    break_it(site)
    failed = site.create()
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    follow(site)

    done = site.create()
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


@needs_root
@pytest.mark.parametrize("hint", LIMITS)
def test_limit(hint: str, site: Site) -> None:
    break_it, follow = LIMITS[hint]
    check_that_it_helps(hint, break_it, follow, site)


def hide(site: Site) -> None:
    """Write a spec whose node lies in a folder of root's."""
    folder = site.folder / "hidden"
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / "node")
    node = {"path": "/dev/node", "hostPath": f"{folder}/node"}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", deviceNodes=[node])))


# Calls of a user who is not root: what root alone may see, and what is done about it.
USERS: dict[str, tuple[Follow, Follow]] = {
    "let user … read it: chmod … …": (
        lambda site: (site.specs / "nvidia.json").chmod(0o600),
        lambda site: (site.specs / "nvidia.json").chmod(0o644),
    ),
    "let user … see it, and the folders above it": (
        hide,
        lambda site: (site.folder / "hidden").chmod(0o755),
    ),
    "the bundle's folder must be writable and have room for a copy of config.json": (
        lambda site: os.chown(site.bundle, 0, 0),
        lambda site: os.chown(site.bundle, shim.NOBODY, shim.NOBODY),
    ),
}


@needs_root
@pytest.mark.parametrize("hint", USERS)
def test_user(hint: str, site: Site) -> None:
    break_it, follow = USERS[hint]
    specs(site, "0")
    ask(site)
    os.chown(site.bundle, shim.NOBODY, shim.NOBODY)
    user = site.unprivileged()
    break_it(site)
    failed = site.create(**user)
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    follow(site)

    done = site.create(**user)
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


# The same call by another user, and by root.
AS_ROOT = {
    "these are the records of user …; run it as root for those of root": ("explain", "c1"),
    "device nodes need root": ("simulate", "t4x1", "--write={folder}/user/{name}-machine"),
    "run it as root, or name a file of your own": (
        *("runtime", "configure", "--runtime=docker", "--config={folder}/daemon.json"),
        "--restart=none",
    ),
    "run it as root; lsattr shows whether the file is immutable": (
        *("runtime", "configure", "--runtime=docker", "--config={folder}/sticky/daemon.json"),
        "--restart=none",
    ),
    "try it with sudo": ("simulate", "t4x1", "--", "true"),
}


@needs_root
@pytest.mark.parametrize("hint", AS_ROOT)
def test_call_as_root(hint: str, site: Site) -> None:
    specs(site, "0")
    ask(site)
    assert site.create().code == 0
    (site.folder / "daemon.json").write_text("{}")
    (site.folder / "sticky").mkdir()
    (site.folder / "sticky").chmod(0o1777)
    (site.folder / "sticky/daemon.json").write_text("{}")
    user = site.unprivileged()

    def call(name: str, **options: Any) -> shim.Ended:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        words = [word.format(folder=site.folder, name=name) for word in AS_ROOT[hint]]
        own = f"{site.folder}/user/{name}"
        env = {**site.environment, "STATE_DIRECTORY": own, "XDG_CACHE_HOME": own}
        env |= options.pop("env", {})
        argv = [sys.executable, "-c", code, *words]
        return shim.end(site.execute(argv, env=env, **options))

    failed = call("one", **user)
    done = call("two")

    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert done.code == 0, done.err


# A machine.toml, and a better one.
MACHINE_FILES = {
    "'nvidia-ctk simulate --show MACHINE' prints one to begin with": ("gpus = 8", ""),
    "models are …; for another one write its 'name'": (
        'gpus = [{model = "x"}]',
        'gpus = [{name = "x"}]',
    ),
    "write an entry for each GPU": (
        'gpus = [{model = "t4", count = 2, minor = 1}]',
        'gpus = [{model = "t4", minor = 1}, {model = "t4", minor = 2}]',
    ),
    "its profiles are …": (
        'gpus = [{model = "a100", mig_devices = [{profile = "9g"}]}]',
        'gpus = [{model = "a100", mig_devices = [{profile = "1g.5gb"}]}]',
    ),
    "write its 'gpu_profiles'": (
        'gpus = [{model = "t4", mig_devices = [{profile = "1g"}]}]',
        'gpus = [{model = "t4", mig_devices = [{profile = "1g"}], gpu_profiles = [{enum = 0, id = 1, '
        'slices = 1, instances = 1, multiprocessors = 1, memory_mib = 1, name = "1g"}], '
        "compute_profiles = [{enum = 0, id = 0, slices = 1}]}]",
    ),
    "its 'compute_profiles' have …": (
        'gpus = [{model = "a100", mig_devices = [{profile = "1g.5gb", slices = 6}]}]',
        'gpus = [{model = "a100", mig_devices = [{profile = "1g.5gb", slices = 1}]}]',
    ),
    "leave one of them out of its 'files'": (
        'gpus = []\nfiles = [{path = "/etc/a"}, {path = "/etc/a/b"}]',
        'gpus = []\nfiles = [{path = "/etc/a/b"}]',
    ),
}


@pytest.mark.parametrize("hint", MACHINE_FILES)
def test_machine_of_ones_own(hint: str, tmp_path: Path) -> None:
    simulated.need_root()
    wrong, right = MACHINE_FILES[hint]
    file = ctk.write(tmp_path / "machine.toml", wrong)

    def write(name: str) -> ctk.Ended:
        return ctk.run("simulate", f"--from={file}", f"--write={tmp_path / name}")

    failed = write("one")
    ctk.write(file, right or ctk.run("simulate", "--show", "t4x1").out)
    done = write("two")

    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert (done.code, done.out) == (0, ""), done.err


# The compiler of simulated machines, and the folder for what it makes: variables of two calls.
COMPILERS = {
    "'apt-get install gcc libc6-dev' or 'dnf install gcc'; $CC names another one": (
        {"CC": "/nope"},
        {"CC": "cc"},
    ),
    "it needs the C library's headers: 'apt-get install gcc libc6-dev'": (
        {"CC": "cc -nostdinc"},
        {"CC": "cc"},
    ),
    "give it to user … with mode 0700, or set XDG_CACHE_HOME": (
        {"XDG_CACHE_HOME": "{tmp}/open"},
        {"XDG_CACHE_HOME": "{tmp}/other"},
    ),
    "XDG_CACHE_HOME names another place": (
        {"XDG_CACHE_HOME": "{tmp}/file"},
        {"XDG_CACHE_HOME": "{tmp}/other"},
    ),
}


@needs_root
@pytest.mark.parametrize("hint", COMPILERS)
def test_compiler(hint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "open/nvidia-container-runtime").mkdir(parents=True)
    (tmp_path / "open/nvidia-container-runtime").chmod(0o777)

    def run(given: dict[str, str]) -> ctk.Ended:
        env = {"XDG_CACHE_HOME": f"{tmp_path}/cache", **given}
        env = {name: value.format(tmp=tmp_path) for name, value in env.items()}
        return ctk.run("simulate", "t4x1", "--", "true", **env)

    failed, done = map(run, COMPILERS[hint])

    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert done.code == 0, done.err


# Network interfaces: what a spec says at first, and then.
INTERFACES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "see 'ip link'; load the driver, or correct hostInterfaceName in the CDI spec": (
        {"hostInterfaceName": "nvcr-none", "name": "eth1"},
        {"hostInterfaceName": "nvcr0", "name": "eth1"},
    ),
    "name and hostInterfaceName of netDevices in the CDI spec say what becomes what": (
        {"hostInterfaceName": "nvcr0", "name": "eth/1"},
        {"hostInterfaceName": "nvcr0", "name": "eth1"},
    ),
}


@needs_root
@pytest.mark.parametrize("hint", INTERFACES)
def test_interface(hint: str, site: Site) -> None:
    own = 'ip link add nvcr0 type veth peer name nvcr1 && exec "$0" "$@"'
    words = ["unshare", "--net", "sh", "-c", own, str(site.launcher), "create"]

    def create(device: dict[str, str]) -> shim.Ended:
        edits = builders.device("0", netDevices=[device])
        site.write_specs(nvidia=builders.cdi_spec(edits, cdiVersion="1.1.0"))
        ask(site, linux={"namespaces": [{"type": "network"}]})
        env = site.environment
        return shim.end(site.execute([*words, "--bundle", site.bundle, "c1"], env=env))

    failed, done = map(create, INTERFACES[hint])
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert (done.code, done.err) == (0, "")


# The file of an engine, in a folder that may be mounted: what is done to it at first, and then.
ENGINES: dict[str, tuple[Follow, Follow]] = {
    "the file is a mount point: mount its folder instead": (
        lambda site: bind(site, "d/daemon.json"),
        lambda site: (unmount(site, "d/daemon.json"), bind(site, "d")),
    ),
    "the file system is read-only: configure the engine in the system's image": (
        lambda site: mount_anew(site, "size=1m,ro"),
        lambda site: mount_anew(site, "size=1m,rw"),
    ),
    "make room and repeat it; nothing has been changed": (
        lambda site: mount_anew(site, "size=4k"),
        lambda site: mount_anew(site, "size=1m"),
    ),
}


def bind(site: Site, name: str) -> None:
    site.inside(shim.mount, f"{site.folder}/{name}", f"{site.folder}/{name}", shim.MS_BIND)


def unmount(site: Site, name: str) -> None:
    assert shim.end(site.execute(["umount", f"{site.folder}/{name}"])).code == 0


def mount_anew(site: Site, options: str) -> None:
    """Let the folder be a file system of its own, in which the file takes all room."""
    folder = site.folder / "d"
    if not site.inside(os.path.ismount, folder):
        site.inside(shim.mount, "none", f"{folder}", 0, "tmpfs", "size=4k")
        site.inside((folder / "daemon.json").write_text, "{}")
    site.inside(shim.mount, "none", f"{folder}", MS_REMOUNT | flag(options), "tmpfs", options)


def flag(options: str) -> int:
    """Return the flag of a file system that is to be read-only."""
    return int(options.endswith("ro"))


@needs_root
@pytest.mark.parametrize("hint", ENGINES)
def test_file_of_an_engine(hint: str, site: Site) -> None:
    break_it, follow = ENGINES[hint]
    (site.folder / "d").mkdir()
    (site.folder / "d/daemon.json").write_text("{}")

    def configure() -> shim.Ended:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        words = ["runtime", "configure", "--runtime=docker", "--restart=none"]
        words.append(f"--config={site.folder}/d/daemon.json")
        env = {**site.environment, "STATE_DIRECTORY": f"{site.folder}/state"}
        return shim.end(site.execute([sys.executable, "-c", code, *words], env=env))

    break_it(site)
    failed = configure()
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    follow(site)

    done = configure()
    assert done.code == 0, done.err


def test_spec_of_a_driver_that_is_gone(tmp_path: Path) -> None:
    spec = ctk.write(tmp_path / "nvidia.json", builders.cdi_spec())

    def refresh(*flags: str) -> str:
        code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
        words = [sys.executable, "-c", code, "cdi", "refresh", f"--output={spec}", *flags]
        return simulated.run("nogpu", words, env={"PATH": os.environ["PATH"]}).stdout

    assert "no NVIDIA driver is loaded; --prune removes it" in refresh()
    assert spec.exists()

    refresh("--prune")
    assert not spec.exists()


# On a simulated machine: what happens to it, a command that fails then, and what is done about it.
CONF = '"$NVIDIA_SIMULATED_MACHINE/mock-nvml.conf"'
GENERATE_BY_NVML = "ctk cdi generate --feature-flag=enable-coherent-annotations"
MAKE_NODES = "ctk system create-device-nodes --control-devices"
MAKE_LINKS = "ctk system create-dev-char-symlinks --create-all --dev-char-path=/run/char"
NO_GPU = "'/^.gpu/,$d'"
LOCK = f"/run/{NAME}/refresh.lock"
LOAD = "ctk system create-device-nodes --load-kernel-modules"


def program(path: str, does: str) -> str:
    """Return the command that installs a program of the machine's own."""
    return f"rm -f {path}; printf '#!/bin/sh\\n%s\\n' '{does}' > {path}; chmod 755 {path}"


def unloaded(driver: str) -> str:
    """Return the commands that take a driver's line from the kernel's list until it is loaded."""
    return f"""cp /proc/devices /run/loaded; grep -v {driver} /run/loaded > /proc/devices
        {program("/sbin/modprobe", "cat /run/loaded > /proc/devices")}"""


def edit_nvml(words: str) -> str:
    return f"cp -n {CONF} /run/kept; sed {words} /run/kept > {CONF}"


DRIVERS: dict[str, tuple[str, str, str, str]] = {
    "install the driver there, or set the driver root (nvidia-container-cli.root)": (
        "t4x1",
        "mkdir /run/hidden; mv /usr/lib/x86_64-linux-gnu/libnvidia-ml.so* /run/hidden",
        f"{GENERATE_BY_NVML} --mode=nvml",
        "mv /run/hidden/* /usr/lib/x86_64-linux-gnu",
    ),
    "'nvidia-smi' as root makes it": (
        "t4x1",
        "rm /dev/nvidia0",
        GENERATE_BY_NVML,
        program("/usr/bin/nvidia-smi", "mknod -m 666 /dev/nvidia0 c 195 0") + "; nvidia-smi",
    ),
    "'lspci -d 10de:' shows GPUs, dmesg why the driver does not take them": (
        "t4x1",
        f"mv /proc/driver/nvidia/gpus/* /run; {edit_nvml(NO_GPU)}",
        "ctk cdi generate",
        f"mv /run/0000:* /proc/driver/nvidia/gpus; cat /run/kept > {CONF}",
    ),
    "'nvidia-smi mig -cgi PROFILE -C' makes some, 'nvidia-smi -mig 0' ends MIG mode": (
        "a100x8",
        edit_nvml("'s/^mig = disabled/mig = enabled/'"),
        GENERATE_BY_NVML,
        program("/usr/bin/nvidia-smi", f"cat /run/kept > {CONF}") + "; nvidia-smi -mig 0",
    ),
    "load the driver: --load-kernel-modules, or modprobe nvidia": (
        "t4x1",
        f"rm /dev/nvidiactl; {unloaded('nvidia')}",
        MAKE_NODES,
        f"{MAKE_NODES} --load-kernel-modules; rm /dev/nvidiactl; modprobe nvidia",
    ),
    "load its module: --load-kernel-modules, or modprobe …": (
        "t4x1",
        f"rm /dev/nvidiactl; {unloaded('nvidia-uvm')}",
        MAKE_NODES,
        f"{MAKE_NODES} --load-kernel-modules; rm /dev/nvidiactl; modprobe nvidia-uvm",
    ),
    "load the driver anew: it offers MIG but has not registered its nodes": (
        "a100x8mig",
        unloaded("nvidia-caps$"),
        MAKE_LINKS,
        "modprobe -r nvidia; modprobe nvidia",
    ),
    "does 'nvidia-smi' answer, and what does dmesg say of NVRM?": (
        "t4x1",
        edit_nvml("'/^.system/afail = nvmlInit_v2:999'"),
        GENERATE_BY_NVML,
        f"cat /run/kept > {CONF}",
    ),
    "is the driver completely installed, and all of it in one version?": (
        "t4x1",
        "cd /usr/lib/x86_64-linux-gnu; file=$(realpath libnvidia-ml.so.1); cp $file /run/whole"
        "; : > $file",
        GENERATE_BY_NVML,
        "cat /run/whole > $file",
    ),
    "it has no GPU": (
        "t4x1",
        f"rm -r /proc/driver/nvidia/gpus/*; {edit_nvml(NO_GPU)}; id=0",
        "ctk cdi generate --device-id=$id",
        "id=none",
    ),
    "install the driver for this kernel, run as root, and see dmesg": (
        "t4x1",
        program("/sbin/modprobe", "echo no nvidia for this kernel; exit 1"),
        LOAD,
        program("/sbin/modprobe", "exit 0"),
    ),
    "see the kernel's log: dmesg": (
        "t4x1",
        program("/sbin/modprobe", "exec sleep 60"),
        f"{LOAD}  # with less patience",
        program("/sbin/modprobe", "exit 0"),
    ),
    "in Windows, install a driver for WSL, run 'wsl --update', then 'wsl --shutdown'": (
        "wsl2",
        "rm /dev/dxg",
        "ctk cdi generate --mode=wsl",
        "mknod -m 666 /dev/dxg c 10 125",
    ),
    "in Windows, install a driver that supports CUDA in WSL": (
        "wsl2",
        "mkdir /run/hidden; mv /usr/lib/wsl/drivers/* /run/hidden",
        "ctk cdi generate --mode=wsl",
        "mv /run/hidden/* /usr/lib/wsl/drivers",
    ),
    "this is not WSL, or has no GPU support: run 'wsl --update' in Windows": (
        "wsl2",
        "mkdir /run/hidden; mv /usr/lib/wsl/lib/libdxcore.so /run/hidden",
        "ctk cdi generate --mode=wsl",
        "mv /run/hidden/* /usr/lib/wsl/lib",
    ),
    "in Windows, run 'wsl --update' and look after the GPU's driver; then 'wsl --shutdown'": (
        "wsl2",
        "file=/usr/lib/wsl/lib/libdxcore.so; cp $file /run/whole; : > $file",
        "quietly cdi generate --mode=wsl",
        "cat /run/whole > $file",
    ),
    "the driver does: what does dmesg say of NVRM?": (
        "a100x8",
        "cd /proc/driver/nvidia/gpus; cp -r 0000:4e:00.0 0000:ff:00.0"
        "; sed -i s/0000:4e/0000:ff/ 0000:ff:00.0/information",
        "quietly cdi generate --feature-flag=enable-coherent-annotations",
        "rm -r 0000:ff:00.0",
    ),
    "'driverctl set-override … …' gives it away": (
        "vfio",
        "cd /sys/bus/pci/devices",
        "ctk cdi generate --mode=vfio --device-id=0",
        "for name in driver iommu_group; do rm -f 0000:01:00.0/$name"
        "; ln -s $(readlink 0000:02:00.0/$name) 0000:01:00.0/$name; done",
    ),
    "'driverctl set-override … …' gives one to virtual machines": (
        "vfio",
        "cd /sys/bus/pci/devices; for one in 2 3; do mv 0000:0$one:00.0/driver /run/$one; done",
        "ctk cdi generate --mode=vfio",
        "for one in 2 3; do mv /run/$one 0000:0$one:00.0/driver; done",
    ),
    "switch the IOMMU on, in the firmware and by intel_iommu=on where the CPU is Intel's": (
        "vfio",
        "mv /dev/vfio/15 /run",
        "ctk cdi generate --mode=vfio",
        "mv /run/15 /dev/vfio",
    ),
    "on its PCI bus is …": (
        "vfio",
        "id=7",
        "ctk cdi generate --mode=vfio --device-id=$id",
        "id=1",
    ),
    "'fuser -v …' shows it": (
        "t4x1",
        f"mkdir -p -m 755 /run/{NAME}; flock {LOCK} sleep 60 & sleep 0.2",
        "ctk cdi refresh --output=/run/nvidia.yaml  # with less patience",
        f"kill $(fuser -v {LOCK})",
    ),
    "the driver's module must be loaded, and the container must have /proc": (
        "t4x1",
        "cd /run; sed 's/^ModifyDeviceFiles.*/ModifyDeviceFiles: 1/' $params > new"
        "; cat new > $params; mkdir -p b/rootfs/dev"
        """; echo '{"ociVersion": "1.0.0", "root": {"path": "rootfs"}}' > b/config.json"""
        """; echo '{"ociVersion": "1.0.0", "bundle": "/run/b"}' > state""",
        f"{shim.BIN}/nvidia-cdi-hook disable-device-node-modification < /run/state",
        "mkdir b/rootfs/proc; mount --rbind /proc b/rootfs/proc",
    ),
    "run it as root": (
        "t4x1",
        "rm /dev/nvidiactl; as='setpriv --reuid=65534 --clear-groups'",
        f"{MAKE_NODES}",
        "as=",
    ),
}
BETWEEN = "what the hint says is done now"
ON_MACHINE = """
ctk() {{ $as {python} -c {code} "$@" > /dev/null; }}
quietly() {{ ctk "$@" 2> /run/said; cat /run/said >&2; ! grep -qE "Windows|NVRM" /run/said; }}
params=/proc/driver/nvidia/params
set -e
{break_it}
! {words} || exit 9
echo {between} >&2
{follow}
{words}
"""


@needs_root
@pytest.mark.parametrize("hint", DRIVERS)
def test_driver(hint: str) -> None:
    machine, break_it, words, follow = DRIVERS[hint]
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r})\n"
    if "patience" in words:
        code += "from nvidia_runtime.host import kernel_modules as k; k.PATIENCE = 1.0\n"
        code += "from nvidia_runtime.cli.cdi import refresh as r; r.LONGEST_WAIT = 0.2\n"
    script = ON_MACHINE.format(
        python=sys.executable,
        code=shlex.quote(code + ctk.PROGRAM),
        break_it=break_it,
        words=words,
        follow=follow,
        between=BETWEEN,
    )
    env = {"PATH": os.environ["PATH"]}

    got = simulated.run(machine, ["bash", "-c", script], env=env)

    failed, _, done = got.stderr.partition(BETWEEN)
    assert pattern(hint).search(failed), got.stderr
    assert got.returncode == 0, done


# A call of the C library that fails in a create: which, and with what; then the machine is well.
CALLS_OF_C: dict[str, tuple[str, int]] = {
    "free memory, or raise the limit of the control group": ("1 rename", errno.ENOMEM),
    "look at the kernel's log (dmesg): the disk may be failing": ("1 rename", errno.EIO),
    "make room, or raise the quota": ("1 rename", errno.EDQUOT),
    "mount the file system anew": ("1 rename", errno.ESTALE),
    "raise the limit of open files (ulimit -n, or LimitNOFILE= of the service)": (
        *("1 open64", errno.EMFILE),
    ),
    "raise the machine's limit of open files (sysctl fs.file-max)": ("1 open64", errno.ENFILE),
    "try again": ("0 read", errno.EIO),
}


@needs_root
@pytest.mark.parametrize("hint", CALLS_OF_C)
def test_call_of_the_c_library(hint: str, site: Site, request: pytest.FixtureRequest) -> None:
    call, number = CALLS_OF_C[hint]
    site.launcher = shim.copy_tree(site.folder / "tree")  # which no other test compiles
    scene = faulty.create(site)
    scene.library = request.getfixturevalue(library.__name__)
    for _ in range(2):  # the first compiles the program
        scene.reset()
        scene.count(kill=False)
    calls = (site.folder / "calls").read_text().splitlines()
    for place in [place for place, name in enumerate(calls, 1) if name == call][::-1]:
        scene.reset()
        failed = scene.faulty(f"fail {place} {number}")
        if failed.code and f"hint: {hint}\n" in failed.err:
            break
    else:
        pytest.fail("says so nowhere")

    done = scene.run(scene.again)

    assert (done.code, done.err, done.runtime) == (0, "", "runc")


# The program's own files: what happens to a copy of them, and what another copy has again.
COPIES: dict[str, Callable[[Path], object]] = {
    "reinstall the package": lambda tree: (tree / "packaging/bin/nvidia-cdi-hook").unlink(),
    "install the package anew; dmesg says whether the disk is failing": lambda tree: (
        tree / "nvidia_runtime/create.py"
    ).unlink(),
}


@needs_root
@pytest.mark.parametrize("hint", COPIES)
def test_program_in_pieces(hint: str, site: Site) -> None:
    hook(site, "update-ldcache")
    ask(site, mounts=[{"destination": "/etc", "source": "/etc"}])
    site.launcher = shim.copy_tree(site.folder / "tree")
    COPIES[hint](site.folder / "tree")
    failed = site.create()
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    shutil.rmtree(site.folder / "tree")
    shim.copy_tree(site.folder / "tree")

    done = site.create()
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


def test_schemas_that_are_missing(tmp_path: Path) -> None:
    shim.copy_tree(tmp_path)
    (tmp_path / "daemon.json").write_text("{}")
    words = [word.format(tmp=tmp_path) for word in DOCKER]
    env = {"PYTHONPATH": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}

    assert "the installation is damaged; repeat it" in ctk.run(*words, **env).err
    shutil.copytree(shim.TREE / "schemas", tmp_path / "schemas")
    assert ctk.run(*words, **env).code == 0


def test_bug(site: Site) -> None:
    """What is to be reported is what --debug shows."""
    specs(site, "0")
    ask(site)
    site.launcher = shim.copy_tree(site.folder / "tree")
    module = site.folder / "tree/nvidia_runtime/create.py"
    module.write_text(f"{module.read_text()}\nraise RuntimeError('a bug')\n")

    failed, told = site.create(), site.run("--debug", "create", "--bundle", site.bundle, "c1")

    assert pattern("run it with … and report it").search(failed.err), failed.err
    assert "run it with --debug" in failed.err
    assert "Traceback" not in failed.err
    assert re.search(r'Traceback.*create\.py", line \d+', told.err, re.DOTALL), told.err


def call_ctk(site: Site, *words: str, **options: Any) -> shim.Ended:
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
    env = {**site.environment, **options.pop("env", {})}
    return shim.end(site.execute([sys.executable, "-c", code, *words], env=env, **options))


PROFILE = ("update-application-profile",)
CARD_NODE = {"path": "/dev/nvidia0", "hostPath": "/dev/null"}


def profile(site: Site) -> None:
    """Let a container want a file of ours, whose folder cannot be made."""
    hook(site, *PROFILE)
    spec = json.loads((site.specs / "nvidia.json").read_text())
    spec["devices"][0]["containerEdits"]["deviceNodes"] = [CARD_NODE]
    site.write_specs(nvidia=spec)
    site.inside(site.state.mkdir)
    (site.state / "mounted").write_text("a file in the way")


def legacy(site: Site, root: str) -> None:
    text = f'nvidia-container-cli.root = "{root}"\n[{NAME}]\nmode = "legacy"\n'
    text += f"runtimes = {json.dumps([str(site.runtime)])}\n"
    site.write_config(text + f'[{NAME}.modes.legacy]\ncuda-compat-mode = "hook"\n')


# What a create finds wrong on the host, and what is done about it there.
STATES: dict[str, tuple[Follow, Follow]] = {
    "make it writable, or remove the folder above it: it is made anew": (
        profile,
        lambda site: shutil.rmtree(site.state),
    ),
    "install the driver there, or set … to where it is": (
        lambda site: (specs(site, "0"), ask(site), legacy(site, f"{site.folder}/driver")),
        lambda site: trees.make(site.folder / "driver", trees.DRIVER),
    ),
}


@needs_root
@pytest.mark.parametrize("hint", STATES)
def test_state(hint: str, site: Site) -> None:
    break_it, follow = STATES[hint]
    check_that_it_helps(hint, break_it, follow, site)


@needs_root
def test_state_folder_that_cannot_be_written(site: Site) -> None:
    specs(site, "0")
    site.state.mkdir(mode=0o755)
    mount = functools.partial(site.inside, shim.mount, "none", f"/run/{NAME}")
    mount(0, "tmpfs", "size=1m,mode=755")
    mount(MS_REMOUNT | flag("ro"), "tmpfs", "size=1m,ro")
    failed = call_ctk(site, "snapshot", "rebuild")
    mount(MS_REMOUNT, "tmpfs", "size=1m,rw")
    done = call_ctk(site, "snapshot", "rebuild")

    assert failed.code == 1
    hint = "try again if a spec was just written; otherwise make the folder writable"
    assert hint in failed.err
    assert (done.code, done.err) == (0, "")


@needs_root
def test_folder_of_another_user(site: Site) -> None:
    channels = site.folder / "root/dev/nvidia-caps-imex-channels"
    channels.mkdir(parents=True, mode=0o700)
    os.mknod(channels / "channel7", 0o20666, os.makedev(234, 7))
    words = ("cdi", "generate", "--mode=imex", f"--dev-root={site.folder}/root")
    user = site.unprivileged()

    failed = call_ctk(site, *words, **user)
    channels.chmod(0o755)
    done = call_ctk(site, *words, **user)

    hint = pattern("let user … read it, and the folders above it")
    assert hint.search(failed.err), failed.err
    assert done.code == 0, done.err


@needs_root
def test_capabilities_of_a_simulated_machine() -> None:
    bound = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    words = simulated.words("t4x1", ["true"])

    failed = subprocess.run([*bound, *words], capture_output=True, text=True, check=False)

    hint = "it needs CAP_SYS_ADMIN and CAP_MKNOD, which a container has when it is privileged"
    assert hint in failed.stderr
    assert subprocess.run(words, check=False).returncode == 0


@needs_root
def test_overlay_over_overlays() -> None:
    """A folder with all that a machine has takes the place of the third one."""
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
    call = shlex.join([sys.executable, "-c", code])
    follow = f"{call} simulate t4x1 --write=/run/m && {call} cdi generate --driver-root=/run/m"

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        return simulated.run("t4x1", simulated.words("t4x1", words))

    failed, done = run(simulated.words("t4x1", ["true"])), run(["sh", "-c", follow])

    hint = "overlayfs is missing, or this is an overlay over another one already; "
    assert (
        f"{hint}--write DIR makes the machine without one, for --driver-root=DIR" in failed.stderr
    )
    assert done.returncode == 0, done.stderr
    assert "nvidia.com/gpu" in done.stdout


# The hook that moves network interfaces, between two namespaces: what is there, the interface's
# name in the container, and what is done; a second container has the first one's id.
MOVES: dict[str, tuple[str, str, str]] = {
    "see 'ip link'": ("", "move c eth1", "add nvcr0"),
    "set another netDevices name in the CDI spec": (
        "add nvcr0; inside ip link add eth1 type veth peer name peer",
        "move c $name",
        "name=eth2",
    ),
    "give one of the two containers another id": (
        "add nvcr1; move c eth1 nvcr1 /other; add nvcr0",
        "move $id eth2",
        "id=d",
    ),
    "apt-get install python3-pyroute2, or … -m pip install pyroute2": (
        "add nvcr0; no=-S",
        "move c eth1",
        "no=",
    ),
}
MOVE = """
set -e
unshare --net sleep 60 & pid=$!
trap 'kill $pid' EXIT
while [ /proc/$pid/ns/net -ef /proc/self/ns/net ]; do sleep 0.01; done
name=eth1 id=c
add() {{ ip link add $1 type veth peer name p-$1; }}
inside() {{ nsenter --target $pid --net "$@"; }}
move() {{
    printf '{{"id": "%s", "pid": %s, "bundle": "%s"}}' $1 $pid ${{4:-/b}} |
        {python} -I $no -c {start} {tree} move /run/netns-records '{{"'${{3:-nvcr0}}'": "'$2'"}}'
}}
{break_it}
! {words} || exit 9
echo {between} >&2
{follow}
{words}
inside ip link >&2
"""


@needs_root
@pytest.mark.parametrize("hint", MOVES)
def test_move_of_an_interface(hint: str, site: Site) -> None:
    break_it, words, follow = MOVES[hint]
    script = MOVE.format(
        python=sys.executable,
        start=shlex.quote(net_devices.START),
        tree=shim.TREE,
        break_it=break_it,
        words=words,
        follow=follow,
        between=BETWEEN,
    )

    got = shim.end(site.execute(["unshare", "--net", "bash", "-c", script]))

    failed, _, done = got.err.partition(BETWEEN)
    assert pattern(hint).search(failed), got.err
    assert got.code == 0, done
    assert re.search(r": eth[12]@", done)


# A create that is to move interfaces with a runc that does not: what is wrong, and what is done.
OLD_RUNC = '# opencontainers/runc/libcontainer\nprintf \'%s\\0\' "$0" "$@"'
PRIVILEGES: dict[str, tuple[Follow, list[str], Follow]] = {
    "… must be root's alone": (
        lambda site: site.state.mkdir() or site.state.chmod(0o777),
        [],
        lambda site: site.state.chmod(0o755),
    ),
    "let an engine of root start the container, or ask for no device with netDevices": (
        lambda _: None,
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"],
        lambda _: None,
    ),
}


@needs_root
@pytest.mark.parametrize("hint", PRIVILEGES)
def test_who_moves_interfaces(hint: str, site: Site) -> None:
    break_it, bound, follow = PRIVILEGES[hint]
    own = 'ip link add nvcr0 type veth peer name nvcr1 && exec "$0" "$@"'
    site.write_runtime("runc", OLD_RUNC)
    nic = builders.device("0", netDevices=[{"hostInterfaceName": "nvcr0", "name": "eth1"}])
    site.write_specs(nvidia=builders.cdi_spec(nic, cdiVersion="1.1.0"))
    ask(site, linux={"namespaces": [{"type": "network"}]})

    def create(*bound: str) -> shim.Ended:
        words = ["unshare", "--net", "sh", "-c", own, *bound, f"{site.launcher}", "create"]
        env = site.environment
        return shim.end(site.execute([*words, "--bundle", site.bundle, "c1"], env=env))

    break_it(site)
    failed = create(*bound)
    follow(site)
    done = create()

    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


# Engines that run, or seem to: a program of the name that listens.


@needs_root
def test_engine_in_a_container(tmp_path: Path) -> None:
    for name in ("etc", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text("version = 2\n")
    socket, file = tmp_path / "c.sock", tmp_path / "etc/config.toml"
    view = f'mount --bind {tmp_path}/other {tmp_path}/etc && exec -a containerd "$@"'
    enter = ("unshare", "--mount", "--propagation", "private", "bash", "-c", view, "bash")
    env = {"CONTAINERD_ADDRESS": f"{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    words = ("runtime", "configure", "--runtime=containerd")
    with listener.running("", socket, "--config", f"{file}", enter=enter):
        failed = ctk.run(*words, **env)
        done = ctk.run(*words, f"--config={file}", "--drop-in-config=", **env)

    assert "hint: or name the file by --config" in failed.err
    assert done.code == 0, done.err
    assert "nvidia" in file.read_text()


@needs_root
def test_flag_of_an_engine(tmp_path: Path) -> None:
    socket, file = tmp_path / "d.sock", tmp_path / "daemon.json"
    file.write_text("{}")
    env = {"DOCKER_HOST": f"unix://{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}

    def configure(*flags: str) -> ctk.Ended:
        with listener.running("dockerd", socket, f"--config-file={file}", *flags):
            words = ("runtime", "configure", "--runtime=docker", "--set-as-default", "--dry-run")
            return ctk.run(*words, **env)

    failed, done = configure("--default-runtime=crun"), configure()

    assert failed.code == 1
    assert "take the flag out of its service first: 'systemctl edit --full docker'" in failed.err
    assert done.code == 0, done.err
    assert json.loads(done.out)["default-runtime"] == "nvidia"


@needs_root
def test_engine_that_reads_nothing_again(tmp_path: Path) -> None:
    socket, file, new = tmp_path / "c.sock", tmp_path / "config.toml", tmp_path / "new"
    file.write_text("version = 2\n")
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    env = {"CONTAINERD_ADDRESS": f"{socket}", "STATE_DIRECTORY": f"{tmp_path}/state"}
    env["PATH"] = f"{systemctl.parent}:{os.environ['PATH']}"
    words = ("runtime", "configure", "--runtime=containerd", f"--config={file}")
    with listener.running("containerd", socket, f"--config={file}") as daemon:
        home = f"PYTHONHOME={listener.HOME['PYTHONHOME']}"
        start = f"{home} exec -a containerd {sys.executable} {listener.__file__} -1 {socket}"
        systemctl.write_text(
            f"#!/bin/bash\nkill -KILL {daemon.pid}\n({start}) > /dev/null 2>&1 &\necho $! > {new}\n"
        )
        systemctl.chmod(0o755)
        failed = ctk.run(*words, "--drop-in-config=", "--restart=signal", **env)
        done = ctk.run(*words, "--drop-in-config=", "--restart=systemd", **env)
    os.kill(int(new.read_text()), 9)

    assert "hint: --restart=systemd restarts it" in failed.err
    assert done.code == 0, done.err
    assert "containerd runs again" in done.err


def test_file_that_changes_meanwhile(folders: dict[str, Path]) -> None:
    program = folders["tmp"] / "containerd"
    file, done = folders["tmp"] / "first.toml", folders["tmp"] / "done"
    once = f"[ -e {done} ] || echo '# by another' >> {file}; touch {done}"
    program.write_text(f"#!/bin/sh\n{once}\necho containerd github.com/containerd v2.1.4\n")
    words = [word.format(**folders) for word in CONTAINERD_2]
    words.append(f"--drop-in-config={folders['tmp']}/conf.d/x.toml")
    env = {"STATE_DIRECTORY": str(folders["tmp"])}

    assert "hint: repeat it\n" in ctk.run(*words, **env).err
    assert ctk.run(*words, **env).code == 0
    assert "# by another" in file.read_text()


def test_configuration_by_two_at_once(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("{}")
    code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r})\n"
    code += f"from nvidia_runtime.engines import write; write.PATIENCE = 0.2\n{ctk.PROGRAM}"
    words = [sys.executable, "-c", code, *(word.format(tmp=tmp_path) for word in DOCKER)]
    env = {**os.environ, "STATE_DIRECTORY": str(tmp_path)}

    def configure() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    with write.locked(str(tmp_path / "daemon.json")):
        failed = configure()

    assert "hint: wait for it, or end it, and repeat this" in failed.stderr
    assert configure().returncode == 0


@needs_root
def test_backup_of_an_engines_file(site: Site) -> None:
    """The file system cannot be written from the moment at which the engine objects."""
    (site.folder / "d").mkdir()
    mount_anew(site, "size=1m,rw")
    file, state = site.folder / "d/daemon.json", site.folder / "state"
    site.inside(file.write_text, '{"debug": true}')
    judges = site.write_runtime(
        "judge", f"grep -q nvidia {file} || exit 0; mount -o remount,ro {site.folder}/d; exit 1"
    )
    words = ["runtime", "configure", "--runtime=docker", f"--config={file}"]
    env = {"STATE_DIRECTORY": str(state)}

    failed = call_ctk(site, *words, f"--executable-path={judges}", env=env)
    mount_anew(site, "size=1m,rw")
    named = re.search(r"hint: its backup is in (\S+)", failed.err)
    assert named, failed.err
    (backup,) = Path(named[1]).iterdir()
    site.inside(shutil.copy, backup, file)

    assert json.loads(site.inside(file.read_text)) == {"debug": True}
    assert call_ctk(site, *words, env=env).code == 0


# A disk that does not answer: what a program opens in a container's root takes its time.
SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>
int openat64(int at, const char *path, int flags, unsigned mode) {
  int (*real)(int, const char *, int, unsigned) = dlsym(RTLD_NEXT, "openat64");
  if (strstr(path, "ld.so.conf"))
    sleep(60);
  return real(at, path, flags, mode);
}
"""


@needs_root
def test_disk_that_does_not_answer(site: Site) -> None:
    """The program is a copy with less patience."""
    hook(site, "update-ldcache", "--folder", "/opt/nv")
    (site.bundle / "rootfs/etc").mkdir(parents=True)
    (site.bundle / "rootfs/etc/ld.so.conf").write_text("/opt/nv\n")
    site.launcher = shim.copy_tree(site.folder / "tree")
    verbs = site.folder / "tree/nvidia_runtime/prepare/verbs.py"
    verbs.write_text(verbs.read_text().replace("SECONDS = 60.0", "SECONDS = 0.3"))
    slow = site.folder / "slow.so"
    words = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", f"{slow}", "-ldl"]
    subprocess.run(words, input=SLOW, text=True, check=True)

    failed, done = site.create(env={"LD_PRELOAD": f"{slow}"}), site.create()

    assert failed.code == 1
    hint = "look at what its image and volumes hold, and whether their disks answer"
    assert f"hint: {hint}\n" in failed.err
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


# Those of tests beside what they are about, which follow them there.
ELSEWHERE_HERE = {
    "it is an archive of 'nvidia-ctk report', or the folder that is in one",
    "an image with dockerd is needed: 'docker save --output FILE docker:dind' writes one",
    "'make bundle' makes one, which --toolkit names",
    "name a file in a folder of your own, with room for the image",
    "--write and '-- COMMAND' work anywhere",
    "'… --help' lists what it takes",
    "--pid takes the number of a process in the container",
    "--user takes UID[:GID], or names that this machine knows",
    "modes are …",
    "name the root of a container by its whole path",
    "no driver is installed below …; --root names another folder",
    "TMPDIR names one that is not mounted noexec",
    "the trial needs 30 MB there; TMPDIR names another folder",
    "try one of …",
    "'systemctl disable --now …' first",
    "link to it, and name the link by --nvidia-ctk-path",
    "move it away, or use another --prefix; nothing was changed",
    "name it by --nvidia-ctk-path",
    "install it first, or leave --set-as-default out",
    "leave --restart out, and restart it yourself",
    "run it as root, or name the file by --config",
    "; --prune removes it",
    "correct …, or leave it out: without a file the defaults hold",
    "--output names another file",
    "'make bundle' makes one, which --toolkit-source-root names",
    "--pid-file names another place",
    "--ready-file names another",
    "--restart-mode names another way",
    "--socket names its socket, --restart-mode another way",
    "--toolkit-install-dir names another",
    "--toolkit-install-dir=/usr/local/nvidia is the default",
    "another installation runs; end it first",
    "install from the bundle of this program",
    "it has no effect here; leave it out",
    "it is command, file, or file=/PATH",
    "it is control or none",
    "its name has to be …",
    "one is the folder",
    "the default is management.nvidia.com/gpu",
    "the default is nvidia",
    "containerd from 2.0 and cri-o have it; in containerd 1.7 it is to be switched on",
    "install it: pip install 'nvidia-container-runtime[nri]', or python3-protobuf of Debian",
    "it is not the container's alone, and stays as it is",
    "give --no-cgroups where no control group keeps the container from its devices",
    "install the driver's files again, or give its node back",
    "mend that place in the image, or among the container's volumes",
    "run it as root, or as root in a user namespace",
    "--pid names the container's first process, and ROOTFS the root in its mount namespace",
    "its control group, or one above, may be read-only, or lack them itself",
    "move it away; what it says cannot be undone then",
    "restart the container",
    "run it on the host, outside of containers",
    "--bundle names the bundle's folder",
    "'nvidia-cdi-hook --help' lists the verbs and their flags",
    "write TARGET…LINK",
    "an OCI runtime calls hooks, and writes the state: see the OCI runtime-spec, runtime.md",
    EXPORT,
    "add more of the id",
    "name one by its id",
    "move it away to go on without what it says",
    "the installation is damaged; repeat it",
    "run it with … and report it",
    "let user … read it, and the folders above it",
    "it needs CAP_SYS_ADMIN and CAP_MKNOD, which a container has when it is privileged",
    "overlayfs is missing, or this is an overlay over another one already; ",
    "--write DIR makes the machine without one, for --driver-root=DIR",
    "or name the file by --config",
    "take the flag out of its service first: 'systemctl edit --full …'",
    "--restart=… restarts it",
    "repeat it",
    "wait for it, or end it, and repeat this",
    "its backup is in …/…",
    "look at what its image and volumes hold, and whether their disks answer",
    "try again if a spec was just written; otherwise make the folder writable",
}


TABLES = (
    *(CONTAINERS, MACHINES, CREATES, REQUIREMENTS, PRESTART, LIMITS, USERS, AS_ROOT),
    *(COMPILERS, INTERFACES, ENGINES, DRIVERS, CALLS_OF_C, COPIES, STATES, MOVES),
    *(PRIVILEGES, MACHINE_FILES),
)


def test_no_hint_is_untried() -> None:
    """Each is in a table above, or in BEYOND; and none of these is gone."""
    tried = {row[0] for row in CALLS}.union(*TABLES, ELSEWHERE_HERE)
    texts = tried | {hint for listed in BEYOND.values() for hint in listed}

    assert sorted(hints.collect().keys() - texts) == []
    assert sorted(texts - hints.collect().keys()) == []


# What cannot be followed here, and why.
BEYOND: dict[str, tuple[str, ...]] = {
    "needs k3s or rke2, whose own search for the runtime it is about: tests/cli has the hint": (
        "this is a template, such as that of k3s and rke2, which find nvidia-container-runtime "
        "themselves: restart them, and give pods runtimeClassName: nvidia",
        "restart {0} after the runtime was installed, and give pods runtimeClassName: nvidia; "
        "--default-runtime=nvidia of {0} makes it the default",
    ),
    "needs systemd as process 1, which keeps that journal": (
        "'journalctl …-u …' says why",
        "'journalctl -u …' says why",
    ),
    "needs snapd, which needs systemd": ("'snap logs …' says why",),
}
