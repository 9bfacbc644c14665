# SPDX-License-Identifier: Apache-2.0
"""Container engines: which of them run here, and their configuration.  Ring: elsewhere."""
