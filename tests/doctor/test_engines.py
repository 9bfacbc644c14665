# SPDX-License-Identifier: Apache-2.0
"""What doctor says of engines: a row for each fault, and silence where there is none."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import simulated

from nvidia_runtime.doctor import engines
from nvidia_runtime.doctor.engines import (
    docker,
    facts,
    files,
    groups,
    hooks,
    kubernetes,
    native,
    presence,
    programs,
    ways,
)
from nvidia_runtime.doctor.finding import Code

from . import stand_ins
from .patient import Answer, examine
from .stand_ins import RUNTIME, V1, V2, V3, info, toml, write

BEGINNING = "NCT-04"
NVIDIA_ONLY = f"""version = 2
[{V2}.containerd]
default_runtime_name = "%s"
[{V2}.containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[{V2}.containerd.runtimes.nvidia.options]
BinaryName = "{RUNTIME}"
"""
DEFAULT_TABLE = f"""version = 2
[{V2}.containerd]
default_runtime_name = "nvidia"
[{V2}.containerd.default_runtime]
runtime_type = "io.containerd.runc.v2"
"""
CNI = f'version = 2\n[{V2}.cni]\nbin_dir = "/usr/lib/cni"\n'
IMPORTS = 'imports = ["/etc/containerd/other.toml"]\n'
JIT_CDI = '[nvidia-container-runtime]\nmode = "jit-cdi"\n'
SPEC = stand_ins.spec("/etc/cdi/nvidia.json")
OTHER_SPEC = stand_ins.spec("/run/cdi/nvidia.json")
USER = "setpriv --reuid=65534 --regid=65534 --clear-groups"
ROOTLESS_DOCKER = f"echo /srv/run/docker.sock >/etc/stand-in/dockerd.socket; {USER}"
K3S_ROW = "k3s has found nothing: C35"
K3S = "/var/lib/rancher/k3s"
K3S_LINES = [
    write("/etc/stand-in/containerd.socket", "/run/k3s/containerd/containerd.sock"),
    write("/etc/stand-in/containerd.version", "1.7.23-k3s2"),
    write(f"{K3S}/agent/etc/containerd/config.toml", "version = 2\n"),
    f"mkdir -p /run/k3s/containerd {K3S}/data/x/bin",
    f"cp {{program}} {K3S}/data/x/bin/containerd",
    f"{K3S}/data/x/bin/containerd -c {K3S}/agent/etc/containerd/config.toml",
]
# What RootlessKit makes of /etc.
LINKED = 'mount -t tmpfs x /etc; ln -s /srv/etc/* /etc; exec "$@"'
HOOK_FILE = "/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"


def hook(path: str) -> str:
    return write(HOOK_FILE, {"version": "1.0.0", "hook": {"path": path}, "when": {"always": True}})


def legacy(no_cgroups: str) -> str:
    """Return the lines that set legacy mode."""
    text = '[nvidia-container-runtime]\nmode = "legacy"\n[nvidia-container-cli]\nno-cgroups = {}\n'
    return write("/etc/nvidia-container-runtime/config.toml", text.format(no_cgroups))


def look(*lines: str, machine: str = "t4x1", env: dict[str, str] | None = None) -> Answer:
    """Examine a machine whose engines are those of some lines."""
    script = stand_ins.machine(*lines)
    return examine(machine, script, env={"PATH": stand_ins.PATH, **(env or {})})


FAULTS: list[Any] = [
    pytest.param([], [presence.NO_ENGINE], id="no engine"),
    pytest.param(
        [stand_ins.installed("dockerd", "27.5.1"), stand_ins.installed("containerd", "1.7.24")],
        [presence.NOT_RUNNING, ways.NO_WAY],
        id="docker does not run",
    ),
    pytest.param(
        [
            stand_ins.podman(),
            stand_ins.installed("dockerd", "27.5.1"),
            "mkdir -p /etc/systemd/system/multi-user.target.wants",
            "ln -sf /x /etc/systemd/system/multi-user.target.wants/docker.service",
        ],
        [presence.NOT_RUNNING],
        id="a wanted docker does not run beside podman",
    ),
    pytest.param([stand_ins.docker(version="18.09.1")], [presence.TOO_OLD], id="too old"),
    pytest.param(
        [
            stand_ins.containerd(),
            write("/etc/stand-in/k3s.socket", "/run/k3s/containerd/containerd.sock"),
            "mkdir -p /run/k3s/containerd /opt/k3s/data; cp {program} /opt/k3s/data/k3s",
            write("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", toml(V2, version=2)),
            "ln -s k3s /opt/k3s/data/containerd",
            write("/etc/stand-in/containerd.socket", "/run/k3s/containerd/containerd.sock"),
            "/opt/k3s/data/containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        ],
        [presence.SEVERAL],
        id="two containerds",
    ),
    pytest.param(
        [stand_ins.docker("rm /etc/stand-in/dockerd.answer")], [facts.NO_ANSWER], id="docker hangs"
    ),
    pytest.param([stand_ins.docker(file="{,}")], [facts.BROKEN], id="a broken daemon.json"),
    pytest.param(
        [stand_ins.containerd(file="version = 2\n[a]\n[a]\n")], [facts.BROKEN], id="a broken TOML"
    ),
    pytest.param(
        [stand_ins.docker(f"rm -f {stand_ins.DOCKER}; mkfifo {stand_ins.DOCKER}")],
        [facts.BROKEN],
        id="a pipe for a file",
    ),
    pytest.param(
        [stand_ins.docker(write("/etc/stand-in/dockerd.objection", "directives don't match"))],
        [files.REFUSED],
        id="docker objects",
    ),
    pytest.param(
        [stand_ins.docker(file={**stand_ins.RUNTIMES, "hosts": ["fd://"]}, words="-H fd://")],
        [files.CONFLICT],
        id="hosts in both",
    ),
    pytest.param(
        [
            write(stand_ins.DOCKER, {**stand_ins.RUNTIMES, "default-runtime": "nvidia"}),
            write(
                "/etc/systemd/system/docker.service.d/override.conf",
                "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --default-runtime=nvidia\n",
            ),
            stand_ins.installed("dockerd", "27.5.1"),
        ],
        [presence.NOT_RUNNING, files.CONFLICT],
        id="the default in both",
    ),
    pytest.param(
        [stand_ins.docker(file={**stand_ins.RUNTIMES, "default-runtime": "gone"})],
        [files.NO_DEFAULT],
        id="docker has no such default",
    ),
    pytest.param(
        [stand_ins.containerd(file=NVIDIA_ONLY % "runc")],
        [files.NO_DEFAULT],
        id="containerd 1 has no runc: U1",
    ),
    pytest.param(
        [
            stand_ins.podman(
                file=f"{stand_ins.PODMAN_FILE}[engine.x]\n[a]\n".replace(
                    "[engine]\n", '[engine]\nruntime = "gone"\n'
                )
            )
        ],
        [files.NO_DEFAULT],
        id="podman has no such default",
    ),
    pytest.param(
        [stand_ins.docker(answer=info(Runtimes={"runc": {"path": "runc"}}))],
        [files.BEHIND],
        id="docker was not restarted",
    ),
    pytest.param(
        [
            stand_ins.containerd(file="version = 2\n"),
            "sleep 0.1; nvidia-ctk runtime configure --runtime=containerd",
        ],
        [files.BEHIND],
        id="containerd was not restarted",
    ),
    pytest.param([stand_ins.docker(), f"rm {RUNTIME}"], [programs.GONE], id="the program is gone"),
    pytest.param(
        [
            stand_ins.docker(
                file={},
                answer=info(Runtimes={"nvidia": {"path": "/x/nvidia-container-runtime"}}),
                words="--add-runtime=nvidia=/x/nvidia-container-runtime",
            )
        ],
        [programs.GONE],
        id="the program of a flag is gone",
    ),
    pytest.param(
        [stand_ins.podman(file=stand_ins.PODMAN_FILE.replace("/usr/bin", "/opt/nvidia"))],
        [programs.GONE],
        id="the program moved",
    ),
    pytest.param(
        [
            stand_ins.docker(
                file={"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}},
                answer=info(Runtimes={"nvidia": {"path": "nvidia-container-runtime"}}),
                variables="PATH=/usr/sbin",
            )
        ],
        [programs.GONE, docker.GPUS],
        id="the program is not in the daemon's PATH",
    ),
    pytest.param(
        [
            "mkdir -p /opt/nvidia; cp /usr/bin/env /opt/nvidia/nvidia-container-runtime",
            stand_ins.podman(file=stand_ins.PODMAN_FILE.replace("/usr/bin", "/opt/nvidia")),
        ],
        [programs.NVIDIAS],
        id="another program of that name",
    ),
    pytest.param(
        [
            "mkdir -p /snap/docker/1/bin /var/snap/docker/current/config",
            write("/var/snap/docker/current/config/daemon.json", stand_ins.RUNTIMES),
            stand_ins.docker("rm /etc/docker/daemon.json"),
            "kill $(cat /run/dockerd.pid); rm /run/docker.sock",
            "cp /usr/sbin/dockerd /snap/docker/1/bin/dockerd; /snap/docker/1/bin/dockerd --run",
        ],
        [programs.CONFINED],
        id="the docker of the snap",
    ),
    pytest.param(
        [stand_ins.docker(file={}, answer=info(Runtimes={"runc": {"path": "runc"}}))],
        [ways.NO_WAY],
        id="docker knows nothing of us",
    ),
    pytest.param(
        [stand_ins.containerd(file="version = 2\n")], [ways.NO_WAY], id="containerd knows nothing"
    ),
    pytest.param([stand_ins.crio(file="[crio]\n")], [ways.NO_WAY], id="cri-o knows nothing"),
    pytest.param([stand_ins.podman(file="")], [ways.NO_WAY], id="podman knows nothing"),
    pytest.param(
        [
            stand_ins.containerd(
                write("/etc/containerd/other.toml", CNI),
                file=toml(V2, version=2, extra=IMPORTS),
            )
        ],
        [ways.HIDDEN],
        id="an import hides the runtime: U3",
    ),
    pytest.param(
        [stand_ins.containerd(file=DEFAULT_TABLE)], [ways.NO_WAY], id="a default table decides: U2"
    ),
    pytest.param(
        [stand_ins.containerd(file=toml(V1, version=1), version="2.1.3")],
        [ways.IGNORED],
        id="containerd 2 ignores version 1: N1",
    ),
    pytest.param(
        [stand_ins.containerd(file=toml(V2, version=3), version="2.1.3")],
        [ways.IGNORED],
        id="a table of version 2 in a file of version 3",
    ),
    pytest.param(
        [
            stand_ins.containerd(
                write("/etc/containerd/conf.d/99-nvidia.toml", toml(V2, version=2)),
                file="version = 2\n",
            )
        ],
        [ways.NOT_READ],
        id="the drop-in is not imported",
    ),
    pytest.param(
        [
            stand_ins.containerd(
                write("/etc/containerd/conf.d/99-nvidia.toml", toml(V2, version=2)),
                "cd /",
                file='version = 2\nimports = ["conf.d/*.toml"]\n',
            )
        ],
        [ways.NOT_READ],
        id="containerd 1 looks for the drop-in elsewhere",
    ),
    pytest.param(
        [
            stand_ins.containerd(
                write("/etc/containerd/other.toml", f'[{V1}.cni]\nbin_dir = "/usr/lib/cni"\n'),
                file=toml(V1, version=1, extra=IMPORTS),
                version="1.6.20",
            )
        ],
        [ways.HIDDEN],
        id="an import hides the runtime in version 1: U3",
    ),
    pytest.param(
        [
            write("/srv/daemon.json", {}),
            stand_ins.docker(
                words="--config-file=/srv/daemon.json",
                answer=info(Runtimes={"runc": {"path": "runc"}}),
            ),
        ],
        [ways.NOT_READ],
        id="docker has another file",
    ),
    pytest.param(
        [
            "mkdir -p /snap/docker/1/bin",
            write("/var/snap/docker/current/config/daemon.json", {}),
            stand_ins.docker(answer=info(Runtimes={"runc": {"path": "runc"}})),
            "kill $(cat /run/dockerd.pid); rm /run/docker.sock",
            "cp /usr/sbin/dockerd /snap/docker/1/bin/dockerd; /snap/docker/1/bin/dockerd --run",
        ],
        [ways.NOT_READ],
        id="the docker of the snap has another file: C39",
    ),
    pytest.param(
        [
            stand_ins.podman(),
            write("/srv/containers.conf", "[engine]\n"),
            "export CONTAINERS_CONF=/srv/containers.conf",
        ],
        [ways.NOT_READ],
        id="podman is told of one file",
    ),
    pytest.param(K3S_LINES, [ways.NO_WAY], id=K3S_ROW),
    pytest.param(
        [write(f"{K3S}/agent/etc/containerd/config.toml.tmpl", "version = 2\n"), *K3S_LINES],
        [kubernetes.TEMPLATE],
        id="a template of k3s has nothing: C35",
    ),
    pytest.param(
        [
            SPEC,
            write("/srv/daemon.json", {}),
            stand_ins.docker(
                "mkdir /srv/etc; mount --rbind /etc /srv/etc; rm /etc/docker/daemon.json",
                answer=info(Runtimes={}, CDISpecDirs=["/etc/cdi"]),
                version="28.3.0",
                words="--config-file=/srv/daemon.json",
                variables=f"unshare --mount sh -c '{LINKED}' sh",
            ),
        ],
        [ways.NO_WAY, native.NO_SPEC_THERE],
        id="a rootless docker's /etc is made of links: C22",
    ),
    pytest.param(
        [
            SPEC,
            stand_ins.docker(
                file={"cdi-spec-dirs": ["/srv/cdi"]},
                answer=info(Runtimes={}, CDISpecDirs=["/srv/cdi"]),
                version="28.3.0",
            ),
        ],
        [ways.NO_WAY, native.NO_SPEC_THERE],
        id="CDI specs are elsewhere",
    ),
    pytest.param(
        [
            stand_ins.spec("/srv/cdi/nvidia.json"),
            "rmdir /etc/cdi; ln -s /srv/cdi /etc/cdi",
            stand_ins.podman(),
        ],
        [native.NO_SPEC_THERE],
        id="the folder of CDI specs is a link: C22",
    ),
    pytest.param(
        [
            SPEC,
            stand_ins.podman(
                file=stand_ins.PODMAN_FILE.replace(
                    "[engine]", '[engine]\ncdi_spec_dirs = ["/srv/cdi"]'
                )
            ),
        ],
        [native.NO_SPEC_THERE],
        id="podman reads CDI specs elsewhere",
    ),
    pytest.param(
        [SPEC, stand_ins.docker(answer=info(CDISpecDirs=None))],
        [native.CDI_OFF],
        id="CDI is off in docker: N4",
    ),
    pytest.param([SPEC, stand_ins.containerd()], [native.CDI_OFF], id="CDI is off in containerd"),
    pytest.param(
        [
            f"mkdir -p /opt/nvidia; mv {RUNTIME}-hook /usr/bin/nvidia-ctk /opt/nvidia",
            "ln -s /opt/nvidia/nvidia-ctk /usr/bin/nvidia-ctk",
            stand_ins.docker(),
        ],
        [docker.GPUS],
        id="--gpus finds no hook: C38",
    ),
    pytest.param(
        [
            write("/etc/nvidia-container-runtime/config.toml", JIT_CDI),
            stand_ins.docker(),
        ],
        [docker.NEEDS_RUNTIME],
        id="--gpus comes to the hook, which refuses: N3",
    ),
    pytest.param(
        [
            stand_ins.docker(),
            "mkdir /srv/client; export DOCKER_CONFIG=/srv/client",
            write("/srv/client/config.json", {"currentContext": "desktop-linux"}),
        ],
        [docker.DESKTOP],
        id="Docker Desktop",
    ),
    pytest.param(
        [stand_ins.containerd(file=toml(V2, version=2, extra='disabled_plugins = ["cri"]\n'))],
        [kubernetes.CRI_OFF],
        id="CRI is off",
    ),
    pytest.param(
        [stand_ins.containerd(write(stand_ins.KUBELET, "cgroupDriver: systemd\n"))],
        [kubernetes.MISMATCH],
        id="SystemdCgroup is not the kubelet's: C36",
    ),
    pytest.param(
        [
            stand_ins.containerd(
                f"rm {stand_ins.KUBELET}",
                file=toml(V2, version=2).replace(
                    "SystemdCgroup = false", "SystemdCgroup = true", 1
                ),
            )
        ],
        [kubernetes.MISMATCH],
        id="SystemdCgroup is not runc's",
    ),
    pytest.param(
        [stand_ins.containerd(file=toml(V2, version=2, extra=DEFAULT_TABLE.partition("\n")[2]))],
        [kubernetes.TABLE],
        id="a default table beside ours: U2",
    ),
    pytest.param(
        [SPEC, hook(f"{RUNTIME}-hook"), stand_ins.podman()], [hooks.TWICE], id="a hook beside CDI"
    ),
    pytest.param(
        [hook("/usr/bin/nvidia-container-toolkit"), stand_ins.podman()],
        [hooks.MISSING],
        id="a hook that is gone",
    ),
    pytest.param(
        [legacy("false"), stand_ins.docker(answer=info(CgroupDriver="systemd"))],
        [groups.RELOAD],
        id="daemon-reload takes the GPUs: C01",
    ),
    pytest.param(
        [legacy("true"), stand_ins.docker()],
        [groups.CGROUPS],
        id="no-cgroups for root: C21",
    ),
    pytest.param(
        [
            stand_ins.docker(),
            "printf 'Max open files  1073741816  1073741816  files\\n' >/srv/limits",
            "mount --bind /srv/limits /proc/$(cat /run/dockerd.pid)/limits",
        ],
        [groups.FILES],
        id="a billion files: C04",
    ),
]


@pytest.mark.parametrize(("lines", "codes"), FAULTS)
def test_fault(lines: list[str], codes: list[Any]) -> None:
    answer = look(*(line.replace("{program}", str(stand_ins.program())) for line in lines))

    listed = {finding["code"]: finding for finding in answer.document["findings"]}
    got = [code for code in answer.codes() if code.startswith((BEGINNING, "NCT-00"))]
    assert sorted(got) == [code.id for code in codes], answer.document["findings"]
    for code in codes:
        assert listed[code.id]["what"]
        assert listed[code.id]["engine"] or code is presence.NO_ENGINE


def test_each_code_is_found() -> None:
    codes = {code.id for row in FAULTS for code in row.values[1]}

    assert codes == {code.id for code in engines.CODES}


# Faults whose command a test can follow: the others restart a daemon, or open an editor.
FOLLOWED = {
    files.NO_DEFAULT: "containerd 1 has no runc: U1",
    programs.GONE: "the program moved",
    ways.NO_WAY: "podman knows nothing",
    ways.HIDDEN: "an import hides the runtime: U3",
    ways.IGNORED: "containerd 2 ignores version 1: N1",
    ways.NOT_READ: "the drop-in is not imported",
    native.NO_SPEC_THERE: "podman reads CDI specs elsewhere",
    native.CDI_OFF: "CDI is off in containerd",
    kubernetes.MISMATCH: "SystemdCgroup is not runc's",
    docker.GPUS: "--gpus finds no hook: C38",
    hooks.TWICE: "a hook beside CDI",
    hooks.MISSING: "a hook that is gone",
    kubernetes.TABLE: "a default table beside ours: U2",
    groups.RELOAD: "daemon-reload takes the GPUs: C01",
    groups.CGROUPS: "no-cgroups for root: C21",
}
FOLLOW = """
nvidia-ctk doctor --json >/srv/before.json || true
{python} - >/srv/command <<'END'
import json
findings = json.load(open("/srv/before.json"))["findings"]
(finding,) = [one for one in findings if one["code"] == "{code}"]
print(finding["next"].partition(" && ")[0])
END
sh -eu /srv/command
"""


@pytest.mark.parametrize("code", FOLLOWED, ids=FOLLOWED.values())
def test_command_helps(code: Code) -> None:
    rows = {row.id: row.values[0] for row in FAULTS}
    follow = FOLLOW.format(python=sys.executable, code=code.id)

    answer = look(*rows[FOLLOWED[code]], follow)

    left = {files.BEHIND.id, groups.RELOAD.id} - {code.id}
    assert set(answer.codes(BEGINNING)) <= left, answer.document["findings"]


FIX = """
{python} - <<'END' >/srv/before
{listing}
END
nvidia-ctk doctor --fix --yes >/srv/fix 2>&1 || true
nvidia-ctk doctor --json >/srv/between || true
nvidia-ctk doctor --undo >>/srv/fix 2>&1
{python} - <<'END' >/srv/after
{listing}
END
if grep -q {code} /srv/between || ! cmp /srv/before /srv/after; then cat /srv/fix >&2; exit 9; fi
"""
LISTING = """
import glob
for name in sorted(glob.glob("/etc/c*/**/*.*", recursive=True)):
    print(name, open(name, "rb").read() if name.endswith((".toml", ".conf")) else "")
"""


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param([stand_ins.podman(file="# mine\n")], ways.NO_WAY, id="podman"),
        pytest.param([stand_ins.podman(file="")], ways.NO_WAY, id="podman with an empty file"),
        pytest.param([stand_ins.containerd(file="version = 2\n")], ways.NO_WAY, id="containerd"),
        pytest.param(
            [stand_ins.podman(file=stand_ins.PODMAN_FILE.replace("/usr/bin", "/opt/nvidia"))],
            programs.GONE,
            id="the program moved",
        ),
    ],
)
def test_fix_and_undo(lines: list[str], code: Code) -> None:
    script = FIX.format(python=sys.executable, listing=LISTING, code=code.id)

    answer = look(*lines, script)

    assert code.id in answer.codes(BEGINNING)


HEALTHY = {
    "docker": [stand_ins.docker()],
    "docker, ours the default": [
        stand_ins.docker(
            file={**stand_ins.RUNTIMES, "default-runtime": "nvidia"},
            answer=info(DefaultRuntime="nvidia"),
        )
    ],
    "docker, ours the default, and by a flag": [
        stand_ins.docker(
            write("/etc/stand-in/dockerd.objection", "specified default runtime does not exist"),
            file={"default-runtime": "nvidia"},
            answer=info(DefaultRuntime="nvidia"),
            words=f"--add-runtime nvidia={RUNTIME}",
        )
    ],
    "docker by CDI": [
        SPEC,
        stand_ins.docker(
            file={}, answer=info(Runtimes={}, CDISpecDirs=["/etc/cdi"]), version="28.3.0"
        ),
    ],
    "docker 29, --gpus by CDI": [
        SPEC,
        f"mv {RUNTIME}-hook /usr/bin/nvidia-cdi-hook",
        stand_ins.docker(answer=info(CDISpecDirs=["/etc/cdi"]), version="29.0.1"),
    ],
    "docker with its containerd": [
        stand_ins.docker(),
        write(stand_ins.CONTAINERD, 'disabled_plugins = ["cri"]\n'),
        stand_ins.running("containerd", "1.7.24"),
    ],
    "containerd": [stand_ins.containerd()],
    "containerd 2": [stand_ins.containerd(version="2.1.3", file=toml(V3, version=3))],
    "containerd 2 tells the kubelet who makes groups": [
        stand_ins.containerd(write(stand_ins.KUBELET, "cgroupDriver: systemd\n"), version="2.1.3")
    ],
    "containerd 2, a file of version 2": [stand_ins.containerd(version="2.1.3")],
    "containerd 2 finds what lies beside it": [
        stand_ins.containerd(
            write("/etc/containerd/conf.d/99-nvidia.toml", toml(V3, version=3)),
            "cd /",
            version="2.1.3",
            file='version = 3\nimports = ["conf.d/*.toml"]\n',
        )
    ],
    "nvidia is the only runtime": [stand_ins.containerd(file=NVIDIA_ONLY % "nvidia")],
    "cri-o": [stand_ins.crio()],
    "podman": [stand_ins.podman()],
    "podman by CDI": [OTHER_SPEC, stand_ins.podman(file="")],
    "podman by the user's file": [
        stand_ins.podman(file=""),
        write("/srv/containers.conf", stand_ins.PODMAN_FILE),
        "export CONTAINERS_CONF=/srv/containers.conf",
    ],
}


@pytest.mark.parametrize("lines", HEALTHY.values(), ids=HEALTHY.keys())
def test_healthy(lines: list[str]) -> None:
    answer = look(*lines)

    assert answer.codes(BEGINNING) == [], answer.document["findings"]
    assert set(answer.document["engines"].values()) == {""}


@pytest.mark.parametrize("name", simulated.names())
def test_silent(name: str) -> None:
    answer = look(stand_ins.docker(), stand_ins.podman(), machine=name)

    severities = {"error", "warning"}
    assert [
        finding
        for finding in answer.document["findings"]
        if finding["code"].startswith(BEGINNING) and finding["severity"] in severities
    ] == []
    assert list(answer.document["engines"]) == ["docker", "podman"]


def test_daemon_in_a_container_is_asked() -> None:
    """Its files are others, but docker says what it knows; containerd does not."""
    apart = "unshare --mount sh -c 'mount -t tmpfs x {}; exec \"$@\"' sh"
    answer = look(
        stand_ins.docker(variables=apart.format("/etc/docker")),
        stand_ins.installed("containerd", "1.7.24"),
        write(stand_ins.KUBELET, ""),
        f"{apart.format('/etc/containerd')} /usr/sbin/containerd --run",
    )

    assert answer.codes(BEGINNING) == [], answer.document["findings"]
    assert answer.document["engines"] == {"docker": ""}
    (skipped,) = [one for one in answer.document["skipped"] if one["area"] == "engines"]
    assert skipped["what"].startswith("containerd (pid ")
    assert "mount namespace of its own" in skipped["why"]


@pytest.mark.parametrize(
    ("runtimes", "codes"),
    [(info()["Runtimes"], []), ({}, [ways.NO_WAY])],
    ids=["it knows ours", "it does not"],
)
def test_docker_that_is_no_process_here(runtimes: dict[str, Any], codes: list[Code]) -> None:
    """As Docker Desktop answers in WSL, and a socket of the host's in a container."""
    answer = look(
        f"cp {stand_ins.program()} /usr/sbin/proxy",
        write("/etc/stand-in/proxy.socket", "/run/docker.sock"),
        write("/etc/stand-in/proxy.answer", info(Runtimes=runtimes)),
        "/usr/sbin/proxy --run",
    )

    assert answer.codes(BEGINNING) == [code.id for code in codes], answer.document["findings"]
    assert list(answer.document["engines"]) == ["docker"]


def test_daemon_on_another_socket_is_not_judged() -> None:
    answer = look(
        stand_ins.docker(variables="echo /run/other.sock >/etc/stand-in/dockerd.socket;"),
        stand_ins.podman(),
    )

    assert answer.codes(BEGINNING) == []
    assert answer.document["engines"] == {"podman": ""}
    (skipped,) = [one for one in answer.document["skipped"] if one["area"] == "engines"]
    assert "DOCKER_HOST=unix:///PATH" in skipped["why"]


def test_user_who_may_not_ask_docker() -> None:
    answer = look(
        stand_ins.docker(), "chmod 660 /run/docker.sock; chmod 755 /run", f'set -- {USER} "$@"'
    )

    # Which process listens there, only its owner is told: another dockerd may be taken for it.
    assert list(answer.document["engines"]) == ["docker"]
    (skipped,) = [one for one in answer.document["skipped"] if one["area"] == "engines"]
    assert skipped["what"] == "what docker itself says"
    assert "the group docker" in skipped["why"]


AS_USER = f"""
chmod 755 /run /srv; mkdir -p /srv/user/docker /srv/user/containers /srv/run; chown 65534 /srv/run
export XDG_CONFIG_HOME=/srv/user XDG_RUNTIME_DIR=/srv/run
set -- {USER} "$@"
"""


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        pytest.param([stand_ins.podman()], [], id="podman: the system's file counts"),
        pytest.param(
            [
                stand_ins.podman(file=""),
                write("/srv/user/containers/containers.conf", stand_ins.PODMAN_FILE),
            ],
            [],
            id="podman: the user's file counts",
        ),
        pytest.param([stand_ins.podman(file="")], [ways.NO_WAY], id="podman knows nothing"),
        pytest.param(
            [
                stand_ins.podman(),
                write("/srv/user/containers/containers.conf", '[engine]\nruntime = "gone"\n'),
            ],
            [files.NO_DEFAULT],
            id="podman: the user has another default",
        ),
        pytest.param(
            [
                write("/etc/stand-in/dockerd.answer", info()),
                write("/srv/user/docker/daemon.json", stand_ins.RUNTIMES),
                stand_ins.running("dockerd", "27.5.1", before=ROOTLESS_DOCKER),
            ],
            [],
            id="docker: the user's file counts",
        ),
        pytest.param(
            [
                write(stand_ins.DOCKER, stand_ins.RUNTIMES),
                write("/etc/stand-in/dockerd.answer", info(Runtimes={})),
                stand_ins.running("dockerd", "27.5.1", before=ROOTLESS_DOCKER),
            ],
            [ways.NOT_READ],
            id="docker: root's file does not",
        ),
    ],
)
def test_rootless(lines: list[str], codes: list[Code]) -> None:
    answer = look(AS_USER, *lines, env={"HOME": "/srv/user"})

    assert answer.codes(BEGINNING) == [code.id for code in codes], answer.document["findings"]
    assert len(answer.document["engines"]) == 1


def test_files_that_a_user_may_not_read() -> None:
    """There is no verdict without them."""
    closed = f"chmod 700 {os.path.dirname(stand_ins.PODMAN)}"
    answer = look(stand_ins.podman(file=stand_ins.PODMAN_FILE), closed, f'set -- {USER} "$@"')

    assert answer.codes(BEGINNING) == [], answer.document["findings"]
    assert answer.document["engines"] == {}
    (skipped,) = [one for one in answer.document["skipped"] if one["area"] == "engines"]
    assert skipped["what"] == "podman's files"


def test_containerd_that_needs_no_cri() -> None:
    answer = look(
        write(stand_ins.CONTAINERD, 'disabled_plugins = ["cri"]\n'),
        stand_ins.running("containerd", "1.7.24"),
    )

    assert answer.codes(BEGINNING) == [kubernetes.CRI_OFF.id]
    assert answer.finding(kubernetes.CRI_OFF.id)["severity"] == "note"
    assert answer.document["engines"] == {}


def test_restart_of_k3s_is_what_helps() -> None:
    rows = {row.id: row.values[0] for row in FAULTS}
    lines = [line.replace("{program}", str(stand_ins.program())) for line in rows[K3S_ROW]]

    finding = look(*lines).finding(ways.NO_WAY.id)

    assert finding["next"] == "systemctl restart k3s"
    assert finding["fix"] is None
