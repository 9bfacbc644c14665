# SPDX-License-Identifier: Apache-2.0
"""What a CDI spec is to be generated from and for, and what came of it.  Ring: elsewhere.

Plain classes: a create that has to compile first waits for this import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, Any]

HOOK = "nvidia-cdi-hook"


class Options:
    """Where to look and what to write, with the toolkit's defaults.

    Roots and folders are paths of this host; empty ``dev_root`` is the driver root.  ``ids`` are
    device ids as a user writes them, ``all`` among them stands for what the machine has.
    ``strategies`` are names of naming strategies: ``index``, ``type-index``, ``uuid``.
    ``kernel_root`` is where /proc and /sys lie, for a machine that is made of files.
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
        self.with_gids = True
        self.csv_files: tuple[str, ...] = ()
        self.csv_ignored: tuple[str, ...] = ()
        self.compat_container_root = ""
        self.empty_devices = False  # no usable device is no error, nor one without edits
        self.patience = 20.0  # seconds that NVML may take for one GPU
        self.kernel_root = ""
        self.thorough = False  # ask NVML also where nothing but "is MIG on" is open
        self.spec_version = ""  # at least; else what the content needs
        self.combine_hooks = False  # one hook for all that a device or the spec needs

    def but(self, **changes: object) -> Options:
        """Return the same options with some changes."""
        made = Options()
        for name in self.__slots__:
            setattr(made, name, changes.get(name, getattr(self, name)))
        return made


class Generated:
    """A CDI spec, and what is to be said about it.

    ``problems`` has a sentence, with its next step, for each device of the machine that is not
    usable, by all names that it has or would have; these devices are not in the spec.
    ``warnings`` are sentences about everything else.  ``watched`` are the host's files and folders,
    there or not, whose change can change the spec, beyond the nodes and host paths in it.
    ``hidden`` are devices, as in the spec, for those who ask by name only: a GPU in MIG mode as a
    whole, which is in no `all`.
    """

    __slots__ = ("hidden", "problems", "spec", "warnings", "watched")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.problems: dict[str, str] = {}
        self.warnings: list[str] = []
        self.watched: list[str] = []
        self.hidden: list[Spec] = []
