# SPDX-License-Identifier: Apache-2.0
"""The ways in which a container asks for GPUs, one a row of the table in packaging/engines.md."""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, ...]

DOCKER, PODMAN, CONTAINERD = "docker", "podman", "containerd"
# What a container gets: the nodes of all GPUs, of the first, or of the second.
ALL, FIRST, SECOND = "/dev/nvidia0 /dev/nvidia1", "/dev/nvidia0", "/dev/nvidia1"
NEVER: Version = (10_000,)
NOTHING = "gets nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of asking: ``words`` as the user writes them, and on which daemon or with which runtime.

    It works since a version of the engine; ``refusals`` are patterns of what older ones say, each from
    a version on, the newest first; `NOTHING` is a container without a GPU.  ``place`` names the daemon, or
    podman's user and runtime.
    """

    name: str
    engine: str
    how: str
    place: str
    words: tuple[str, ...]
    gets: str = FIRST
    since: Version = ()
    refusals: tuple[tuple[Version, str], ...] = ()

    def works(self, version: Version) -> bool:
        """Whether it works with a version."""
        return version >= self.since

    def refusal(self, version: Version) -> str:
        """Return what a version says that refuses it."""
        return next(text for since, text in self.refusals if version >= since)


ENV = "--env=NVIDIA_VISIBLE_DEVICES=0"
CDI = "--device=nvidia.com/gpu=0"
OURS = "--runtime=nvidia"
VARIABLE, ANNOTATION, FIELD = "variable", "annotation", "field"  # of a kubelet's call
NO_DRIVER = "could not select device driver"
NO_FILE = "no such file or directory"
NO_PATH = f"is not an absolute path|{NO_DRIVER}"  # the client before 25; the daemon of a newer one

WAYS = (
    Way(
        name="docker-env",
        engine=DOCKER,
        how="`--runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=0`",
        place="named",
        words=(OURS, ENV),
    ),
    Way(
        name="docker-env-default",
        engine=DOCKER,
        how="ours is the default: `-e NVIDIA_VISIBLE_DEVICES=0`",
        place="default",
        words=(ENV,),
    ),
    Way(
        name="docker-gpus-all",
        engine=DOCKER,
        how="`--runtime=nvidia --gpus all`",
        place="named",
        words=(OURS, "--gpus=all"),
        gets=ALL,
    ),
    Way(
        name="docker-gpus-2",
        engine=DOCKER,
        how="`--runtime=nvidia --gpus 2`",
        place="named",
        words=(OURS, "--gpus=2"),
        gets=ALL,
    ),
    Way(
        name="docker-gpus-device",
        engine=DOCKER,
        how="`--runtime=nvidia --gpus device=1`",
        place="named",
        words=(OURS, "--gpus=device=1"),
        gets=SECOND,
    ),
    Way(
        name="docker-gpus-default",
        engine=DOCKER,
        how="ours is the default: `--gpus all`",
        place="default",
        words=("--gpus=all",),
        gets=ALL,
    ),
    Way(
        name="docker-gpus-no-hook",
        engine=DOCKER,
        how="`--runtime=nvidia --gpus all`, our hook not in dockerd's `PATH`",
        place="bare",
        words=(OURS, "--gpus=all"),
        since=NEVER,
        refusals=(((), NO_DRIVER),),
    ),
    Way(
        name="docker-gpus-cdi",
        engine=DOCKER,
        how='`--gpus \'"driver=cdi","device=nvidia.com/gpu=0"\'`',
        place="cdi",
        words=('--gpus="driver=cdi","device=nvidia.com/gpu=0"',),
        since=(25,),
        refusals=(((), NO_DRIVER),),
    ),
    Way(
        name="docker-device",
        engine=DOCKER,
        how="`--device nvidia.com/gpu=0`, CDI on (`configure --cdi.enabled`)",
        place="cdi",
        words=(CDI,),
        since=(25,),
        refusals=(((), NO_PATH),),
    ),
    Way(
        name="docker-device-ours",
        engine=DOCKER,
        how="`--runtime=nvidia --device nvidia.com/gpu=0`, CDI on",
        place="cdi",
        words=(OURS, CDI),
        since=(25,),
        refusals=(((), NO_PATH),),
    ),
    Way(
        name="docker-device-silent",
        engine=DOCKER,
        how="`--device nvidia.com/gpu=0`, no word on CDI in daemon.json",
        place="named",
        words=(CDI,),
        since=(28, 2),
        refusals=(((25,), NO_DRIVER), ((), NO_PATH)),
    ),
    Way(
        name="podman-env",
        engine=PODMAN,
        how="`podman --runtime nvidia run -e NVIDIA_VISIBLE_DEVICES=0`",
        place="ours",
        words=(ENV,),
    ),
    Way(
        name="podman-device",
        engine=PODMAN,
        how="`--device nvidia.com/gpu=0`, runc is the runtime",
        place="runc",
        words=(CDI,),
    ),
    Way(
        name="podman-device-ours",
        engine=PODMAN,
        how="`--device nvidia.com/gpu=0`, ours is the runtime",
        place="ours",
        words=(CDI,),
    ),
    Way(
        name="podman-gpus",
        engine=PODMAN,
        how="`--gpus all`, runc is the runtime",
        place="runc",
        words=("--gpus=all",),
        gets=ALL,
        since=(5,),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="podman-gpus-number",
        engine=PODMAN,
        how="`--gpus 1`, which is GPU *number* 1",
        place="runc",
        words=("--gpus=1",),
        gets=SECOND,
        since=(5,),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="podman-rootless-env",
        engine=PODMAN,
        how="rootless: `podman --runtime nvidia run -e NVIDIA_VISIBLE_DEVICES=0`",
        place="rootless-ours",
        words=(ENV,),
    ),
    Way(
        name="podman-rootless-device",
        engine=PODMAN,
        how="rootless: `--device nvidia.com/gpu=0`, runc is the runtime",
        place="rootless-runc",
        words=(CDI,),
    ),
    Way(
        name="podman-rootless-device-ours",
        engine=PODMAN,
        how="rootless: `--device nvidia.com/gpu=0`, ours is the runtime",
        place="rootless-ours",
        words=(CDI,),
    ),
    Way(
        name="ctr-env",
        engine=CONTAINERD,
        how="`ctr run --runc-binary …/nvidia-container-runtime --env NVIDIA_VISIBLE_DEVICES=0`",
        place="ctr-ours",
        words=(ENV,),
    ),
    Way(
        name="ctr-device",
        engine=CONTAINERD,
        how="`ctr run --device nvidia.com/gpu=0`, runc is the runtime",
        place="ctr-runc",
        words=(CDI,),
        since=(2,),
        refusals=(((), NO_FILE),),
    ),
    Way(
        name="cri-env",
        engine=CONTAINERD,
        how="`runtimeClassName: nvidia`, and the variable",
        place="cri-nvidia",
        words=(VARIABLE,),
    ),
    Way(
        name="cri-annotation",
        engine=CONTAINERD,
        how="annotation `cdi.k8s.io/…`, runc is the runtime, CDI on",
        place="cri-runc",
        words=(ANNOTATION,),
        since=(1, 7),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="cri-annotation-ours",
        engine=CONTAINERD,
        how="annotation `cdi.k8s.io/…`, `runtimeClassName: nvidia`, CDI on",
        place="cri-nvidia",
        words=(ANNOTATION,),
        since=(1, 7),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="cri-field",
        engine=CONTAINERD,
        how="the pod's CDI field, runc is the runtime, CDI on",
        place="cri-runc",
        words=(FIELD,),
        since=(1, 7),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="cri-field-ours",
        engine=CONTAINERD,
        how="the pod's CDI field, `runtimeClassName: nvidia`, CDI on",
        place="cri-nvidia",
        words=(FIELD,),
        since=(1, 7),
        refusals=(((), NOTHING),),
    ),
    Way(
        name="cri-field-silent",
        engine=CONTAINERD,
        how="the pod's CDI field, no word on CDI in config.toml",
        place="silent-runc",
        words=(FIELD,),
        since=(2,),
        refusals=(((), NOTHING),),
    ),
)

# What others make of GPUs, `test_other_ways`: the name, the program, and what the user writes.
OTHERS = (
    ("docker-gpus-runc", DOCKER, "runc is the runtime: `--gpus all`, of NVIDIA's the driver alone"),
    ("compose-runtime", "docker compose", "`runtime: nvidia`, and the variable in `environment`"),
    ("compose-deploy", "docker compose", "`runtime: nvidia`, and `deploy: … devices:`"),
    ("compose-deploy-default", "docker compose", "ours is the default: `deploy: … devices:`"),
    ("compose-gpus", "docker compose", "`runtime: nvidia`, and `gpus:`"),
    ("compose-deploy-cdi", "docker compose", "`deploy: … devices:` with `driver: cdi`, CDI on"),
    ("compose-devices", "docker compose", "`devices: [nvidia.com/gpu=0]`, CDI on"),
    ("docker-build-classic", "docker build", "the classic builder, ours the default: `ENV` in it"),
    ("docker-build-kit", "docker build", "BuildKit, which has a runc of its own: the same"),
    ("podman-build-env", "podman build", "ours is the runtime: `ENV NVIDIA_VISIBLE_DEVICES=0`"),
    ("podman-build-device", "podman build", "`--device nvidia.com/gpu=0`, runc is the runtime"),
    ("quadlet", "podman quadlet", "`AddDevice=nvidia.com/gpu=0` becomes `--device`"),
    ("gvisor", "gVisor", "`runsc` as our low-level runtime: the variable"),
)
