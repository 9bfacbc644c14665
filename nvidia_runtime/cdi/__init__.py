# SPDX-License-Identifier: Apache-2.0
"""The Container Device Interface's nouns; nothing here knows NVIDIA.

Ring: elsewhere, but for `names`.
"""
