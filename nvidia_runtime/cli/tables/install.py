# SPDX-License-Identifier: Apache-2.0
"""The command that installs a tree on the host, with the flags and variables of the toolkit's.

It is long, since these are many.
"""

from __future__ import annotations

from nvidia_runtime.cli.tables.table import BOOLEAN, INTEGER, Command, Switch

# The names by which nvidia-ctk is this command.
PROGRAMS = ("nvidia-ctk-installer", "nvidia-toolkit")
DEBUG = "TOOLKIT_DEBUG"
RUNTIME = "nvidia-container-runtime"


def _boolean(field: str, names: str, text: str, variables: str, default: str = "false") -> Switch:
    return Switch(
        field, names, text, kind=BOOLEAN, default=default, variables=tuple(variables.split())
    )


def _text(
    field: str,
    names: str,
    text: str,
    words: str,
    default: str = "",
    *,
    is_list: bool = False,
) -> Switch:
    """Return a switch; ``words`` are that for its value, and its variables."""
    argument, *variables = words.split()
    return Switch(
        field,
        names,
        text,
        argument,
        default=default,
        variables=tuple(variables),
        is_list=is_list,
    )


PLACES = (
    _text(
        "folder",
        "--toolkit-install-dir --root",
        "the folder on the host; the tree is toolkit in it",
        "FOLDER TOOLKIT_INSTALL_DIR ROOT",
        "/usr/local/nvidia",
    ),
    _text(
        "source",
        "--toolkit-source-root",
        "the bundle to copy; default: the one that this program is in",
        "FOLDER TOOLKIT_SOURCE_ROOT",
    ),
    _text(
        "package",
        "--toolkit-package-type",
        "auto, deb or rpm; has no effect, for a bundle is for all",
        "TYPE TOOLKIT_PACKAGE_TYPE",
        "auto",
    ),
    _text(
        "pid_file",
        "--pid-file",
        "the lock, with our process id; its name is toolkit.pid",
        "FILE TOOLKIT_PID_FILE PID_FILE",
        "/run/nvidia/toolkit/toolkit.pid",
    ),
    _text(
        "ready_file",
        "--ready-file",
        "the file that is there while all is done; default: toolkit.ready beside the lock",
        "FILE TOOLKIT_READY_FILE",
    ),
    _boolean("no_daemon", "--no-daemon -n", "end when all is done", "NO_DAEMON"),
    _boolean("is_probe", "--probe", "exit with 0 if an installation is done, else with 1", ""),
    _boolean("is_removal", "--remove", "take all of it back, the tree too, and end", ""),
)
DRIVER = (
    _text(
        "driver_root",
        "--driver-root --nvidia-driver-root",
        "the driver's root on the host",
        "FOLDER NVIDIA_DRIVER_ROOT DRIVER_ROOT",
        "/run/nvidia/driver",
    ),
    _text(
        "driver_root_here",
        "--driver-root-ctr-path",
        "the same, where we see it",
        "FOLDER DRIVER_ROOT_CTR_PATH",
        "/run/nvidia/driver",
    ),
    _text(
        "dev_root",
        "--dev-root",
        "the root of /dev on the host; default: the driver's",
        "FOLDER NVIDIA_DEV_ROOT DEV_ROOT",
    ),
    _text(
        "dev_root_here",
        "--dev-root-ctr-path",
        "the same, where we see it",
        "FOLDER DEV_ROOT_CTR_PATH",
    ),
    _text(
        "nodes",
        "--create-device-nodes",
        "the nodes that are made: control, or none; with --cdi-enabled",
        "NODES CREATE_DEVICE_NODES",
        "control",
        is_list=True,
    ),
    _boolean(
        "cdi",
        "--cdi-enabled --enable-cdi",
        "write a CDI spec for managers of GPUs",
        "CDI_ENABLED ENABLE_CDI",
    ),
    _text("cdi_folder", "--cdi-output-dir", "its folder", "FOLDER CDI_OUTPUT_DIR", "/var/run/cdi"),
    _text("cdi_kind", "--cdi-kind", "its kind", "KIND CDI_KIND", "management.nvidia.com/gpu"),
)
SETTINGS = (
    _text(
        "debug_file",
        f"--{RUNTIME}.debug",
        "the runtime's log",
        "FILE NVIDIA_CONTAINER_RUNTIME_DEBUG",
    ),
    _text(
        "log_level",
        f"--{RUNTIME}.log-level",
        "the level of that",
        "LEVEL NVIDIA_CONTAINER_RUNTIME_LOG_LEVEL",
    ),
    _text(
        "mode",
        f"--{RUNTIME}.mode",
        "the runtime's mode",
        "MODE NVIDIA_CONTAINER_RUNTIME_MODE",
    ),
    _text(
        "default_kind",
        f"--{RUNTIME}.modes.cdi.default-kind",
        "the kind of devices without one",
        "KIND NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND",
    ),
    _text(
        "prefixes",
        f"--{RUNTIME}.modes.cdi.annotation-prefixes --{RUNTIME}-modes.cdi.annotation-prefixes",
        "the prefixes of annotations for CDI; containerd hands them on",
        "PREFIX NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES",
        is_list=True,
    ),
    _text(
        "runtimes",
        f"--{RUNTIME}.runtimes",
        "the low-level runtimes; default: the engine's, runc, crun",
        "PROGRAM NVIDIA_CONTAINER_RUNTIME_RUNTIMES",
        is_list=True,
    ),
    _boolean(
        "skip_mode_detection",
        f"--{RUNTIME}-hook.skip-mode-detection",
        "the hook does not look at the mode",
        "NVIDIA_CONTAINER_RUNTIME_HOOK_SKIP_MODE_DETECTION",
        "true",
    ),
    _text(
        "cli_debug",
        "--nvidia-container-cli.debug",
        "the log of nvidia-container-cli",
        "FILE NVIDIA_CONTAINER_CLI_DEBUG",
    ),
    _boolean(
        "accept_envvar",
        "--accept-nvidia-visible-devices-envvar-when-unprivileged",
        "the variable counts in containers without privileges",
        "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED",
        "true",
    ),
    _boolean(
        "accept_mounts",
        "--accept-nvidia-visible-devices-as-volume-mounts",
        "volumes ask for devices",
        "ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS",
    ),
    _text(
        "features",
        "--opt-in-features",
        "features that are switched on",
        "NAME NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES",
        is_list=True,
    ),
    _boolean(
        "ignore_errors", "--ignore-errors", "has no effect: nothing is ignored", "IGNORE_ERRORS"
    ),
)
ENGINE = (
    _text(
        "runtime",
        "--runtime -r",
        "the engine: containerd, crio or docker",
        "ENGINE RUNTIME",
        "docker",
    ),
    _boolean("no_engine", "--no-runtime-config", "leave the engine as it is", "NO_RUNTIME_CONFIG"),
    _text(
        "config",
        "--config",
        "its file, where we see it; default: where the engine has it",
        "FILE RUNTIME_CONFIG CONTAINERD_CONFIG DOCKER_CONFIG",
    ),
    _text(
        "drop_in",
        "--drop-in-config",
        "the file for what is added, where we see it; empty: the engine's own file;"
        " default: the engine's",
        "FILE RUNTIME_DROP_IN_CONFIG",
        "RUNTIME_SPECIFIC_DEFAULT",
    ),
    _text(
        "drop_in_there",
        "--drop-in-config-host-path",
        "the same, where the engine sees it",
        "FILE RUNTIME_DROP_IN_CONFIG_HOST_PATH",
    ),
    _text(
        "program",
        "--executable-path",
        "its program on the host, which is asked for its configuration",
        "PROGRAM RUNTIME_EXECUTABLE_PATH",
    ),
    _text(
        "socket",
        "--socket",
        "its socket, where we see it; default: the engine's",
        "SOCKET RUNTIME_SOCKET CONTAINERD_SOCKET DOCKER_SOCKET",
    ),
    _text(
        "restart",
        "--restart-mode",
        "how it reads its file again: signal, systemd or none; default: signal, systemd of crio",
        "WAY RUNTIME_RESTART_MODE",
    ),
    _boolean(
        "engine_cdi",
        "--enable-cdi-in-runtime",
        "switch CDI on in the engine; default: as --cdi-enabled",
        "RUNTIME_ENABLE_CDI",
        "",
    ),
    _text(
        "host_root",
        "--host-root",
        "the host's root, where we see it",
        "FOLDER HOST_ROOT_MOUNT",
        "/host",
    ),
    _text(
        "name",
        "--runtime-name --nvidia-runtime-name --runtime-class",
        "the name of the runtime in the engine",
        "NAME NVIDIA_RUNTIME_NAME CONTAINERD_RUNTIME_CLASS DOCKER_RUNTIME_NAME",
        "nvidia",
    ),
    _boolean(
        "is_default",
        "--set-as-default",
        "make it the default runtime",
        "NVIDIA_RUNTIME_SET_AS_DEFAULT CONTAINERD_SET_AS_DEFAULT DOCKER_SET_AS_DEFAULT",
        "true",
    ),
    _text(
        "sources",
        "--config-source --config-sources",
        "where options to copy are read, the first that answers: command, file, file=PATH;"
        " default: command, file",
        "SOURCE RUNTIME_CONFIG_SOURCES RUNTIME_CONFIG_SOURCE",
        is_list=True,
    ),
    _boolean(
        "is_legacy",
        "--use-legacy-config",
        "containerd: a file that is not there gets version 1",
        "CONTAINERD_USE_LEGACY_CONFIG",
    ),
    _text(
        "kind",
        "--runtime-type",
        "containerd: the type of a runtime that copies no other",
        "TYPE CONTAINERD_RUNTIME_TYPE",
        "io.containerd.runc.v2",
    ),
    _text(
        "override",
        "--runtime-config-override",
        "has no effect, as in the toolkit",
        "JSON RUNTIME_CONFIG_OVERRIDE CONTAINERD_RUNTIME_CONFIG_OVERRIDE",
        "{}",
    ),
    _text(
        "hooks_folder",
        "--hooks-dir",
        "cri-o: the folder of hooks",
        "FOLDER CRIO_HOOKS_DIR",
        "/usr/share/containers/oci/hooks.d",
    ),
    _text(
        "hook_name",
        "--hook-filename",
        "cri-o: the name of the hook's file",
        "NAME CRIO_HOOK_FILENAME",
        "oci-nvidia-hook.json",
    ),
    _text(
        "hooks_mode", "--config-mode", "cri-o: config, or hook", "MODE CRIO_CONFIG_MODE", "config"
    ),
)
NRI = (
    _boolean(
        "is_nri",
        "--enable-nri-plugin -p",
        "run nvidia-ctk nri, too",
        "ENABLE_NRI_PLUGIN",
    ),
    Switch(
        "nri_index",
        "--nri-plugin-index",
        "its place among other plugins, from 0 to 99",
        "NUMBER",
        kind=INTEGER,
        default=10,
        variables=("NRI_PLUGIN_INDEX",),
    ),
    _text(
        "nri_socket",
        "--nri-socket",
        "the engine's socket for it",
        "SOCKET NRI_SOCKET",
        "/var/run/nri/nri.sock",
    ),
    _text(
        "nri_namespace",
        "--nri-namespace",
        "the namespace whose pods may have management devices",
        "NAME NRI_NAMESPACE",
    ),
    _text(
        "nri_namespaces",
        "--nri-management-cdi-device-namespaces",
        "others of that kind",
        "NAME NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES",
        is_list=True,
    ),
)
INSTALL = Command(
    "install",
    "Install a tree on a host, tell its engine, and wait: what GPU operator runs on each node.",
    "install.Install",
    words="[FOLDER]",
    switches=(*PLACES, *ENGINE, *DRIVER, *SETTINGS, *NRI),
    is_rare=True,
    more="""
    nvidia-ctk-installer and nvidia-toolkit are names of it.  Nothing is done twice: what is there
    already stays.  A signal (HUP, INT, QUIT, PIPE, TERM) ends it, and the engine's files become
    what they were; the tree stays, by which containers that run are stopped.
    """,
    notes="""
    The tree is toolkit-VERSION-DIGEST, and toolkit a link to it that an upgrade turns in one step;
    older trees go when no process is in them.  What was done is remembered in .toolkit-state beside
    it.  While the driver is not loaded, containers start by the low-level runtime alone.

    In a container it needs the host's processes (hostPID), and mounts: the folder under its own
    path, the engine's files and socket, the CDI folder, the driver's root, the host's root.
    TOOLKIT_DEBUG is --debug.
    """,
    examples=(
        (
            "nvidia-ctk install --no-daemon --runtime=containerd --host-root=/",
            "",
        ),
    ),
)
