# SPDX-License-Identifier: Apache-2.0
"""Tests of what a machine has; `trees` makes the machines."""
