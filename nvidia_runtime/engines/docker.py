# SPDX-License-Identifier: Apache-2.0
"""docker: daemon.json, https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file."""

from __future__ import annotations

from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.engines import difference, docker_gpus, docker_info, json_file, runtimes, write
from nvidia_runtime.engines.difference import Document
from nvidia_runtime.engines.engine import (
    ChangeSet,
    Engine,
    Format,
    Intent,
    Places,
    Profile,
)
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

PLACES = Places(
    runtimes=("runtimes",),
    default=("default-runtime",),
    cdi=("features", "cdi"),
    program=("path",),
    fallback="runc",
    spec_dirs=("cdi-spec-dirs",),
)
RESERVED = "runc"
SCHEMA = "docker-daemon"
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
PROFILES = (
    Profile(config="/etc/docker/daemon.json", sockets=SOCKETS, units=("docker",)),
    Profile(
        name="snap-docker",
        marks="/snap/docker/",
        config="/var/snap/docker/current/config/daemon.json",
        sockets=SOCKETS,
        units=("docker.dockerd",),
        restart=("snap", "restart"),
        note="the docker of the snap runs no program outside of snaps: the runtime's files must "
        "be in /var/snap/docker/common, and --nvidia-runtime-path must name them there",
    ),
    Profile(
        name="rootless-docker",
        is_rootless=True,
        config="$XDG_CONFIG_HOME/docker/daemon.json",
        sockets=("$XDG_RUNTIME_DIR/docker.sock",),
        units=("docker",),
        restart=("systemctl", "--user", "restart"),
    ),
)


def parse(text: str, path: str) -> Document:
    """Read daemon.json; what we would change, and what it needs, must have the right types."""
    document = json_file.parse(text, path)
    wrong = schemas.violations(SCHEMA, _plain(document))
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        where = ": ".join(filter(None, (path, wrong[0].path)))
        raise NvidiaRuntimeError(
            wrong[0].what + others, where, "mend it by hand; nothing was changed"
        )
    return document


def _plain(value: Any) -> Any:
    """Return a document for the schema: a number, which is kept as it is written, becomes one."""
    if isinstance(value, json_file.Number):
        return 0
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return list(map(_plain, value)) if isinstance(value, list) else value


def configure(intent: Intent) -> ChangeSet:
    """Add our runtime to daemon.json; an entry of its name is replaced, all others stay."""
    if intent.name == RESERVED:
        what = "docker keeps the name runc to itself, and would not start again"
        raise NvidiaRuntimeError(what, hint="leave --nvidia-runtime-name out, or take another")
    before = write.read(intent.config)
    document = parse(before or "", intent.config)
    entry: Document = {"args": [], "path": intent.program}
    new = runtimes.with_runtime(document, PLACES, entry, intent)
    edits = difference.between(document, new)
    after = json_file.edit(before or "", edits) if edits else before
    return ChangeSet(changes=(Change(intent.config, before, after),))


def edited(text: str, document: Document, path: str) -> str:
    """Return a text that says what another document does."""
    return json_file.edit(text, difference.between(json_file.parse(text, path), document))


ENGINE = Engine(
    name="docker",
    program="dockerd",
    profiles=PROFILES,
    config_flags=("--config-file",),
    default_flags=("--default-runtime",),
    refuses_both=True,
    socket_variable="DOCKER_HOST",
    reloads="runtimes and the default runtime, but not CDI",
    looks_in_path=True,
    labels_if="selinux-enabled",
    rereads_by="signal",
    cdi_versions=(
        ((25,), "0.6.0"),  # https://github.com/moby/moby/pull/46774
        ((26, 1), "0.7.0"),  # https://github.com/moby/moby/pull/47706
        ((27, 4), "0.8.0"),  # https://github.com/moby/moby/pull/48886
        ((28, 2), "1.0.0"),  # https://github.com/moby/moby/pull/49738; sid has 28.5
    ),
    cdi_by_default=(28, 2),
    oldest=(19, 3),  # with --gpus
    built_in=("runc", "io.containerd."),
    without_cdi="'--device nvidia.com/gpu=0' is refused",
    format=Format(parse=parse, edited=edited),
    places_in=lambda _document, _path: PLACES,
    configure=configure,
    ask=docker_info.ask,
    usage=docker_gpus.usage,
    layers=lambda path, view: [(path, parse(view.read(path), path))],
    # Since dockerd 23.0; an older one leaves it to our schema, which has been asked already.
    question=lambda path, _drop_in: ["--validate", "--config-file", path],
)
