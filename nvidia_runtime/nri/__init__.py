# SPDX-License-Identifier: Apache-2.0
"""A plugin of the Node Resource Interface: containerd and cri-o ask it what a container gets.

Ring: elsewhere.
"""
