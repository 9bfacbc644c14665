# SPDX-License-Identifier: Apache-2.0
"""``python -m nvidia_runtime`` is nvidia-ctk.  Ring: elsewhere."""

from nvidia_runtime.cli import main

main()
