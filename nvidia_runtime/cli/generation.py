# SPDX-License-Identifier: Apache-2.0
"""The flags of commands that generate CDI specs, most of them also environment variables."""

from __future__ import annotations

import os
import sys

from nvidia_runtime.cdi import engine_support
from nvidia_runtime.cdi.versions import VERSIONS
from nvidia_runtime.cli.command import Command, check_seconds
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import hooks
from nvidia_runtime.generate.options import FLAGS, HOOK, NO_GIDS, Options
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import DRIVER_ROOT

CTK = "nvidia-ctk"
SPEC_VERSION = "nvidia-ctk.cdi-spec-version"
ENGINES, CONTENT = "engines", "content"


class Generating(Command):
    """A command that generates CDI specs of this machine."""

    mode: str
    driver_root: str
    dev_root: str
    library_folders: list[str]
    config_folders: list[str]
    hook_path: str
    ldconfig: str
    vendor: str
    device_class: str
    strategies: list[str]
    csv_files: list[str]
    csv_ignored: list[str]
    compat_root: str
    disabled: list[str]
    enabled: list[str]
    flags: list[str]
    ids: list[str]
    no_all: bool
    version_wanted: str
    patience: float
    hooks_form: str

    lost = ""  # what the CDI version does not have, for a spec with nodes that need it

    def options(self) -> Options:
        """Return the options of the command line.  Raises `NvidiaRuntimeError` for invalid ones."""
        options = Options(self.mode.lower(), _parts(self.ids) or ("all",))
        options.thorough = True
        options.path = os.environ.get("PATH", "")
        options.data_dirs = os.environ.get("XDG_DATA_DIRS", "")
        settings = self._settings()
        options.driver_root = _absolute(self.driver_root or str(settings[DRIVER_ROOT]) or "/")
        options.dev_root = _absolute(self.dev_root)
        options.library_folders = tuple(map(_absolute, _parts(self.library_folders)))
        options.config_folders = tuple(map(_absolute, _parts(self.config_folders)))
        options.ldconfig = self.ldconfig
        options.vendor, options.device_class = self.vendor, self.device_class
        options.strategies = _parts(self.strategies) or options.strategies
        options.csv_files = _parts(self.csv_files)
        options.csv_ignored = _parts(self.csv_ignored)
        options.compat_container_root = self.compat_root
        options.merged_device = self._has_all(options.ids)
        check_seconds("--patience", self.patience)
        options.patience = self.patience
        options.combine_hooks = self.hooks_form == "combined"
        options.hook_program = self._hook_program(self.hook_path)
        self._choose_hooks(options)
        self._choose_flags(options)
        wanted = self.version_wanted or str(settings[SPEC_VERSION])
        self._choose_version(options, wanted.removeprefix("v"))
        return options

    def is_for_engines(self) -> bool:
        """Whether the spec is written where engines read it."""
        return False

    def _settings(self) -> config.Settings:
        """Return the settings of config.toml; a broken one is an error only if it is named."""
        given = str(getattr(self.root_app, "config", ""))
        try:
            return config.compiled(os.path.abspath(given or files.config_path()))
        except NvidiaRuntimeError as error:
            if given:
                raise
            self.warn(f"{error}; the driver root is /")
            return config.defaults()

    def _hook_program(self, given: str) -> str:
        """Return the absolute path of the hook program; a name is one beside us, or in PATH."""
        if "/" in given:
            return os.path.abspath(given)
        name = given or HOOK
        default = CTK if name == CTK else HOOK
        program = lowlevel.beside(os.path.abspath(sys.argv[0]), name) or lowlevel.executable(
            name, default, files.environment(b"PATH")
        )
        if not lowlevel.is_executable(program):
            self.warn(f"{program} is not on this machine; --nvidia-cdi-hook-path names another")
        return program

    def _has_all(self, ids: tuple[str, ...]) -> bool:
        if self.no_all:
            return False
        if "none" in ids:
            self.warn("with the device none there is no device all")
        return "none" not in ids

    def _choose_hooks(self, options: Options) -> None:
        options.disabled_hooks = frozenset(_parts(self.disabled))
        options.enabled_hooks = frozenset(_parts(self.enabled))
        if hooks.ALL in options.enabled_hooks:
            raise NvidiaRuntimeError("--enable-hook needs names of hooks, not 'all'")
        for name in sorted(options.disabled_hooks | options.enabled_hooks):
            if name not in (*hooks.NAMES, hooks.ALL):
                self.warn(f"there is no hook {name!r}; the hooks are {', '.join(hooks.NAMES)}")

    def _choose_flags(self, options: Options) -> None:
        options.flags = frozenset(_parts(self.flags))
        options.with_gids = NO_GIDS not in options.flags
        for name in sorted(options.flags.difference(FLAGS)):
            self.warn(f"the feature flag {name!r} has no effect; the flags are {', '.join(FLAGS)}")

    def _choose_version(self, options: Options, wanted: str) -> None:
        """Choose the CDI version, and leave out what it or the installed engines do not have."""
        if wanted == CONTENT:
            return
        if wanted not in ("", ENGINES):
            options.spec_version = wanted
            if wanted in VERSIONS:
                self._leave_out_gids(options, wanted, f"CDI {wanted}")
            return
        if not wanted and not self.is_for_engines():
            return
        newest, reason = engine_support.newest_version()
        if not reason:
            if wanted:
                what = "no container engine with CDI found; the spec has the version that it needs"
                self.warn(what)
            return
        if not engine_support.has_least(newest):
            self.warn(f"{reason} is not known to read any spec of GPUs; this one is the oldest")
            options.with_gids = False
            return
        if wanted:
            options.spec_version = newest
            self.tell(f"CDI {newest} is the newest version that {reason} is known to read")
        self._leave_out_gids(options, newest, f"CDI {newest}, the newest that {reason} reads,")

    def _leave_out_gids(self, options: Options, version: str, name: str) -> None:
        if options.with_gids and not engine_support.has_gids(version):
            options.with_gids = False
            self.lost = f"{name} lacks additionalGids: users other than root need the nodes' groups"


def _parts(values: list[str]) -> tuple[str, ...]:
    """Split values at commas."""
    return tuple(part for value in values for part in value.split(",") if part)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""
