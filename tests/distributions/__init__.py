# SPDX-License-Identifier: Apache-2.0
"""Containers of real distributions on a simulated machine, by the engines themselves.

What is prepared on the host in place of hooks is asked of the container: of its own ldconfig, its
own loader, and of a file system that shows what was written to.
"""
