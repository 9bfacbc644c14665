# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk install: a tree on the host, and its engine told of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from nvidia_runtime.admission.policy import UNPRIVILEGED
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.parse import boolean
from nvidia_runtime.cli.tables import install as tables
from nvidia_runtime.cli.tables.runtime import BY_ENGINE
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import options, readiness, run
from nvidia_runtime.installer.settings import CLI, RUNTIME
from nvidia_runtime.store.snapshot import VOLUME_MOUNTS

FEATURES = "features"


class Install(Command):
    """nvidia-ctk install."""

    table = tables.INSTALL
    folder: str
    source: str
    package: str
    pid_file: str
    ready_file: str
    no_daemon: str
    is_probe: str
    is_removal: str
    driver_root: str
    driver_root_here: str
    dev_root: str
    dev_root_here: str
    nodes: list[str]
    cdi: str
    cdi_folder: str
    cdi_kind: str
    debug_file: str
    log_level: str
    mode: str
    default_kind: str
    prefixes: list[str]
    runtimes: list[str]
    skip_mode_detection: str
    cli_debug: str
    accept_envvar: str
    accept_mounts: str
    features: list[str]
    ignore_errors: str
    runtime: str
    no_engine: str
    config: str
    drop_in: str
    drop_in_there: str
    program: str
    socket: str
    restart: str
    engine_cdi: str
    host_root: str
    name: str
    is_default: str
    sources: list[str]
    is_legacy: str
    kind: str
    override: str
    hooks_folder: str
    hook_name: str
    hooks_mode: str
    is_nri: str
    nri_index: int
    nri_socket: str
    nri_namespace: str
    nri_namespaces: list[str]

    def main(self, *folder: str) -> int:
        """Install, wait and clean up; or do one part of it."""
        if len(folder) > 1:
            raise NvidiaRuntimeError("there are too many arguments", hint="one is the folder")
        wanted = options.Options(
            installation=self._installation(*folder),
            driver=self._driver(),
            devices=options.Devices(
                is_on=_is(self.cdi),
                folder=self.cdi_folder,
                kind=self.cdi_kind,
                nodes=tuple(self.nodes) or ("control",),
            ),
            engine=self._engine(),
            nri=self._nri(),
            runtimes=_parts(self.runtimes),
            settings=tuple(self._settings().items()),
        )
        if _is(self.is_probe):
            options.check(wanted)
            readiness.check(wanted.installation)
            return 0
        self._say_what_is_idle()
        act = run.remove if _is(self.is_removal) else run.run
        act(wanted, _lasting(self.tell), _lasting(self.warn))
        return 0

    def _say_what_is_idle(self) -> None:
        """Name flags that change nothing."""
        if self.override not in ("", "{}"):
            self.warn("--runtime-config-override has no effect, as in the toolkit")
        if _is(self.is_legacy):
            self.warn("--use-legacy-config has no effect: a file that is not there gets version 2")
        if _is(self.ignore_errors):
            self.warn("--ignore-errors has no effect: nothing is ignored")
        for source in _parts(self.sources):
            path = source.removeprefix("file=")
            if path != source and os.path.realpath(path) != os.path.realpath(self.config or "/"):
                self.warn(f"--config-source={source} has no effect: the file of --config is read")

    def _installation(self, folder: str = "") -> options.Installation:
        default = next(switch.default for switch in tables.PLACES if switch.field == "folder")
        return options.Installation(
            folder=folder if folder and self.folder == default else self.folder,
            source=self.source,
            package=self.package,
            pid_file=self.pid_file,
            ready_file=self.ready_file,
            is_daemon=not _is(self.no_daemon),
        )

    def _driver(self) -> options.Driver:
        return options.Driver(
            root=self.driver_root or "/",
            here=self.driver_root_here or "/",
            dev_root=self.dev_root,
            dev_here=self.dev_root_here,
        )

    def _engine(self) -> options.Engine:
        return options.Engine(
            name=self.runtime,
            is_configured=not _is(self.no_engine),
            config=self.config,
            drop_in=None if self.drop_in == BY_ENGINE else self.drop_in,
            drop_in_there=self.drop_in_there,
            program=self.program,
            socket=self.socket.removeprefix("unix://"),
            restart=self.restart,
            cdi=_is(self.engine_cdi or self.cdi),
            host_root=self.host_root,
            runtime_name=self.name,
            is_default=_is(self.is_default),
            sources=_parts(self.sources) or ("command", "file"),
            kind=self.kind if self.kind != "io.containerd.runc.v2" else "",
            annotation_prefixes=_parts(self.prefixes),
            hooks_folder=self.hooks_folder,
            hook_name=self.hook_name,
            mode=self.hooks_mode,
        )

    def _nri(self) -> options.Nri:
        return options.Nri(
            is_on=_is(self.is_nri),
            index=self.nri_index,
            socket=self.nri_socket,
            namespace=self.nri_namespace,
            namespaces=_parts(self.nri_namespaces),
        )

    def _settings(self) -> dict[str, object]:
        """Return the settings of config.toml that flags name, as the toolkit has them."""
        settings: dict[str, object] = {
            UNPRIVILEGED: _is(self.accept_envvar),
            VOLUME_MOUNTS: _is(self.accept_mounts),
            f"{RUNTIME}-hook.skip-mode-detection": _is(self.skip_mode_detection),
        }
        texts = {
            f"{RUNTIME}.debug": self.debug_file,
            f"{RUNTIME}.log-level": self.log_level,
            f"{RUNTIME}.mode": self.mode,
            f"{RUNTIME}.modes.cdi.default-kind": self.default_kind,
            f"{CLI}.debug": self.cli_debug,
        }
        settings |= {key: value for key, value in texts.items() if value}
        if prefixes := _parts(self.prefixes):
            settings[f"{RUNTIME}.modes.cdi.annotation-prefixes"] = list(prefixes)
        for name in _parts(self.features):
            if f"{FEATURES}.{name}" not in config.DEFAULTS:
                self.warn(f"--opt-in-features={name} has no effect: there is no such feature")
            else:
                settings[f"{FEATURES}.{name}"] = True
        return settings


def _lasting(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says something, or does not where nobody listens any more: SIGPIPE tells."""

    def said(text: str) -> None:
        with contextlib.suppress(OSError):
            say(text)

    return said


def _is(text: str) -> bool:
    return boolean(text, "a flag")


def _parts(values: list[str]) -> tuple[str, ...]:
    """Split values at commas, as variables have them."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())
