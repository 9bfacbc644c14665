# SPDX-License-Identifier: Apache-2.0
"""Where GPUs and network adapters are: NUMA nodes, PCI buses, bridges.  Ring: elsewhere."""
