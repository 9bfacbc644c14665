# SPDX-License-Identifier: Apache-2.0
"""`nvidia-container-cli configure`, as OCI hooks and other programs call it."""
