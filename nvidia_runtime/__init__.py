# SPDX-License-Identifier: Apache-2.0
"""An OCI runtime shim that gives containers their GPUs, and the programs around it."""

__version__ = "0.1.0"
