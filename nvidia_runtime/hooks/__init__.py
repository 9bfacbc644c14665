# SPDX-License-Identifier: Apache-2.0
"""Programs that OCI runtimes call as hooks.  Ring: hook."""
