# SPDX-License-Identifier: Apache-2.0
"""Models of GPUs, with the MIG profiles of ``nvidia-smi mig -lgip``: long tables."""

from __future__ import annotations

from typing import Any

from nvidia_runtime.simulate.machine import ComputeProfile, GpuProfile

# NVML_GPU_INSTANCE_PROFILE_… of nvml.h
SLICE_1, SLICE_2, SLICE_3, SLICE_4, SLICE_7 = 0, 1, 2, 3, 4
SLICE_1_REV1, SLICE_1_REV2 = 7, 9
SLICE_1_GFX, SLICE_2_GFX, SLICE_4_GFX = 10, 11, 12
SLICE_1_NO_ME = 13

COMPUTE_PROFILES = (
    ComputeProfile(0, 0, 1),
    ComputeProfile(1, 1, 2),
    ComputeProfile(2, 2, 3),
    ComputeProfile(3, 3, 4),
    ComputeProfile(4, 4, 7),
)

A100_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 14, 4864, "1g.5gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 14, 4864, "1g.5gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 14, 9856, "1g.10gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 28, 9856, "2g.10gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 42, 19968, "3g.20gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 56, 19968, "4g.20gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 98, 40192, "7g.40gb"),
)
H100_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 16, 9984, "1g.10gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 16, 9984, "1g.10gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 26, 20096, "1g.20gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 32, 20096, "2g.20gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 60, 40448, "3g.40gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 64, 40448, "4g.40gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 132, 81152, "7g.80gb"),
)
GB200_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 18, 23552, "1g.23gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 18, 23552, "1g.23gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 30, 47104, "1g.47gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 36, 47104, "2g.47gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 70, 95232, "3g.95gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 74, 95232, "4g.95gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 148, 189696, "7g.189gb"),
)
GH200_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 16, 11264, "1g.12gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 16, 11264, "1g.12gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 26, 23552, "1g.24gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 32, 23552, "2g.24gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 60, 47616, "3g.48gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 64, 47616, "4g.48gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 132, 95488, "7g.96gb"),
)
B200_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 18, 22528, "1g.23gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 18, 22528, "1g.23gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 30, 45312, "1g.45gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 36, 45312, "2g.45gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 70, 91648, "3g.90gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 74, 91648, "4g.90gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 148, 182784, "7g.180gb"),
)
B300_PROFILES = (
    GpuProfile(SLICE_1, 19, 1, 7, 18, 34816, "1g.34gb"),
    GpuProfile(SLICE_1_REV1, 20, 1, 1, 18, 34816, "1g.34gb+me"),
    GpuProfile(SLICE_1_REV2, 15, 1, 4, 30, 68608, "1g.67gb"),
    GpuProfile(SLICE_2, 14, 2, 3, 36, 68608, "2g.67gb"),
    GpuProfile(SLICE_3, 9, 3, 2, 70, 138240, "3g.135gb"),
    GpuProfile(SLICE_4, 5, 4, 1, 74, 138240, "4g.135gb"),
    GpuProfile(SLICE_7, 0, 7, 1, 148, 275456, "7g.269gb"),
)
RTX_PRO_PROFILES = (
    GpuProfile(SLICE_1, 14, 1, 4, 46, 24192, "1g.24gb"),
    GpuProfile(SLICE_1_REV1, 21, 1, 1, 46, 24192, "1g.24gb+me"),
    GpuProfile(SLICE_1_GFX, 47, 1, 4, 46, 24192, "1g.24gb+gfx"),
    GpuProfile(SLICE_1_NO_ME, 67, 1, 4, 46, 24192, "1g.24gb-me"),
    GpuProfile(SLICE_2, 5, 2, 2, 94, 48512, "2g.48gb"),
    GpuProfile(SLICE_2_GFX, 35, 2, 2, 94, 48512, "2g.48gb+gfx"),
    GpuProfile(SLICE_4, 0, 4, 1, 188, 97280, "4g.96gb"),
    GpuProfile(SLICE_4_GFX, 32, 4, 1, 188, 97280, "4g.96gb+gfx"),
)

# What the GPUs of a model have in common: keywords of SimulatedGpu.  Architecture and brand are
# NVML's constants.
Model = dict[str, Any]

T4: Model = {
    "name": "Tesla T4",
    "memory_mib": 15360,
    "architecture": 6,
    "brand": 2,
    "compute_capability": "7.5",
    "pci_device_id": 0x1EB810DE,
    "pci_subsystem_id": 0x12A210DE,
    "power_limit_w": 70,
    "clock_mhz": 1590,
    "memory_clock_mhz": 5001,
    "pcie_gen": 3,
    "bar1_mib": 256,
    "vbios": "90.04.96.00.01",
    "ecc": "enabled",
}
A100: Model = {
    "name": "NVIDIA A100-SXM4-40GB",
    "memory_mib": 40960,
    "architecture": 7,
    "brand": 14,
    "compute_capability": "8.0",
    "pci_device_id": 0x20B010DE,
    "pci_subsystem_id": 0x134F10DE,
    "gpu_profiles": A100_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "power_limit_w": 400,
    "clock_mhz": 1410,
    "memory_clock_mhz": 1215,
    "pcie_gen": 4,
    "bar1_mib": 65536,
    "vbios": "92.00.45.00.03",
    "ecc": "enabled",
}
H100: Model = {
    "name": "NVIDIA H100 80GB HBM3",
    "memory_mib": 81559,
    "architecture": 9,
    "brand": 14,
    "compute_capability": "9.0",
    "pci_device_id": 0x233010DE,
    "pci_subsystem_id": 0x16C110DE,
    "gpu_profiles": H100_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "fabric_state": 3,
    "power_limit_w": 700,
    "clock_mhz": 1980,
    "memory_clock_mhz": 2619,
    "pcie_gen": 5,
    "bar1_mib": 131072,
    "vbios": "96.00.74.00.01",
    "ecc": "enabled",
}
GB200: Model = {
    "name": "NVIDIA GB200",
    "memory_mib": 189471,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "10.0",
    "pci_device_id": 0x294110DE,
    "pci_subsystem_id": 0x204610DE,
    "gpu_profiles": GB200_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "fabric_state": 3,
    "addressing": "ats",
    "power_limit_w": 1200,
    "clock_mhz": 1965,
    "memory_clock_mhz": 3996,
    "pcie_gen": 5,
    "bar1_mib": 262144,
    "vbios": "97.00.82.00.01",
    "ecc": "enabled",
}
# nvidia-smi shows the memory of its HBM alone, whatever the name says.
GH200: Model = {
    "name": "NVIDIA GH200 480GB",
    "memory_mib": 97871,
    "architecture": 9,
    "brand": 14,
    "compute_capability": "9.0",
    "pci_device_id": 0x234210DE,
    "pci_subsystem_id": 0x16EB10DE,
    "gpu_profiles": GH200_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "addressing": "ats",
    "power_limit_w": 700,
    "clock_mhz": 1980,
    "memory_clock_mhz": 2619,
    "pcie_gen": 5,
    "bar1_mib": 131072,
    "ecc": "enabled",
}
B200: Model = {
    "name": "NVIDIA B200",
    "memory_mib": 183359,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "10.0",
    "pci_device_id": 0x290110DE,
    "pci_subsystem_id": 0x199910DE,
    "gpu_profiles": B200_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "fabric_state": 3,
    "power_limit_w": 1000,
    "clock_mhz": 1965,
    "memory_clock_mhz": 3996,
    "pcie_gen": 5,
    "bar1_mib": 262144,
    "ecc": "enabled",
}
B300: Model = {
    "name": "NVIDIA B300 SXM6 AC",
    "memory_mib": 275040,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "10.3",
    "pci_device_id": 0x318210DE,
    "gpu_profiles": B300_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "fabric_state": 3,
    "power_limit_w": 1100,
    "clock_mhz": 2032,
    "memory_clock_mhz": 3996,
    "pcie_gen": 5,
    "bar1_mib": 524288,
    "ecc": "enabled",
}
# Its memory is the CPU's, of which NVML says nothing.
GB10: Model = {
    "name": "NVIDIA GB10",
    "memory_mib": 0,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "12.1",
    "pci_device_id": 0x2E1210DE,
    "pci_subsystem_id": 0x21EC10DE,
    "addressing": "ats",
    "clock_mhz": 3003,
}
RTX_5090: Model = {
    "name": "NVIDIA GeForce RTX 5090",
    "memory_mib": 32607,
    "architecture": 10,
    "brand": 5,
    "compute_capability": "12.0",
    "pci_device_id": 0x2B8510DE,
    "pci_subsystem_id": 0x205710DE,
    "pci_class": "0x030000",
    "power_limit_w": 575,
    "clock_mhz": 3090,
    "memory_clock_mhz": 14001,
    "pcie_gen": 5,
    "bar1_mib": 32768,
    "fan": 30,
}
RTX_2000: Model = {
    "name": "NVIDIA RTX 2000 Ada Generation",
    "memory_mib": 16380,
    "architecture": 8,
    "brand": 13,
    "compute_capability": "8.9",
    "pci_device_id": 0x28B010DE,
    "pci_subsystem_id": 0x187010DE,
    "pci_class": "0x030000",
    "power_limit_w": 70,
    "clock_mhz": 3105,
    "memory_clock_mhz": 8001,
    "pcie_gen": 4,
    "bar1_mib": 16384,
    "fan": 30,
    "ecc": "disabled",
}
# A part of a GPU, as its name says; the device is that of the whole one.
P40_24Q: Model = {
    "name": "GRID P40-24Q",
    "memory_mib": 24576,
    "architecture": 4,
    "brand": 11,
    "compute_capability": "6.1",
    "pci_device_id": 0x1B3810DE,
    "pci_subsystem_id": 0x11EF10DE,
    "pci_class": "0x030000",
    "mig": "disabled",
    "clock_mhz": 1531,
    "memory_clock_mhz": 3615,
    "bar1_mib": 256,
}
RTX_PRO: Model = {
    "name": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    "memory_mib": 97887,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "12.0",
    "pci_device_id": 0x2BB510DE,
    "pci_subsystem_id": 0x204E10DE,
    "gpu_profiles": RTX_PRO_PROFILES,
    "compute_profiles": COMPUTE_PROFILES,
    "mig": "disabled",
    "most_mig_devices": 4,
    "power_limit_w": 600,
    "clock_mhz": 2430,
    "memory_clock_mhz": 12481,
    "pcie_gen": 5,
    "bar1_mib": 131072,
    "vbios": "98.02.55.00.01",
    "ecc": "enabled",
}
ORIN: Model = {
    "name": "Orin (nvgpu)",
    "memory_mib": 62841,
    "architecture": 7,
    "brand": 14,
    "compute_capability": "8.7",
    "integrated": True,
}
THOR: Model = {
    "name": "NVIDIA Thor",
    "memory_mib": 125772,
    "architecture": 10,
    "brand": 14,
    "compute_capability": "11.0",
    "pci_device_id": 0x2B0010DE,
    "integrated": True,
}
