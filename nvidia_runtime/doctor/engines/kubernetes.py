# SPDX-License-Identifier: Apache-2.0
"""containerd as a kubelet uses it: its CRI plugin, and who sets up control groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines.presence import KUBELET, has_kubelet
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding
from nvidia_runtime.engines import containerd, containerd_files, difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said

DRIVER = re.compile(r"^cgroupDriver:\s*[\"']?(\w+)", re.MULTILINE)
LARGEST = 1 << 20

CRI_OFF = Code(
    "NCT-0435",
    ERROR,
    "CRI is off in containerd",
    """
    disabled_plugins of config.toml has "cri", as the containerd.io package of docker.com ships it.
    A kubelet then finds no service: "unknown service runtime.v1.RuntimeService", and the runtimes
    of the file are used by nobody.  It is a note where no kubelet is here: docker, ctr and nerdctl
    do without CRI, and have the runtime named in their calls, as 'ctr run --runc-binary
    /usr/bin/nvidia-container-runtime --env NVIDIA_VISIBLE_DEVICES=all'.
    """,
    """
    Take "cri" out of disabled_plugins, and restart containerd.
    """,
)
MISMATCH = Code(
    "NCT-0436",
    ERROR,
    "our runtime sets up control groups in another way than the kubelet",
    """
    SystemdCgroup of our runtime is not what the kubelet (cgroupDriver) or the other runtimes have.
    Pods with runtimeClassName: nvidia crash in a loop, or their limits are lost: "expected
    cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/kubepods/…" instead".
    Whole files that were written anew by a tool lose the option.  It is a warning where only the
    other runtimes tell.
    """,
    """
    'nvidia-ctk runtime configure --runtime=containerd' gives ours the options of the default
    runtime; or set SystemdCgroup in the options of the table that is named.
    """,
)
TABLE = Code(
    "NCT-0437",
    WARNING,
    "a table decides the default runtime, whatever the name says",
    """
    containerd 1 takes a table default_runtime with a runtime_type for the default, and heeds
    default_runtime_name no more.  Ours is named there, but pods without a runtimeClassName get the
    runtime of the table, and no GPU.
    """,
    """
    'nvidia-ctk runtime configure --runtime=containerd --set-as-default' takes the table out; or
    take the name out, and give pods runtimeClassName: nvidia.
    """,
)
TEMPLATE = Code(
    "NCT-0438",
    ERROR,
    "a template leaves the runtime out",
    """
    k3s and rke2 make containerd's file anew at each start, and put nvidia-container-runtime there
    if they find it.  A template of one's own (config.toml.tmpl, for containerd 2
    config-v3.toml.tmpl) takes the place of theirs, and has no runtime of ours.
    """,
    """
    Begin the template with the line '{{ template "base" . }}', so that theirs is a part of it, and
    restart k3s or rke2; or remove it, if what it says is in theirs by now.
    """,
)
CODES = (CRI_OFF, MISMATCH, TABLE, TEMPLATE)


def check(facts: Facts) -> Iterator[Said]:
    """Look at containerd."""
    if not facts.is_seen:
        return
    yield from plugin(facts)
    yield from _driver(facts)
    named = difference.at(facts.document, facts.places.default)
    if isinstance(named, str) and named in facts.written and facts.default != named:
        place = ".".join(facts.places.default_table)
        yield Finding(
            code=TABLE,
            what=f"{named} is named as the default, but the table {place} is it",
            where=f"{facts.daemon.config}: {place}",
            command="nvidia-ctk runtime configure --runtime=containerd --set-as-default",
            engine="containerd",
        )


def is_without(facts: Facts) -> bool:
    """Whether this is a containerd without CRI, and nobody here needs that: no file counts then."""
    files = (document for _, document in facts.layers)
    return (
        facts.daemon.engine is containerd.ENGINE
        and not has_kubelet()
        and any(map(containerd_files.has_no_cri, files))
    )


def plugin(facts: Facts) -> Iterator[Said]:
    """Say which file switches CRI off."""
    for path, document in facts.layers:
        if containerd_files.has_no_cri(document):
            yield Finding(
                code=CRI_OFF,
                what=f"{path} disables the CRI plugin",
                where=f"{path}: disabled_plugins",
                engine="containerd",
                severity="" if has_kubelet() else NOTE,
            )
            return


def _driver(facts: Facts) -> Iterator[Said]:
    """Compare who sets up control groups: systemd, or the runtime itself."""
    entries = difference.at(facts.document, facts.places.runtimes)
    if not isinstance(entries, dict):
        return
    kubelets = kubelet_driver()
    for name in facts.written:
        ours = uses_systemd(entries.get(name))
        others = [uses_systemd(entries[other]) for other in entries if other not in facts.written]
        # Since containerd 2 a kubelet asks it which way it goes.
        is_asked = ours in others and not () < facts.daemon.version < (2,)
        if kubelets and ours != (kubelets == "systemd") and not is_asked:
            reason, severity = f"the kubelet's driver is {kubelets}", ""
        elif not kubelets and others and ours not in others:
            reason, severity = "that of the other runtimes is the opposite", WARNING
        else:
            continue
        yield Finding(
            code=MISMATCH,
            what=f"SystemdCgroup of {name} is {str(ours).lower()}; {reason}",
            where=f"{facts.daemon.config}: {'.'.join((*facts.places.runtimes, name))}",
            command="nvidia-ctk runtime configure --runtime=containerd" if others else "",
            engine="containerd",
            severity=severity,
        )


def uses_systemd(entry: object) -> bool:
    """Whether a runtime has its control groups set up by systemd."""
    return difference.at(entry, ("options", "SystemdCgroup")) is True


def kubelet_driver() -> str:
    """Return the driver that the kubelet's file names, "" where it does not."""
    try:
        with open(KUBELET[0], encoding="utf-8", errors="replace") as file:
            match = DRIVER.search(file.read(LARGEST))
    except OSError:
        return ""
    return match[1] if match else ""
