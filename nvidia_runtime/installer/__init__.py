# SPDX-License-Identifier: Apache-2.0
"""A tree that needs nothing of its machine, told where it is.  Ring: elsewhere."""
