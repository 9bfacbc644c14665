# SPDX-License-Identifier: Apache-2.0
"""System calls that the standard library lacks, by ctypes.  Ring: elsewhere."""
