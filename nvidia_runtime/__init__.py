# SPDX-License-Identifier: Apache-2.0
"""An OCI runtime shim that gives containers their GPUs, and the programs around it."""

__version__ = "0.1.0"
# The toolkit in whose place this stands.  Programs say it where theirs do, in the first line of
# --version, since scripts compare it with the version that brought what they need.
TOOLKIT = "1.20.1"
