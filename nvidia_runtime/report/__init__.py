# SPDX-License-Identifier: Apache-2.0
"""An archive for a report of a problem: what is collected, and what is masked.  Ring: elsewhere."""
