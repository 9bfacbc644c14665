# SPDX-License-Identifier: Apache-2.0
"""What is injected, and the file or generator that says so.  Ring: create."""
