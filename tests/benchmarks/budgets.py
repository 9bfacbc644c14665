# SPDX-License-Identifier: Apache-2.0
"""What each row of the benchmarks may cost at most, in the row's unit; others have no budget."""

BUDGETS = {
    # bench.py: the programs, in interpreter starts
    "pass-through, dash": 0.2,
    "create that asks for nothing, dash": 0.34,
    "pass-through, busybox": 0.2,
    "create that asks for nothing, busybox": 0.34,
    "pass-through, bash": 0.25,
    "create that asks for nothing, bash": 0.45,
    "create, 8 GPUs": 1.4,
    "create, 8 GPUs, where others ask for nothing": 1.6,
    "create, 8 GPUs, 500 more specs": 1.7,
    "create, 8 GPUs, 1000 more specs": 2.0,
    "create, legacy mode": 1.3,
    "prestart hook, legacy mode": 1.6,
    "prestart hook, auto mode": 1.6,
    "create that compiles 1000 specs, half of them YAML": 1.0,  # seconds
    "peak memory of a create": 15,  # MB
    # machines.py: the default mode, in interpreter starts
    "create, auto mode, 8 GPUs": 1.55,
    "hook-free preparation of a new image, in addition": 1.0,
    "the same for an image that was started before": 0.6,
    "create, auto mode, 56 MIG devices": 2.2,
    "create that compiles 8 GPUs": 6.5,
    "create that compiles 4 GPUs and 12 MIG devices, by NVML": 6.5,
    "cdi generate, 8 GPUs": 9.7,
    "nvidia-ctk --version": 3,
    "nvidia-ctk --help": 3,
    "nvidia-ctk cdi generate --help": 3.5,
    "nvidia-ctk __complete runtime con": 3,
    "create that compiles 4 GPUs and 12 MIG devices where a GPU takes 0.3 s to open": 3.0,  # seconds
    # containers.py: times the same without hooks and links
    "prepared on the host, new container": 1.25,
    "prepared on the host, second start": 1.25,
    # containers.py: interpreter starts over runc alone
    "added by 8 GPUs, prepared on the host, new container": 4.4,
    "added by 8 GPUs, prepared on the host, second start": 4.2,
    "added by 8 GPUs, prepared on the host, the files of compute and utility, new container": 3.9,
    "added by 8 GPUs, prepared on the host, the files of compute and utility, second start": 3.0,
    "injected by an engine (CDI), its hooks done on the host, new container": 3.2,
    "injected by an engine (CDI), its hooks done on the host, second start": 3.2,
    # cold.py: MB, the size of the toolkit's executable
    "read by a first create, auto mode, 8 GPUs": 10,
    "read by a first create, cdi mode, 8 GPUs": 10,
}
