# SPDX-License-Identifier: Apache-2.0
"""What the standard library lacks of the kernel: system calls by ctypes, rules of control groups.

Ring: elsewhere.
"""
