# SPDX-License-Identifier: Apache-2.0
"""Tests of the way from what a machine has to container edits."""
