# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the engines' tests that engines on a simulated machine need, too."""

from __future__ import annotations

from engines.conftest import busybox, group, image, machine, scratch  # noqa: F401 (fixtures)
