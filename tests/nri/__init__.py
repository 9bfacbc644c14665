# SPDX-License-Identifier: Apache-2.0
"""Tests of nvidia_runtime.nri: an engine of our own that speaks by another encoder of messages."""
