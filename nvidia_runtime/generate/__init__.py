# SPDX-License-Identifier: Apache-2.0
"""From what a machine has to container edits.  Ring: elsewhere."""
