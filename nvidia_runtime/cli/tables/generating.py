# SPDX-License-Identifier: Apache-2.0
"""The switches of commands that generate CDI specs, most of them also environment variables."""

from __future__ import annotations

from nvidia_runtime.cli.tables.table import NUMBER, Switch

PREFIX = "NVIDIA_CTK_CDI_GENERATE_"


def _texts(
    field: str, names: str, variable: str, text: str, argument: str, *, values: str = ""
) -> Switch:
    """Return a switch for several values, in words of their own or separated by commas."""
    variables = (f"{PREFIX}{variable}",)
    return Switch(field, names, text, argument, values=values, variables=variables, is_list=True)


GENERATING = (
    Switch(
        "mode",
        "--mode --discovery-mode",
        "what the spec describes: {values}",
        "MODE",
        default="auto",
        values="generators",
        variables=(f"{PREFIX}MODE",),
    ),
    _texts(
        "ids",
        "--device-id --device-ids --device --devices",
        "DEVICE_IDS",
        "devices by index or UUID, all, or none; default: all",
        "DEVICE",
        values="gpus",
    ),
    _texts(
        "strategies",
        "--device-name-strategy",
        "DEVICE_NAME_STRATEGIES",
        "the names of devices: {values}; default: index and uuid",
        "NAMES",
        values="strategies",
    ),
    Switch(
        "no_all",
        "--no-all-device",
        "leave out the device all",
        variables=(f"{PREFIX}NO_ALL_DEVICE",),
    ),
    Switch(
        "vendor",
        "--vendor --cdi-vendor",
        "the CDI vendor",
        "NAME",
        default="nvidia.com",
        variables=(f"{PREFIX}VENDOR",),
    ),
    Switch(
        "device_class",
        "--class --cdi-class",
        "the CDI class",
        "NAME",
        default="gpu",
        variables=(f"{PREFIX}CLASS",),
    ),
    Switch(
        "version_wanted",
        "--spec-version",
        "the CDI version, engines for the newest that the engines here read, or content for the"
        " oldest that the spec needs; default: content, without what an engine here does not read"
        " where it is written for engines",
        "VERSION",
        values="cdi-versions",
        variables=(f"{PREFIX}SPEC_VERSION",),
    ),
    Switch(
        "driver_root",
        "--driver-root",
        "the root of the driver installation",
        "FOLDER",
        variables=("NVIDIA_CTK_DRIVER_ROOT",),
    ),
    Switch(
        "dev_root",
        "--dev-root",
        "the root of /dev; default: the driver root",
        "FOLDER",
        variables=("NVIDIA_CTK_DEV_ROOT",),
    ),
    _texts(
        "library_folders",
        "--library-search-path",
        "LIBRARY_SEARCH_PATHS",
        "folders of the driver's libraries, in place of the usual ones",
        "FOLDER",
    ),
    _texts(
        "config_folders",
        "--config-search-path",
        "CONFIG_SEARCH_PATHS",
        "folders of the driver's configuration, in place of the usual ones",
        "FOLDER",
    ),
    Switch(
        "hook_path",
        "--nvidia-cdi-hook-path --nvidia-ctk-path",
        "the program of hooks, nvidia-cdi-hook or nvidia-ctk",
        "PROGRAM",
        variables=("NVIDIA_CTK_CDI_HOOK_PATH",),
    ),
    Switch(
        "ldconfig",
        "--ldconfig-path",
        "the host's ldconfig, for the hook that updates the loader cache",
        "PROGRAM",
        variables=(f"{PREFIX}LDCONFIG_PATH",),
    ),
    Switch(
        "hooks_form",
        "--hooks",
        "separate, or combined: one call for all hooks",
        "FORM",
        default="separate",
        choices=("separate", "combined"),
    ),
    _texts(
        "disabled",
        "--disable-hook --disable-hooks",
        "DISABLED_HOOKS",
        "hooks to leave out, or all",
        "HOOK",
        values="hooks",
    ),
    _texts(
        "enabled",
        "--enable-hook --enable-hooks",
        "ENABLED_HOOKS",
        "hooks to include even if they are disabled",
        "HOOK",
        values="hooks",
    ),
    _texts(
        "flags",
        "--feature-flag --feature-flags",
        "FEATURE_FLAGS",
        "features: {values}",
        "FEATURE",
        values="features",
    ),
    _texts(
        "csv_files",
        "--csv.file",
        "CSV_FILES",
        "CSV files that list what containers on Tegra get",
        "FILE",
    ),
    _texts(
        "csv_ignored",
        "--csv.ignore-pattern",
        "CSV_IGNORE_PATTERNS",
        "patterns of links in CSV files to leave out",
        "PATTERN",
    ),
    Switch(
        "compat_root",
        "--csv.compat-container-root",
        "the directory of the CUDA compatibility libraries in images for Orin",
        "FOLDER",
        variables=(f"{PREFIX}CSV_CONTAINER_COMPAT_ROOT",),
    ),
    Switch(
        "patience",
        "--patience",
        "seconds that NVML may take for a GPU",
        "SECONDS",
        kind=NUMBER,
        default=20.0,
    ),
)
