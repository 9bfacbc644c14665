# SPDX-License-Identifier: Apache-2.0
"""What hooks of CDI specs are for: done on the host, or in a hook.  Ring: create, with hooks."""
