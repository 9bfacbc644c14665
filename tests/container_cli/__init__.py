# SPDX-License-Identifier: Apache-2.0
"""Tests of nvidia_runtime.container_cli: the program as it is called, on simulated machines."""
