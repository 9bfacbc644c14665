# SPDX-License-Identifier: Apache-2.0
"""The commands of ``nvidia-ctk system``.  Ring: elsewhere."""
