# SPDX-License-Identifier: Apache-2.0
"""What doctor says of the driver."""

from __future__ import annotations

from nvidia_runtime.doctor import driver

from .patient import examine


def test_not_loaded() -> None:
    answer = examine("t4x1", "mount -t tmpfs tmpfs /proc/driver/nvidia")

    assert answer.codes("NCT-01") == [driver.NOT_LOADED.id]
    assert answer.finding(driver.NOT_LOADED.id)["next"] == "modprobe nvidia"
    assert answer.document["verdict"].endswith("no (NCT-0101)")
    assert answer.code == 1


def test_healthy() -> None:
    assert examine("t4x1").codes("NCT-01") == []
