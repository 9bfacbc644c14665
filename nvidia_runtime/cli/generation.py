# SPDX-License-Identifier: Apache-2.0
"""The options of commands that generate CDI specs, each also a variable of the environment.

Ring: elsewhere.
"""

from __future__ import annotations

import os
from typing import Any

from plumbum import cli

from nvidia_runtime.cli import engine_support
from nvidia_runtime.cli.command import Command, boolean
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import hooks, machine
from nvidia_runtime.generate.options import HOOK, Options
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.store import files

PREFIX = "NVIDIA_CTK_CDI_GENERATE_"
CTK = "nvidia-ctk"
ROOT = "nvidia-container-cli.root"
NO_ALL = f"{PREFIX}NO_ALL_DEVICE"
NO_GIDS = "no-additional-gids-for-device-nodes"
ENGINES = "engines"
# Names that mean something; others are the toolkit's, or wrong.
FLAGS = (
    NO_GIDS,
    "disable-ipc-discoverer",
    "disable-multiple-csv-devices",
    "enable-coherent-annotations",
    "enable-explicit-driver-libraries",
)
HOOKS = (
    "chmod",
    "create-symlinks",
    "disable-device-node-modification",
    "enable-cuda-compat",
    "update-application-profile",
    "update-ldcache",
)


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
        f"what to describe: auto, {', '.join(machine.MODULES)}",
    )
    driver_root = _text(
        ["--driver-root"], "NVIDIA_CTK_DRIVER_ROOT", "", "where the driver is installed"
    )
    dev_root = _text(
        ["--dev-root"], "NVIDIA_CTK_DEV_ROOT", "", "where /dev is; else the driver root"
    )
    library_folders = _texts(
        ["--library-search-path"],
        f"{PREFIX}LIBRARY_SEARCH_PATHS",
        "a folder of the driver's libraries, in place of the usual ones",
    )
    config_folders = _texts(
        ["--config-search-path"],
        f"{PREFIX}CONFIG_SEARCH_PATHS",
        "a folder of the driver's configuration, in place of the usual ones",
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
        "the host's ldconfig, for the hook that makes the loader's cache",
    )
    vendor = _text(["--vendor", "--cdi-vendor"], f"{PREFIX}VENDOR", "nvidia.com", "the vendor")
    device_class = _text(["--class", "--cdi-class"], f"{PREFIX}CLASS", "gpu", "the class")
    strategies = _texts(
        ["--device-name-strategy"],
        f"{PREFIX}DEVICE_NAME_STRATEGIES",
        "how to name devices: index, uuid, type-index; else index and uuid",
    )
    csv_files = _texts(
        ["--csv.file"], f"{PREFIX}CSV_FILES", "a CSV list of what a Tegra system gives containers"
    )
    csv_ignored = _texts(
        ["--csv.ignore-pattern"],
        f"{PREFIX}CSV_IGNORE_PATTERNS",
        "links of CSV lists to leave out, by pattern",
    )
    compat_root = _text(
        ["--csv.compat-container-root"],
        f"{PREFIX}CSV_CONTAINER_COMPAT_ROOT",
        "",
        "where an image for Orin has its CUDA compatibility libraries",
    )
    disabled = _texts(
        ["--disable-hook", "--disable-hooks"],
        f"{PREFIX}DISABLED_HOOKS",
        "a hook to leave out, or all",
    )
    enabled = _texts(
        ["--enable-hook", "--enable-hooks"],
        f"{PREFIX}ENABLED_HOOKS",
        "a hook to have whatever is disabled",
    )
    flags = _texts(
        ["--feature-flag", "--feature-flags"],
        f"{PREFIX}FEATURE_FLAGS",
        f"a feature: {', '.join(FLAGS)}",
    )
    ids = _texts(
        ["--device-id", "--device-ids", "--device", "--devices"],
        f"{PREFIX}DEVICE_IDS",
        "a device by index or UUID, all, or none; else all",
    )
    no_all = cli.Flag(["--no-all-device"], help=f"without the device all [${NO_ALL}]")
    version_wanted = cli.SwitchAttr(
        ["--spec-version"],
        str,
        "",
        help="the CDI version, or 'engines': what those installed here know; else what is needed",
    )
    patience = cli.SwitchAttr(
        ["--patience"], float, 20.0, help="seconds that NVML may take for one GPU"
    )
    hooks_form = cli.SwitchAttr(
        ["--hooks"],
        cli.Set("separate", "combined", case_sensitive=True),
        "separate",
        help="combined: one call of the hook for all that it has to do",
    )

    def options(self) -> Options:
        """Return what is asked for.  Raises `NvidiaRuntimeError` for what makes no sense."""
        made = Options(self.mode.lower(), _parts(self.ids) or ("all",))
        made.thorough = True
        made.path = os.environ.get("PATH", "")
        made.data_dirs = os.environ.get("XDG_DATA_DIRS", "")
        made.driver_root = _absolute(self.driver_root or self._configured_root() or "/")
        made.dev_root = _absolute(self.dev_root)
        made.library_folders = tuple(_absolute(each) for each in _parts(self.library_folders))
        made.config_folders = tuple(_absolute(each) for each in _parts(self.config_folders))
        made.hook_program = _hook_program(self.hook_path)
        made.ldconfig = self.ldconfig
        made.vendor, made.device_class = self.vendor, self.device_class
        made.strategies = _parts(self.strategies) or made.strategies
        made.csv_files = _parts(self.csv_files)
        made.csv_ignored = _parts(self.csv_ignored)
        made.compat_container_root = self.compat_root
        made.merged_device = self._has_all(made.ids)
        made.patience = self._seconds()
        made.combine_hooks = self.hooks_form == "combined"
        self._choose_hooks(made)
        self._choose_flags(made)
        self._choose_version(made)
        return made

    def _seconds(self) -> float:
        if not 0.01 <= self.patience <= 86400:
            raise NvidiaRuntimeError("--patience must be from 0.01 to 86400 seconds")
        return self.patience

    def _configured_root(self) -> str:
        """Return the driver root of the config.toml that was named."""
        path = str(getattr(self.root_app, "config", ""))
        return str(config.load(path)[0][ROOT]) if path else ""

    def _has_all(self, ids: tuple[str, ...]) -> bool:
        value = os.environ.get(NO_ALL, "")
        no_all = boolean(value, f"${NO_ALL}") and "no-all-device" not in self.switched_off
        if "none" in ids and not (self.no_all or no_all):
            self.warn("with the device none there is no device all")
            return False
        return not (self.no_all or no_all)

    def _choose_hooks(self, made: Options) -> None:
        made.disabled_hooks = frozenset(_parts(self.disabled))
        made.enabled_hooks = frozenset(_parts(self.enabled))
        if hooks.ALL in made.enabled_hooks:
            raise NvidiaRuntimeError("--enable-hook takes names of hooks, not 'all'")
        for name in sorted(made.disabled_hooks | made.enabled_hooks):
            if name not in (*HOOKS, hooks.ALL):
                self.warn(f"there is no hook {name!r}; hooks are {', '.join(HOOKS)}")

    def _choose_flags(self, made: Options) -> None:
        made.flags = frozenset(_parts(self.flags))
        made.with_gids = NO_GIDS not in made.flags
        for name in sorted(made.flags.difference(FLAGS)):
            self.warn(f"the feature flag {name!r} changes nothing; flags are {', '.join(FLAGS)}")

    def _choose_version(self, made: Options) -> None:
        """Ask the engines, and leave out what the oldest of them does not know."""
        made.spec_version = self.version_wanted.removeprefix("v")
        if made.spec_version != ENGINES:
            return
        made.spec_version = ""
        newest, reason = engine_support.newest_version()
        if not reason:
            self.warn("no container engine with CDI found; the spec has the version that it needs")
            return
        if not engine_support.has_least(newest):
            self.warn(f"{reason} is not known to take any spec of GPUs; it is as old as it can be")
            made.with_gids = False
            return
        made.spec_version = newest
        self.tell(f"CDI {newest} is the newest that {reason} is known to take")
        if made.with_gids and not engine_support.has_gids(newest):
            made.with_gids = False
            self.warn(
                f"CDI {newest} has no additionalGids: who is not root needs the nodes' groups"
            )


def _parts(values: list[str]) -> tuple[str, ...]:
    """Split values, each of which may be a list with commas."""
    return tuple(part for value in values for part in value.split(",") if part)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _hook_program(given: str) -> str:
    """Return the absolute path of the hook's program: a name is looked for on PATH."""
    default = CTK if os.path.basename(given) == CTK else HOOK
    if "/" in given:
        return os.path.abspath(given)
    return lowlevel.executable(given or HOOK, default, files.environment(b"PATH"))
