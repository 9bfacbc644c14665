# SPDX-License-Identifier: Apache-2.0
"""Network interfaces, moved into containers and returned.  Ring: elsewhere."""
