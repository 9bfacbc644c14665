# SPDX-License-Identifier: Apache-2.0
"""What kills, failing system calls and damaged input may do: nothing that is half done."""
