# SPDX-License-Identifier: Apache-2.0
"""Tests of nvidia_runtime.doctor: faults that it finds, and machines on which it is silent."""
