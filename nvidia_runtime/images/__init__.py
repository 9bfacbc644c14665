# SPDX-License-Identifier: Apache-2.0
"""Images before any start: their configuration and, where these can be read, their files."""
