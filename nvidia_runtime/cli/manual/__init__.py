# SPDX-License-Identifier: Apache-2.0
"""The manual pages of what has a table or a schema, made from these.  Ring: elsewhere."""
