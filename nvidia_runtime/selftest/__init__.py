# SPDX-License-Identifier: Apache-2.0
"""Attacks by images and containers, as data, and what tries them on this host.  Ring: elsewhere."""
