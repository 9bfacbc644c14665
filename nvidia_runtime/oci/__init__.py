# SPDX-License-Identifier: Apache-2.0
"""The runtime-spec's nouns; nothing here knows CDI or NVIDIA.

Ring: create, of which `argv` and `lowlevel` are pass-through.
"""
