# SPDX-License-Identifier: Apache-2.0
"""The address of `net.hook` in the config.json of containers that an older version created.

Ring: elsewhere.
"""

from nvidia_runtime.net.hook import main

__all__ = ["main"]
