# SPDX-License-Identifier: Apache-2.0
"""``python -m nvidia_runtime.cli.manual FOLDER`` writes the pages that are made."""

import sys
from pathlib import Path

from nvidia_runtime.cli.manual import codes, ctk, settings, troubles

PAGES = {
    "nvidia-ctk.1": ctk.page,
    "nvidia-container-runtime.toml.5": settings.page,
    "nvidia-container-codes.7": codes.page,
    "nvidia-container-troubleshooting.7": troubles.page,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make())
