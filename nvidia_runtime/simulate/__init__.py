# SPDX-License-Identifier: Apache-2.0
"""Machines with NVIDIA GPUs, simulated where there are none.  Ring: elsewhere.

What their drivers leave in /usr, /dev, /proc and /sys, and a library that answers as NVML would.
"""
