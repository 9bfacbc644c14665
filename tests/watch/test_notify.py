# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nvidia_runtime.watch import notify


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_tell(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name if kind == "file" else f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", name if kind == "file" else f"@{name}")

        notify.tell("READY=1\nSTATUS=all is well")

        assert systemd.recv(100) == b"READY=1\nSTATUS=all is well"


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/notify"])
def test_nobody_listens(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service also runs if nobody listens."""
    monkeypatch.setenv("NOTIFY_SOCKET", value)

    notify.tell("READY=1")
