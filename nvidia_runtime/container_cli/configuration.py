# SPDX-License-Identifier: Apache-2.0
"""What `nvidia-container-cli configure` is asked to do, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What `configure` does: a container that exists, and what it gets."""

    rootfs: str
    """As the call names it: a path in the mount namespace of `pid`'s process, or in ours."""
    pid: int
    """0: none was named, and the caller is in the container's namespaces already."""
    devices: tuple[str, ...]
    """Ids as `--device` has them: `all`, indices, UUIDs, MIG `0:1`; none without any."""
    mig_config: tuple[str, ...] = ()
    mig_monitor: tuple[str, ...] = ()
    imex_channels: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    """compute, utility, video, graphics, display, ngx, compat32"""
    requirements: tuple[str, ...] = ()
    """Checked before anything is done."""
    driver_root: str = ""
    ldcache: str = ""
    ldconfig: str = ""
    """Accepted; ours runs no ldconfig in a container."""
    user: str = ""
    """UID[:GID] of the process that reads and makes files and nodes."""
    cuda_compat_mode: str = ""
    """ldconfig, mount, disabled"""
    with_cgroups: bool = True
    with_persistenced: bool = True
    with_fabricmanager: bool = True
    with_gsp_firmware: bool = True
    with_container_libraries: bool = True
    with_device_binds: bool = True
    can_load_modules: bool = False
    can_create_channels: bool = True
