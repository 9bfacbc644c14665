# SPDX-License-Identifier: Apache-2.0
"""The service that keeps the CDI spec up to date."""
