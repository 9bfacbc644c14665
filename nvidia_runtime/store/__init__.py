# SPDX-License-Identifier: Apache-2.0
"""What is kept in the state folder between one call and the next.  Ring: create."""
