# SPDX-License-Identifier: Apache-2.0
"""The hooks of CDI specs, done on the host before the container exists.  Ring: create."""
