# SPDX-License-Identifier: Apache-2.0
"""A kubelet's part: what a workload's manifest asks for, in the words of the CRI.

A key that is not known here is an error: nothing of a manifest goes unheeded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engines import cri

from .kustomize import Document

# Of the cluster, which a node is not told.
CLUSTERS = {"affinity", "automountServiceAccountToken", "priorityClassName", "tolerations"}
POD = {"containers", "hostPID", "securityContext", "terminationGracePeriodSeconds", "volumes"}
CONTAINER = {"name", "image", "imagePullPolicy", "env", "command", "resources"}
CONTAINER |= {"securityContext", "volumeMounts", "startupProbe", "readinessProbe"}
CONTEXT = {"runAsUser", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}
CONTEXT |= {"appArmorProfile", "seLinuxOptions"}
# Of kubernetes/pkg/securitycontext: what containers do not see, or cannot change.
MASKED = tuple(
    f"/proc/{name}"
    for name in (
        *("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats"),
        *("sched_debug", "scsi"),
    )
) + ("/sys/firmware", "/sys/devices/virtual/powercap")
READONLY = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def sandbox(spec: Document, name: str, namespace: str, group: str) -> Document:
    """Return the pod of a template's specification."""
    check(spec, POD | CLUSTERS)
    options = {"pid": cri.NODE if spec.get("hostPID") else cri.CONTAINER}
    return {
        "metadata": {"name": name, "uid": name, "namespace": namespace},
        "log_directory": f"/run/log/{name}",
        "linux": {
            "cgroup_parent": f"/{group}/{name}",
            "security_context": {"namespace_options": options, "seccomp": seccomp(spec)},
        },
    }


def container(spec: Document, variables: Mapping[str, str]) -> Document:
    """Return the container of a template's specification, with variables that a user adds."""
    (wanted,) = spec["containers"]
    check(wanted, CONTAINER)
    values = {entry["name"]: entry["value"] for entry in wanted.get("env", [])}
    values.update(variables)
    limit = wanted["resources"]["limits"]["memory"]
    return {
        "metadata": {"name": wanted["name"]},
        "image": {"image": wanted["image"]},
        "command": wanted.get("command", []),
        "envs": [{"key": key, "value": value} for key, value in values.items()],
        "mounts": mounts(spec, wanted),
        "log_path": "log",
        "linux": {
            "resources": {"memory_limit_in_bytes": size(limit)},
            "security_context": security(spec, wanted["securityContext"]),
        },
    }


def security(spec: Document, context: Document) -> Document:
    """Return the rights of a container."""
    check(context, CONTEXT)
    capabilities = context["capabilities"]
    return {
        "capabilities": {
            "add_capabilities": capabilities.get("add", []),
            "drop_capabilities": capabilities["drop"],
        },
        "namespace_options": {"pid": cri.NODE if spec.get("hostPID") else cri.CONTAINER},
        "selinux_options": {"type": context["seLinuxOptions"]["type"]},
        "run_as_user": {"value": context["runAsUser"]},
        "readonly_rootfs": context["readOnlyRootFilesystem"],
        "no_new_privs": not context["allowPrivilegeEscalation"],
        "masked_paths": list(MASKED),
        "readonly_paths": list(READONLY),
        "seccomp": seccomp(spec),
        **apparmor(context),
    }


def apparmor(context: Document) -> Document:
    """Return the profile of AppArmor, where one is chosen: not every kernel has it."""
    chosen = context.get("appArmorProfile")
    return {"apparmor": {"profile_type": cri.PROFILES[chosen["type"]]}} if chosen else {}


def seccomp(spec: Document) -> Document:
    """Return the filter of system calls that is the pod's."""
    check(spec["securityContext"], {"seccompProfile"})
    return {"profile_type": cri.PROFILES[spec["securityContext"]["seccompProfile"]["type"]]}


def mounts(spec: Document, wanted: Document) -> list[Document]:
    """Return a container's mounts: those of the manifest."""
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    return [
        {
            "container_path": mount["mountPath"],
            "host_path": paths[mount["name"]],
            "readonly": mount.get("readOnly", False),
            "propagation": cri.PROPAGATION[mount.get("mountPropagation", "None")],
        }
        for mount in wanted["volumeMounts"]
    ]


def folders(spec: Document) -> dict[str, str]:
    """Return the host's folders that a pod has, each with what it has to be."""
    return {volume["hostPath"]["path"]: volume["hostPath"]["type"] for volume in spec["volumes"]}


def size(quantity: str) -> int:
    """Return a size of memory in bytes."""
    number, unit = re.fullmatch(r"(\d+)(\D*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def check(document: Mapping[str, Any], keys: set[str]) -> None:
    """Refuse keys that are not known."""
    assert not document.keys() - keys, f"a kubelet would heed {document.keys() - keys}, too"
