# SPDX-License-Identifier: Apache-2.0
"""What only a machine with a GPU can tell, and the program that asks it: ``tests/gpu/run``."""
