# SPDX-License-Identifier: Apache-2.0
"""What is made when a stamp differs: settings, snapshots, machine files.  Ring: elsewhere."""
