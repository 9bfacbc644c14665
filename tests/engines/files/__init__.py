# SPDX-License-Identifier: Apache-2.0
"""The files of container engines, and what nvidia-ctk makes of them."""
