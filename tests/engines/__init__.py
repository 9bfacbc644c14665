# SPDX-License-Identifier: Apache-2.0
"""Tests with real engines, each with our runtime in its path: docker to crun.

They need root and skip, with the reason, what this machine lacks. `NVCR_BIN` names the folder of
the executables under test; unset, it is `packaging/bin` of this tree.
"""
