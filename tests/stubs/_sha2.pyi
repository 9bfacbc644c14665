# SPDX-License-Identifier: Apache-2.0
from _sha256 import sha256 as sha256
