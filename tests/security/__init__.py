# SPDX-License-Identifier: Apache-2.0
"""What images, containers and callers try, and what must not come of it: T01 to T35.

Attacks that are folders are those of nvidia_runtime/selftest/attacks; the rest is here.
"""
