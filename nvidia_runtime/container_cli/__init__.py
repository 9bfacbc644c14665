# SPDX-License-Identifier: Apache-2.0
"""``nvidia-container-cli``: what gives GPUs to a container that exists.  Ring: elsewhere."""
