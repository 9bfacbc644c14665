# SPDX-License-Identifier: Apache-2.0
"""The options of generation, and its result.

Plain classes: a create that has to compile first waits for this import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, Any]

HOOK = "nvidia-cdi-hook"
NO_GIDS = "no-additional-gids-for-device-nodes"
# The features that have an effect; the toolkit knows more.
FLAGS = (
    NO_GIDS,
    "disable-ipc-discoverer",
    "disable-multiple-csv-devices",
    "enable-coherent-annotations",
    "enable-compat32-libraries",
    "enable-explicit-driver-libraries",
    "enable-mps-pipes",
)


class Options:
    """Where to look and what to write, with the toolkit's defaults.

    Roots and folders are paths of this host; empty ``dev_root`` is the driver root.  ``ids`` are
    device ids as a user writes them, ``all`` among them stands for what the machine has.
    ``strategies`` are names of naming strategies: ``index``, ``type-index``, ``uuid``.
    ``kernel_root`` is where /proc and /sys are, for a machine that is made of files.
    """

    __slots__ = (
        "combine_hooks",
        "compat_container_root",
        "config_folders",
        "csv_files",
        "csv_ignored",
        "data_dirs",
        "dev_root",
        "device_class",
        "disabled_hooks",
        "driver_root",
        "empty_devices",
        "enabled_hooks",
        "flags",
        "hook_program",
        "ids",
        "kernel_root",
        "ldconfig",
        "library_folders",
        "merged_device",
        "mode",
        "path",
        "patience",
        "spec_version",
        "strategies",
        "thorough",
        "vendor",
        "with_compat32",
        "with_gids",
    )

    def __init__(self, mode: str = "auto", ids: tuple[str, ...] = ("all",)) -> None:
        self.mode = mode
        self.ids = ids
        self.driver_root = "/"
        self.dev_root = ""
        self.library_folders: tuple[str, ...] = ()
        self.config_folders: tuple[str, ...] = ()
        self.path = ""  # as $PATH, where executables are looked for
        self.data_dirs = ""  # as $XDG_DATA_DIRS
        self.hook_program = f"/usr/bin/{HOOK}"
        self.ldconfig = ""
        self.vendor = "nvidia.com"
        self.device_class = "gpu"
        self.strategies: tuple[str, ...] = ("index", "uuid")
        self.merged_device = True  # a device `all` of all devices
        self.disabled_hooks: frozenset[str] = frozenset()
        self.enabled_hooks: frozenset[str] = frozenset()
        self.flags: frozenset[str] = frozenset()
        self.with_compat32 = False  # for those who ask, apart from the spec
        self.with_gids = True
        self.csv_files: tuple[str, ...] = ()
        self.csv_ignored: tuple[str, ...] = ()
        self.compat_container_root = ""
        self.empty_devices = False  # without usable devices or edits is not an error
        self.patience = 20.0  # seconds that NVML may take for one GPU
        self.kernel_root = ""
        self.thorough = False  # ask NVML also if only "is MIG on" is unknown
        self.spec_version = ""  # at least; else what the content needs
        self.combine_hooks = False  # one hook for all verbs of a device or the spec

    def but(self, **changes: object) -> Options:
        """Return the same options with some changes."""
        options = Options()
        for name in self.__slots__:
            setattr(options, name, changes.get(name, getattr(self, name)))
        return options


class Generated:
    """A CDI spec, and what else generation found out.

    ``problems`` has a sentence, with its next step, for each unusable device of the machine, by all
    names that it would have in the spec.  ``warnings`` are sentences about everything else.
    ``watched`` are the host's files and folders, present or not, whose change can change the spec,
    beyond the nodes and host paths in it.  ``hidden`` are devices that must be asked for by name,
    like a whole GPU in MIG mode: `all` does not contain them.  ``shared`` are mounts for every
    container, not in the spec, of what is to be looked at each time: anybody may have put it there.
    ``compat32`` has what containers get only if they ask for it, as a device's entry.
    """

    __slots__ = ("compat32", "hidden", "problems", "shared", "spec", "warnings", "watched")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.problems: dict[str, str] = {}
        self.warnings: list[str] = []
        self.watched: list[str] = []
        self.hidden: list[Spec] = []
        self.shared: list[Spec] = []
        self.compat32: Spec = {}
