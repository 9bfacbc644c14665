# SPDX-License-Identifier: Apache-2.0
"""What this machine has, below a root.

Ring: elsewhere; create for `facts` and `platform`.
"""
