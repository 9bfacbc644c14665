# SPDX-License-Identifier: Apache-2.0
"""What `nvidia-container-cli configure` is asked to do, as a value.

A plain class: the prestart hook waits for this import; `dataclasses` takes longer than all else.
"""


class Configuration:
    """What `configure` does: a container that exists, and what it gets.

    ``rootfs`` is as the call names it, a path in the mount namespace of the process ``pid``; where
    that is 0, the caller is in the container's namespaces already.  ``devices`` are ids as
    ``--device`` has them: ``all``, indices, UUIDs, ``0:1`` for MIG.  ``ldconfig`` is accepted: none
    is run in a container.  ``user`` is UID[:GID], or empty.
    """

    __slots__ = (
        "can_create_channels",
        "can_load_modules",
        "capabilities",
        "cuda_compat_mode",
        "devices",
        "driver_root",
        "imex_channels",
        "ldcache",
        "ldconfig",
        "mig_config",
        "mig_monitor",
        "pid",
        "requirements",
        "rootfs",
        "user",
        "with_cgroups",
        "with_container_libraries",
        "with_device_binds",
        "with_fabricmanager",
        "with_gsp_firmware",
        "with_persistenced",
    )

    def __init__(
        self,
        *,
        rootfs: str,
        pid: int,
        devices: tuple[str, ...],
        mig_config: tuple[str, ...] = (),
        mig_monitor: tuple[str, ...] = (),
        imex_channels: tuple[str, ...] = (),
        capabilities: frozenset[str] = frozenset(),
        requirements: tuple[str, ...] = (),
        driver_root: str = "",
        ldcache: str = "",
        ldconfig: str = "",
        user: str = "",
        cuda_compat_mode: str = "",
        with_cgroups: bool = True,
        with_persistenced: bool = True,
        with_fabricmanager: bool = True,
        with_gsp_firmware: bool = True,
        with_container_libraries: bool = True,
        with_device_binds: bool = True,
        can_load_modules: bool = False,
        can_create_channels: bool = True,
    ) -> None:
        self.rootfs = rootfs
        self.pid = pid
        self.devices = devices
        self.mig_config = mig_config
        self.mig_monitor = mig_monitor
        self.imex_channels = imex_channels
        self.capabilities = capabilities
        self.requirements = requirements
        self.driver_root = driver_root
        self.ldcache = ldcache
        self.ldconfig = ldconfig
        self.user = user
        self.cuda_compat_mode = cuda_compat_mode
        self.with_cgroups = with_cgroups
        self.with_persistenced = with_persistenced
        self.with_fabricmanager = with_fabricmanager
        self.with_gsp_firmware = with_gsp_firmware
        self.with_container_libraries = with_container_libraries
        self.with_device_binds = with_device_binds
        self.can_load_modules = can_load_modules
        self.can_create_channels = can_create_channels
