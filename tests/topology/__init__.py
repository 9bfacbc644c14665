# SPDX-License-Identifier: Apache-2.0
"""Where GPUs and network adapters are: in folders, and on simulated machines."""
