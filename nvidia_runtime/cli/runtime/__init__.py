# SPDX-License-Identifier: Apache-2.0
"""The commands below ``nvidia-ctk runtime``."""
