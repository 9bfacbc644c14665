# SPDX-License-Identifier: Apache-2.0
"""podman: containers.conf(5) and its drop-ins.  CDI is always on there."""

from __future__ import annotations

import os

from nvidia_runtime.engines import difference, runtimes, toml_engine, toml_file, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.engine import ChangeSet, Engine, Intent, Layer, Places, Profile
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError

PLACES = Places(
    runtimes=("engine", "runtimes"),
    default=("engine", "runtime"),
    spec_dirs=("engine", "cdi_spec_dirs"),
)
SUFFIX = ".conf"
# containers.conf(5): the one file that is read, and one that is read after all others.
ONLY, LAST = "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"
# containers.conf(5), runtimes; a path needs no name.
BUILT_IN = ("crun", "runc", "crun-vm", "kata", "krun", "ocijail", "runj", "runsc", "youki", "/")
PROFILES = (
    Profile(config="/etc/containers/containers.conf"),
    Profile(
        name="rootless-podman",
        is_rootless=True,
        config="$XDG_CONFIG_HOME/containers/containers.conf",
    ),
)


def configure(intent: Intent) -> ChangeSet:
    """Add our runtime in a drop-in, or in containers.conf itself where there is no drop-in."""
    path = intent.drop_in or intent.config
    if not path.endswith(SUFFIX):
        raise NvidiaRuntimeError(
            "podman reads files only whose name ends in .conf",
            path,
            "such as /etc/containers/containers.conf.d/99-nvidia.conf",
        )
    warnings = ("podman has CDI always on; the flag changes nothing",) if intent.cdi else ()
    edits: Document = {"engine": {"runtimes": {intent.name: [intent.program]}}}
    if intent.is_default:
        edits["engine"]["runtime"] = intent.name
    before = write.read(intent.config)
    document = toml_file.parse(before or "", intent.config)
    runtimes.table(document, PLACES.runtimes, intent.config)
    runtimes.text(document, PLACES.default, intent.config)
    if intent.drop_in:
        change = toml_engine.drop_in(edits, PLACES, intent)
        return ChangeSet(changes=(change,), warnings=warnings)
    new = difference.merged(document, edits)
    return ChangeSet(changes=(toml_engine.in_place(path, before, new),), warnings=warnings)


def layers(path: str, view: View) -> list[Layer]:
    """Read containers.conf and its drop-ins, or the files that variables name in their place."""
    files = [path, *([] if os.environ.get(ONLY) else view.listed(f"{path}.d", SUFFIX))]
    files += filter(None, [os.environ.get(LAST, "")])
    return [(file, toml_file.parse(view.read(file), file)) for file in files]


ENGINE = Engine(
    name="podman",
    program="podman",
    profiles=PROFILES,
    drop_in="{config}.d/99-nvidia.conf",
    config_variable=ONLY,
    cdi_versions=(
        ((4, 1), "0.3.0"),  # go.mod of 4.1.0
        ((4, 3), "0.5.0"),  # go.mod of 4.3.0
        ((4, 7), "0.6.0"),  # go.mod of 4.7.0
        ((5, 1), "0.7.0"),  # https://github.com/containers/podman/pull/22280
        ((5, 2), "0.8.0"),  # go.mod of 5.2.0
        ((5, 5), "1.0.0"),  # go.mod of 5.5.0; sid has 5.8
    ),
    cdi_by_default=(4, 1),
    oldest=(3,),  # with drop-ins
    built_in=BUILT_IN,
    group_manager=("engine", "cgroup_manager"),
    hook_folders=toml_engine.HOOK_FOLDERS,
    format=toml_engine.TOML,
    places_in=lambda _document, _path: PLACES,
    configure=configure,
    layers=layers,
    question=lambda _path, _drop_in: ["info"],
)
