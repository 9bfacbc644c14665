# SPDX-License-Identifier: Apache-2.0
"""A container's root file system as hostile input: what may touch its files.  Ring: create."""
