# SPDX-License-Identifier: Apache-2.0
"""The flags of commands that generate CDI specs, most of them also environment variables."""

from __future__ import annotations

import os
import sys
from typing import Any

from plumbum import cli

from nvidia_runtime.cdi.versions import VERSIONS
from nvidia_runtime.cli import engine_support, environment
from nvidia_runtime.cli.command import Command, check_seconds
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import hooks, machine
from nvidia_runtime.generate.options import HOOK, Options
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.prepare.verbs import VERBS
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import DRIVER_ROOT

PREFIX = "NVIDIA_CTK_CDI_GENERATE_"
CTK = "nvidia-ctk"
SPEC_VERSION = "nvidia-ctk.cdi-spec-version"
NO_ALL = f"{PREFIX}NO_ALL_DEVICE"
NO_GIDS = "no-additional-gids-for-device-nodes"
ENGINES, CONTENT = "engines", "content"
# The flags and hooks that have an effect; the toolkit knows more flags.
FLAGS = (
    NO_GIDS,
    "disable-ipc-discoverer",
    "disable-multiple-csv-devices",
    "enable-coherent-annotations",
    "enable-explicit-driver-libraries",
    "enable-mps-pipes",
)
HOOKS = [verb for verb, flags in VERBS.items() if flags]  # one without does nothing


def _text(names: list[str], variable: str, default: str, text: str) -> Any:
    return cli.SwitchAttr(names, str, default, envname=variable, help=f"{text} [${variable}]")


def _texts(names: list[str], variable: str, text: str) -> Any:
    return cli.SwitchAttr(
        names, str, list=True, default=[], envname=variable, help=f"{text} [${variable}]"
    )


class Generating(Command):
    """A command that generates CDI specs of this machine."""

    mode = _text(
        ["--mode", "--discovery-mode"],
        f"{PREFIX}MODE",
        "auto",
        f"what the spec describes: auto, {', '.join(machine.MODULES)}",
    )
    driver_root = _text(
        ["--driver-root"], "NVIDIA_CTK_DRIVER_ROOT", "", "the root of the driver installation"
    )
    dev_root = _text(
        ["--dev-root"], "NVIDIA_CTK_DEV_ROOT", "", "the root of /dev; default: the driver root"
    )
    library_folders = _texts(
        ["--library-search-path"],
        f"{PREFIX}LIBRARY_SEARCH_PATHS",
        "folders of the driver's libraries, in place of the usual ones",
    )
    config_folders = _texts(
        ["--config-search-path"],
        f"{PREFIX}CONFIG_SEARCH_PATHS",
        "folders of the driver's configuration, in place of the usual ones",
    )
    hook_path = _text(
        ["--nvidia-cdi-hook-path", "--nvidia-ctk-path"],
        "NVIDIA_CTK_CDI_HOOK_PATH",
        "",
        "the program of hooks, nvidia-cdi-hook or nvidia-ctk",
    )
    ldconfig = _text(
        ["--ldconfig-path"],
        f"{PREFIX}LDCONFIG_PATH",
        "",
        "the host's ldconfig, for the hook that updates the loader cache",
    )
    vendor = _text(["--vendor", "--cdi-vendor"], f"{PREFIX}VENDOR", "nvidia.com", "the CDI vendor")
    device_class = _text(["--class", "--cdi-class"], f"{PREFIX}CLASS", "gpu", "the CDI class")
    strategies = _texts(
        ["--device-name-strategy"],
        f"{PREFIX}DEVICE_NAME_STRATEGIES",
        "the names of devices: index, uuid, type-index; default: index and uuid",
    )
    csv_files = _texts(
        ["--csv.file"], f"{PREFIX}CSV_FILES", "CSV files that list what containers on Tegra get"
    )
    csv_ignored = _texts(
        ["--csv.ignore-pattern"],
        f"{PREFIX}CSV_IGNORE_PATTERNS",
        "patterns of links in CSV files to leave out",
    )
    compat_root = _text(
        ["--csv.compat-container-root"],
        f"{PREFIX}CSV_CONTAINER_COMPAT_ROOT",
        "",
        "the directory of the CUDA compatibility libraries in images for Orin",
    )
    disabled = _texts(
        ["--disable-hook", "--disable-hooks"],
        f"{PREFIX}DISABLED_HOOKS",
        "hooks to leave out, or all",
    )
    enabled = _texts(
        ["--enable-hook", "--enable-hooks"],
        f"{PREFIX}ENABLED_HOOKS",
        "hooks to include even if they are disabled",
    )
    flags = _texts(
        ["--feature-flag", "--feature-flags"],
        f"{PREFIX}FEATURE_FLAGS",
        f"features: {', '.join(FLAGS)}",
    )
    ids = _texts(
        ["--device-id", "--device-ids", "--device", "--devices"],
        f"{PREFIX}DEVICE_IDS",
        "devices by index or UUID, all, or none; default: all",
    )
    no_all = cli.Flag(["--no-all-device"], help=f"leave out the device all [${NO_ALL}]")
    version_wanted = _text(
        ["--spec-version"],
        f"{PREFIX}SPEC_VERSION",
        "",
        "the CDI version, engines for the newest that the engines here read, or content for the"
        " oldest that the spec needs; default: content, without what an engine here does not read"
        " where it is written for engines",
    )
    patience = cli.SwitchAttr(
        ["--patience"], float, 20.0, help="seconds that NVML may take for a GPU"
    )
    hooks_form = cli.SwitchAttr(
        ["--hooks"],
        cli.Set("separate", "combined", case_sensitive=True),
        "separate",
        help="combined: one call for all hooks",
    )

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
            return config.load(given or files.config_path())[0]
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
        if environment.flag(self, "no-all-device", self.no_all, (NO_ALL,)):
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
            if name not in (*HOOKS, hooks.ALL):
                self.warn(f"there is no hook {name!r}; the hooks are {', '.join(HOOKS)}")

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
