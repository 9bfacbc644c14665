# SPDX-License-Identifier: Apache-2.0
"""What keeps this machine from giving containers their GPUs: checks by area, codes, a verdict.

Each area is a module with its codes and a function that looks.  Ring: elsewhere.
"""
