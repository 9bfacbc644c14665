# SPDX-License-Identifier: Apache-2.0
"""CDI of an engine's own: whether it is on, and finds a CDI spec of GPUs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines.facts import has_gpus
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding
from nvidia_runtime.engines import native_cdi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said

NO_SPEC_THERE = Code(
    "NCT-0424",
    ERROR,
    "an engine looks for CDI specs in other folders",
    """
    The engine injects CDI devices itself, but in its folders no CDI spec names GPUs, while there is
    one in another folder: cdi-spec-dirs of daemon.json, cdi_spec_dirs of config.toml or
    containers.conf name others, or the folder is a link, which engines do not follow.  A rootless
    docker's /etc is made of links, so that it sees no /etc/cdi.  "CDI device injection failed:
    unresolvable CDI devices nvidia.com/gpu=all".  It is a warning where our runtime is there, too.
    """,
    """
    Write the spec where the engine looks (--output=FOLDER/nvidia.yaml), or name the folder in the
    engine's file; for a rootless docker one in the home folder: "cdi-spec-dirs":
    ["/home/USER/.config/cdi"].
    """,
)
CDI_OFF = Code(
    "NCT-0425",
    NOTE,
    "CDI is off in an engine",
    """
    The engine could inject CDI devices, and does not: docker 25 to 28.1 refuses '--device
    nvidia.com/gpu=all', and containerd 1.7 drops what a pod asks for by CDI without a word, so that
    the pod runs without a GPU.  By our runtime containers get their GPUs all the same.
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE --cdi.enabled' and a restart switch it on
    ("features": {"cdi": true} in daemon.json, enable_cdi = true in config.toml).
    """,
)
CODES = (NO_SPEC_THERE, CDI_OFF)


def check(facts: Facts, spec_dirs: list[str], *, has_runtime: bool) -> Iterator[Said]:
    """Look whether CDI of the engine's own would find the CDI specs in our folders."""
    name = facts.engine
    if facts.cdi and not facts.has_spec:
        other = _folder_with_spec(facts, spec_dirs)
        target = next(iter(facts.read_dirs), "")
        if other:
            where = ", ".join(facts.spec_dirs)
            yield Finding(
                code=NO_SPEC_THERE,
                what=f"{facts.called} reads CDI specs in {where}; that of GPUs is in {other}",
                where=facts.daemon.config,
                command=f"nvidia-ctk cdi generate --output={target}/nvidia.yaml" if target else "",
                engine=name,
                severity=WARNING if has_runtime else "",
            )
    elif facts.cdi is False and facts.has_spec and facts.is_seen:
        note = native_cdi.note(facts.daemon.engine, facts.daemon.version, facts.summary.cdi)
        if note and not native_cdi.is_too_old(facts.daemon.engine, facts.daemon.version):
            command = f"nvidia-ctk runtime configure --runtime={name} --cdi.enabled"
            yield Finding(
                code=CDI_OFF,
                what=note.partition(";")[0],
                where=facts.daemon.config,
                command=command,
                engine=name,
            )


def _folder_with_spec(facts: Facts, spec_dirs: list[str]) -> str:
    """Return a folder with a CDI spec of GPUs that the engine does not read."""
    read = {os.path.realpath(facts.view + folder) for folder in facts.read_dirs}
    for folder in dict.fromkeys((*spec_dirs, *native_cdi.SPEC_DIRS)):
        if os.path.realpath(folder) not in read and has_gpus((folder,)):
            return folder
    return ""
