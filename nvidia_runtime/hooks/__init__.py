# SPDX-License-Identifier: Apache-2.0
"""Programs that OCI hooks run."""
