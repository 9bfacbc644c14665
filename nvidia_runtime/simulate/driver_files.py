# SPDX-License-Identifier: Apache-2.0
"""The files of the driver's packages, and the sockets of its daemons."""

from __future__ import annotations

import os
import platform
import posixpath

from nvidia_runtime.simulate import cuda, elf, programs
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File, Folder, Symlink, Tree, text

# Library, SONAME ("": the file's name), and whether the packages have a link without a version.
LIBRARIES = (
    ("libcuda.so", "libcuda.so.1", True),
    ("libcudadebugger.so", "libcudadebugger.so.1", False),
    ("libnvcuvid.so", "libnvcuvid.so.1", True),
    ("libnvidia-allocator.so", "libnvidia-allocator.so.1", True),
    ("libnvidia-cfg.so", "libnvidia-cfg.so.1", True),
    ("libnvidia-eglcore.so", "", False),
    ("libnvidia-encode.so", "libnvidia-encode.so.1", True),
    ("libnvidia-fbc.so", "libnvidia-fbc.so.1", True),
    ("libnvidia-glcore.so", "", False),
    ("libnvidia-glsi.so", "", False),
    ("libnvidia-glvkspirv.so", "", False),
    ("libnvidia-gpucomp.so", "", False),
    ("libnvidia-ngx.so", "libnvidia-ngx.so.1", False),
    ("libnvidia-nvvm.so", "libnvidia-nvvm.so.4", True),
    ("libnvidia-opencl.so", "libnvidia-opencl.so.1", False),
    ("libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1", True),
    ("libnvidia-pkcs11.so", "", False),
    ("libnvidia-pkcs11-openssl3.so", "", False),
    ("libnvidia-present.so", "", False),
    ("libnvidia-ptxjitcompiler.so", "libnvidia-ptxjitcompiler.so.1", True),
    ("libnvidia-rtcore.so", "", False),
    ("libnvidia-tls.so", "", False),
    ("libnvidia-vksc-core.so", "libnvidia-vksc-core.so.1", False),
    ("libnvidia-wayland-client.so", "", False),
    ("libnvoptix.so", "libnvoptix.so.1", False),
    ("libEGL_nvidia.so", "libEGL_nvidia.so.0", False),
    ("libGLESv1_CM_nvidia.so", "libGLESv1_CM_nvidia.so.1", False),
    ("libGLESv2_nvidia.so", "libGLESv2_nvidia.so.2", False),
    ("libGLX_nvidia.so", "libGLX_nvidia.so.0", False),
    ("vdpau/libvdpau_nvidia.so", "libvdpau_nvidia.so.1", True),
)
# These have a version of their own.
OTHER_LIBRARIES = (
    ("libnvidia-egl-gbm.so.1.1.2", "libnvidia-egl-gbm.so.1"),
    ("libnvidia-egl-wayland.so.1.1.19", "libnvidia-egl-wayland.so.1"),
    ("libnvidia-egl-xcb.so.1.0.3", "libnvidia-egl-xcb.so.1"),
    ("libnvidia-egl-xlib.so.1.0.3", "libnvidia-egl-xlib.so.1"),
    ("libnvidia-nvvm70.so.4", "libnvidia-nvvm70.so.4"),
    ("libnvidia-api.so.1", "libnvidia-api.so.1"),
)
# Those that NVIDIA's packages for i386 have, too.
LIBRARIES_32 = frozenset(
    (
        *("libEGL_nvidia.so", "libGLESv1_CM_nvidia.so", "libGLESv2_nvidia.so", "libGLX_nvidia.so"),
        *("libcuda.so", "libnvcuvid.so", "libnvidia-allocator.so", "libnvidia-eglcore.so"),
        *("libnvidia-encode.so", "libnvidia-fbc.so", "libnvidia-glcore.so", "libnvidia-glsi.so"),
        *("libnvidia-glvkspirv.so", "libnvidia-gpucomp.so", "libnvidia-nvvm.so"),
        *("libnvidia-opencl.so", "libnvidia-opticalflow.so", "libnvidia-ptxjitcompiler.so"),
        *("libnvidia-tls.so", "vdpau/libvdpau_nvidia.so"),
    )
)
PROGRAMS = (
    *("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control"),
    *("nvidia-cuda-mps-server", "nvidia-xconfig", "nvidia-settings", "nvidia-modprobe"),
)
IMEX_PROGRAMS = ("nvidia-imex", "nvidia-imex-ctl")
# With these a guest asks for its licence.
VGPU_PROGRAMS = ("nvidia-gridd", "nvidia-topologyd")
VGPU_SETTINGS = "/etc/nvidia/gridd.conf"
SETTINGS = (
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/egl/egl_external_platform.d/20_nvidia_xcb.json",
    "/usr/share/egl/egl_external_platform.d/20_nvidia_xlib.json",
    "/usr/share/nvidia/nvoptix.bin",
    "/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/etc/OpenCL/vendors/nvidia.icd",
)
FIRMWARE = ("gsp_ga10x.bin", "gsp_tu10x.bin")
XORG = "/usr/lib/xorg/modules"
MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")
# A kernel module ends like this if it is signed.
SIGNED = b"~Module signature appended~\n"


def tree(machine: SimulatedMachine, nvml: bytes) -> Tree:
    """List the files of a driver from NVIDIA's packages; ``nvml`` is the simulated one."""
    folder, version = machine.library_folder, machine.driver
    files: Tree = {
        f"{folder}/libnvidia-ml.so.{version}": File(nvml),
        f"{folder}/libnvidia-ml.so.1": Symlink(f"libnvidia-ml.so.{version}"),
        f"{folder}/libnvidia-ml.so": Symlink("libnvidia-ml.so.1"),
        **_libraries(machine),
        f"{folder}/gbm/nvidia-drm_gbm.so": Symlink("../libnvidia-allocator.so.1"),
        **_xorg(machine),
    }
    names = PROGRAMS + (IMEX_PROGRAMS if machine.imex_channels else ())
    if machine.is_vgpu:
        names += VGPU_PROGRAMS
        files[VGPU_SETTINGS] = text("FeatureType=1\n")
    if machine.folder_32:
        files |= _libraries_32(machine)
    files |= {f"/usr/bin/{name}": programs.silent() for name in names}
    files["/usr/bin/nvidia-smi"] = programs.smi(machine)
    files |= {path: text("{}\n") for path in SETTINGS}
    files |= {f"/lib/firmware/nvidia/{version}/{name}": File(bytes(16)) for name in FIRMWARE}
    folder_of_modules = f"/lib/modules/{os.uname().release}/updates/dkms"
    files |= {f"{folder_of_modules}/{name}.ko": File(SIGNED) for name in MODULES}
    if machine.architecture != platform.machine() or machine.libraries:
        # As where Debian has libraries of another architecture, or they have a folder of their own.
        files["/etc/ld.so.conf.d/simulated.conf"] = text(f"{folder}\n")
    if machine.gds_nodes:
        files["/etc/cufile.json"] = text("{}\n")
        files["/run/udev"] = Folder()  # cuFile asks udev which disks are behind a file
    # A regular file stands for a socket: no daemon listens.
    if machine.has_fabric_manager:
        files["/run/nvidia-fabricmanager/socket"] = File()
    if machine.has_persistenced:
        files["/run/nvidia-persistenced/socket"] = File()
    return files


def _libraries(machine: SimulatedMachine) -> Tree:
    folder = machine.library_folder
    files: Tree = {}
    for library in LIBRARIES:
        files |= _library(library, folder, machine.driver, machine.architecture)
    files[f"{folder}/libcuda.so.{machine.driver}"] = File(cuda.library(machine))
    for file, soname in OTHER_LIBRARIES:
        files[f"{folder}/{file}"] = File(elf.shared_object(soname, machine.architecture))
        if file != soname:
            files[f"{folder}/{soname}"] = Symlink(file)
    return files


def _libraries_32(machine: SimulatedMachine) -> Tree:
    files: Tree = {}
    nvml = ("libnvidia-ml.so", "libnvidia-ml.so.1", True)
    for library in (nvml, *(one for one in LIBRARIES if one[0] in LIBRARIES_32)):
        files |= _library(library, machine.folder_32, machine.driver, "i386")
    return files | {"/etc/ld.so.conf.d/simulated-32.conf": text(f"{machine.folder_32}\n")}


def _library(library: tuple[str, str, bool], folder: str, version: str, architecture: str) -> Tree:
    """Make a library without code, and the links to it."""
    name, soname, has_link = library
    inner, file = posixpath.split(f"{folder}/{name}.{version}")
    files: Tree = {f"{inner}/{file}": File(elf.shared_object(soname or file, architecture))}
    if soname:
        files[f"{inner}/{soname}"] = Symlink(file)
    if has_link:
        files[f"{folder}/{name}"] = Symlink(soname)
    return files


def _xorg(machine: SimulatedMachine) -> Tree:
    file = f"libglxserver_nvidia.so.{machine.driver}"
    driver = elf.shared_object("", machine.architecture)
    server = elf.shared_object("libglxserver_nvidia.so", machine.architecture)
    return {
        f"{XORG}/drivers/nvidia_drv.so": File(driver),
        f"{XORG}/extensions/{file}": File(server),
        f"{XORG}/extensions/libglxserver_nvidia.so": Symlink(file),
    }
