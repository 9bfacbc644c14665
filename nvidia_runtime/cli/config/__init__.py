# SPDX-License-Identifier: Apache-2.0
"""The commands below ``nvidia-ctk config``.  Ring: elsewhere."""
