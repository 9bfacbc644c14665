# SPDX-License-Identifier: Apache-2.0
"""A hint helps: each is printed by a call that fails, and followed by one that does not.

The hints are read out of the code, so one that nobody has tried fails here.  What needs a driver,
Windows, a package or an engine that is not here is listed with the reason.
"""

from __future__ import annotations

# Steps are tuples of calls.
# mypy: disable-error-code="func-returns-value"
import json
import os
import re
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
from hook_host import Hook, container
from shim import NAME, Site, needs_root
from sources import test_machine as machines
from sources import test_renew as renew
from sources import test_updates as updates

from nvidia_runtime.simulate import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Follow = Callable[[Site], object]

# Calls of nvidia-ctk: a hint, the words that lead to it, and those that it leads to.
GDR = ("cdi", "generate", "--mode=gdrcopy", "--dev-root={root}")
IMEX = ("cdi", "generate", "--mode=imex", "--dev-root={root}")
CSV = ("cdi", "generate", "--mode=csv", "--driver-root={root}", "--dev-root={root}")
SPEC = ("cdi", "transform", "root", "--input={cdi}/nvidia.json", "--from=/a")
FOLDER_OF_DOCKER = ("runtime", "configure", "--runtime=docker", "--config={tmp}")
DOCKER = (*FOLDER_OF_DOCKER[:3], "--config={tmp}/daemon.json")
MENDED = (*FOLDER_OF_DOCKER[:3], "--config={tmp}/mended.json")
PODMAN = ("runtime", "configure", "--runtime=podman", "--config={tmp}/containers.conf")
SELFTEST = ("selftest", "--security", "--programs={bin}", "--only=T20-link")
CONTAINERD_2 = (
    *("runtime", "configure", "--runtime=containerd", "--config={tmp}/first.toml"),
    "--executable-path={tmp}/containerd",
)
CALLS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
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
    ("--list lists them", ("simulate",), ("simulate", "--list")),
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
    'write ….ldconfig = "@/sbin/ldconfig"': (
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
    "write one: nvidia-ctk cdi generate --output=…/…": (ask, generate),
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
    "add --runtime=nvidia to 'docker run --gpus': our runtime does without it; or install"
    " libnvidia-container-tools, or set ….path to where it is": (
        lambda hook: (
            hook.site.write_bundle(container()),
            hook.write_settings(cli='path = ""'),
        ),
        lambda hook: hook.write_settings(),
    ),
    "reinstall libnvidia-container-tools, or correct ….path": (
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
}


def remount(site: Site, options: str) -> None:
    """Let the bundle be a file system of its own, which has no room but for config.json."""
    folder, is_first = f"{site.bundle}", not (site.bundle / "config.json").exists()
    if is_first:
        specs(site, "0")
        site.inside(shim.mount, "none", folder, 0, "tmpfs", "size=8k")
        site.inside(ask, site)
    site.inside(shim.mount, "none", folder, MS_REMOUNT | flag(options), "tmpfs", options)


@needs_root
@pytest.mark.parametrize("hint", LIMITS)
def test_limit(hint: str, site: Site) -> None:
    break_it, follow = LIMITS[hint]
    break_it(site)
    failed = site.create()
    assert failed.code == 1
    assert pattern(hint).search(failed.err), failed.err

    follow(site)

    done = site.create()
    assert (done.code, done.err, done.runtime) == (0, "", "runc")


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
    "try it with sudo": ("simulate", "t4x1", "--", "true"),
}


@needs_root
@pytest.mark.parametrize("hint", AS_ROOT)
def test_call_as_root(hint: str, site: Site) -> None:
    specs(site, "0")
    ask(site)
    assert site.create().code == 0
    (site.folder / "daemon.json").write_text("{}")
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


ELSEWHERE_HERE = {
    "; --prune removes it",
    "correct …, or leave it out: without a file the defaults hold",
    "--bundle names the bundle's folder",
    "'nvidia-cdi-hook --help' lists the verbs and their flags",
    "write TARGET…LINK",
    "an OCI runtime calls hooks, and writes the state: see the OCI runtime-spec, runtime.md",
    "add more of the id",
    "move it away to go on without what it says",
}


TABLES = (
    *(CONTAINERS, MACHINES, CREATES, REQUIREMENTS, PRESTART, LIMITS, USERS, AS_ROOT),
    *(COMPILERS, INTERFACES, ENGINES),
)


def test_no_hint_is_untried() -> None:
    """Each is in a table above, or in BEYOND; and none of these is gone."""
    tried = {row[0] for row in CALLS}.union(*TABLES, ELSEWHERE_HERE)
    texts = tried | {hint for listed in BEYOND.values() for hint in listed}

    assert sorted(hints.collect().keys() - texts) == []
    assert sorted(texts - hints.collect().keys()) == []


# What cannot be followed here, and why.
BEYOND: dict[str, tuple[str, ...]] = {
    "needs NVIDIA's driver, its modules, or a GPU that is sick": (
        "install the driver there, or set … to where it is",
        "install the driver there, or set the driver root (nvidia-container-cli.root)",
        "'nvidia-smi' as root makes it, and 'nvidia-ctk system create-device-nodes'",
        "'lspci -d 10de:' shows GPUs, dmesg why the driver does not take them",
        "'nvidia-smi mig -cgi PROFILE -C' makes some, 'nvidia-smi -mig 0' ends MIG mode",
        "does nvidia-smi answer, and what does dmesg say of the driver? or raise …",
        "load the driver: --load-kernel-modules, or modprobe nvidia",
        "load its module: --load-kernel-modules, or modprobe …",
        "load the driver anew: it offers MIG but has not registered its nodes",
        "the driver does: what does dmesg say of NVRM?",
        "does 'nvidia-smi' answer, and what does dmesg say of NVRM?",
        "is the driver completely installed, and all of it in one version?",
        "it has no GPU",
        "'fuser -v …' shows it",
        "install the driver for this kernel, run as root, and see dmesg",
        "see the kernel's log: dmesg",
        "the driver's module must be loaded, and the container must have /proc",
    ),
    "is about network interfaces: see tests/net and tests/engines/test_net_devices.py": (
        "give one of the two containers another id",
        "see 'ip link'",
        "set another netDevices name in the CDI spec",
    ),
    "needs Windows": (
        "in Windows, install a driver for WSL, run 'wsl --update', then 'wsl --shutdown'",
        "in Windows, install a driver that supports CUDA in WSL",
        "this is not WSL, or has no GPU support: run 'wsl --update' in Windows",
        "in Windows, run 'wsl --update' and look after the GPU's driver; then 'wsl --shutdown'",
    ),
    "needs a package that is here, or one that is not": (
        "apt-get install python3-pyroute2, or … -m pip install pyroute2",
        "reinstall the package",
        "the installation is damaged; repeat it",
    ),
    "needs an engine that runs so: see tests/cli and tests/engines": (
        "or name the file by --config",
        "take the flag out of its service first: 'systemctl edit --full …'",
        "this is a template, such as that of k3s and rke2, which find nvidia-container-runtime "
        "themselves: restart them, and give pods runtimeClassName: nvidia",
        "'journalctl …-u …' says why",
        "'snap logs …' says why",
        "restart {0} after the runtime was installed, and give pods runtimeClassName: nvidia; "
        "--default-runtime=nvidia of {0} makes it the default",
        "--restart=… restarts it",
        "--config-source=file reads its files instead; --executable-path names the program",
        "run it as root; lsattr shows whether the file is immutable",
        "repeat it",
        "wait for it, or end it, and repeat this",
        "nvidia-ctk keeps a backup of it",
    ),
    "is about a disk, a memory or a limit of the machine: see tests/faults": (
        "free memory, or raise the limit of the control group",
        "look at the kernel's log (dmesg): the disk may be failing",
        "make room, or raise the quota",
        "mount the file system anew",
        "raise the limit of open files (ulimit -n, or LimitNOFILE= of the service)",
        "raise the machine's limit of open files (sysctl fs.file-max)",
        "make it writable, or remove the folder above it: it is made anew",
        "install the package anew; dmesg says whether the disk is failing",
        "try again",
        "look at what its image and volumes hold, and whether their disks answer",
        "try again if a spec was just written; otherwise make the folder writable",
    ),
    "is a bug's, or cannot happen": (
        "run it with … and report it",
        "'nvidia-ctk snapshot drop' removes it",
    ),
    "needs another user, or a machine that refuses what root may": (
        "run it as root",
        "it needs CAP_SYS_ADMIN and CAP_MKNOD, which a container has when it is privileged",
        "overlayfs is missing, or this is an overlay over another one already; ",
        "--write DIR makes the machine without one, for --driver-root=DIR",
        "let user … read it, and the folders above it",
        "let an engine of root start the container, or ask for no device with netDevices",
        "… must be root's alone",
    ),
}
