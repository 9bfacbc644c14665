# SPDX-License-Identifier: Apache-2.0
"""The command that serves the Node Resource Interface."""

from __future__ import annotations

from nvidia_runtime.cli.tables.table import INTEGER, Command, Switch

NAME = "nvidia-ctk"
NRI = Command(
    "nri",
    "Serve containerd and cri-o as a plugin: CDI devices by annotations of pods.",
    "nri.Nri",
    is_rare=True,
    section="KUBERNETES",
    switches=(
        Switch(
            "index",
            "--nri-plugin-index --index",
            "its place among other plugins, from 0 to 99",
            "NUMBER",
            kind=INTEGER,
            default=10,
            variables=("NRI_PLUGIN_INDEX",),
        ),
        Switch(
            "socket",
            "--nri-socket --socket",
            "the engine's socket",
            "SOCKET",
            default="/var/run/nri/nri.sock",
            variables=("NRI_SOCKET",),
        ),
        Switch(
            "namespace",
            "--nri-namespace --namespace",
            "the namespace of Kubernetes whose pods may have management.nvidia.com/gpu",
            "NAME",
            variables=("NRI_NAMESPACE",),
        ),
        Switch(
            "namespaces",
            "--nri-management-cdi-device-namespaces",
            "others of that kind, repeated or separated by commas",
            "NAME",
            is_list=True,
            variables=("NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES",),
        ),
    ),
    more="""
    A pod's annotation nvidia.cdi.k8s.io/container.NAME, nvidia.cdi.k8s.io/pod or nvidia.cdi.k8s.io
    names CDI devices, separated by commas, which the engine then injects; no runtime class is
    needed.  It runs until SIGTERM, and waits for an engine that is restarted.
    """,
    notes="""
    It needs Python's package protobuf.  The engine does not mount a container's root before it asks
    a plugin, so hooks of CDI specs stay hooks, unless the engine's runtime is ours.
    """,
)
