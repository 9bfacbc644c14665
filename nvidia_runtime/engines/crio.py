# SPDX-License-Identifier: Apache-2.0
"""cri-o: crio.conf(5) and its drop-ins.  CDI is always on there."""

from __future__ import annotations

import os

from nvidia_runtime.engines import runtimes, toml_engine, toml_file, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.engine import ChangeSet, Engine, Intent, Layer, Places, Profile
from nvidia_runtime.engines.view import View

PLACES = Places(
    runtimes=("crio", "runtime", "runtimes"),
    default=("crio", "runtime", "default_runtime"),
    program=("runtime_path",),
    spec_dirs=("crio", "runtime", "cdi_spec_dirs"),
)
PROFILES = (
    Profile(
        config="/etc/crio/crio.conf",
        sockets=("/run/crio/crio.sock", "/var/run/crio/crio.sock"),
        units=("crio", "cri-o"),
    ),
)


def configure(intent: Intent) -> ChangeSet:
    """Add our runtime in a drop-in, or in crio.conf itself where there is no drop-in."""
    warnings = ["cri-o has CDI always on; the flag changes nothing"] if intent.cdi else []
    own = write.read(intent.config)
    document = _source(intent)
    entry = toml_engine.options(document, PLACES, intent.name, intent.config)
    if entry is None:
        warnings.append("no runtime runc or crun is configured; ours gets no options of theirs")
    entry = {**(entry or {}), "runtime_path": intent.program, "runtime_type": "oci"}
    if intent.drop_in:
        new = runtimes.with_runtime({}, PLACES, entry, intent)
        change = toml_engine.drop_in(new, PLACES, intent)
    else:
        document = toml_file.parse(own or "", intent.config)
        new = runtimes.with_runtime(document, PLACES, entry, intent)
        change = toml_engine.in_place(intent.config, own, new)
    return ChangeSet(changes=(change,), warnings=tuple(warnings))


def _source(intent: Intent) -> Document:
    """Read what cri-o runs with: from its files, or from itself."""
    if not intent.by_command:
        files = layers(intent.config, View())
        others = [layer for layer in files if not _is_same(layer[0], intent.drop_in)]
        return ENGINE.combined(others, intent.version)
    program = intent.executable or ENGINE.program
    commands = ([program, "status", "config"], ["crio-status", "config"])
    text, name = toml_engine.asked(*commands, root=intent.root)
    return toml_file.parse(text, name)


def _is_same(one: str, other: str) -> bool:
    """Whether two paths lead to one file, as in a container into which folders are mounted."""
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def layers(path: str, view: View) -> list[Layer]:
    """Read crio.conf and its drop-ins; cri-o's packages have their runtimes in one."""
    files = [path, *view.listed(f"{path}.d", "")]
    return [(file, toml_file.parse(view.read(file), file)) for file in files]


def _question(path: str, drop_in: str) -> list[str]:
    folder = ["--config-dir", os.path.dirname(drop_in)] if drop_in else []
    return ["--config", path, *folder, "config"]


ENGINE = Engine(
    name="crio",
    program="crio",
    profiles=PROFILES,
    drop_in="/etc/crio/crio.conf.d/99-nvidia.toml",
    config_flags=("--config", "-config", "-c"),
    default_flags=("--default-runtime", "-default-runtime"),
    prints_configuration=True,
    labels_if="selinux",
    rereads_by="systemd",
    runs_hooks=True,
    cdi_versions=(
        ((1, 23), "0.3.0"),  # go.mod of 1.23.0
        ((1, 27), "0.5.0"),  # go.mod of 1.27.0
        ((1, 30), "0.7.0"),  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1860
        ((1, 33), "0.8.0"),  # go.mod of 1.33.0
    ),
    cdi_by_default=(1, 23),
    oldest=(1, 18),  # with drop-ins
    built_in=("runc", "crun"),
    group_manager=("crio", "runtime", "cgroup_manager"),
    hook_folders=toml_engine.HOOK_FOLDERS,
    format=toml_engine.TOML,
    places_in=lambda _document, _path: PLACES,
    configure=configure,
    layers=layers,
    question=_question,
)
