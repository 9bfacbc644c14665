# SPDX-License-Identifier: Apache-2.0
"""Tests of what may touch a container's files."""
