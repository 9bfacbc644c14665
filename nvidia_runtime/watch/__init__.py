# SPDX-License-Identifier: Apache-2.0
"""The service that keeps the CDI spec of this machine up to date.  Ring: elsewhere."""
