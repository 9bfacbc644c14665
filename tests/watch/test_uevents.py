# SPDX-License-Identifier: Apache-2.0
"""The kernel's uevents, on its own socket: in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nvidia_runtime
from nvidia_runtime.watch import uevents

HERE = Path(__file__).parent
MODULE = {"ACTION": "add", "DEVPATH": "/module/nvidia", "SUBSYSTEM": "module"}
# In a namespace of its own: listen, do what the first word says, and tell what was heard.
PROGRAM = """
import json, sys, uevent
from nvidia_runtime.watch import uevents
listener = uevents.Listener()
exec(sys.argv[1])
print(json.dumps(listener.read()))
listener.close()
"""
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"),
    reason="needs root and unshare: a network namespace of its own",
)


def heard(action: str) -> tuple[list[dict[str, str]], list[str]]:
    """Return the events and the refusals of a listener while something happens."""
    path = f"{HERE}:{Path(nvidia_runtime.__file__).parents[1]}"
    words = ["unshare", "--net", sys.executable, "-c", PROGRAM, action]
    got = subprocess.run(
        words, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path}
    )
    events, refused = json.loads(got.stdout)
    return events, refused


@needs_namespaces
def test_kernel_s_own_event() -> None:
    """The kernel sends one when a device's uevent file is written."""
    file = Path("/sys/devices/virtual/mem/null/uevent")
    if not os.access(file, os.W_OK):
        pytest.skip("needs a writable /sys")

    events, refused = heard(f"open({str(file)!r}, 'w').write('change')")

    assert refused == []
    notice = next(event for event in events if event["DEVPATH"] == "/devices/virtual/mem/null")
    assert notice["ACTION"] == "change"
    assert notice["DEVNAME"] == "null"
    assert notice["SEQNUM"].isdigit()


@needs_namespaces
def test_event_that_the_kernel_passes_on() -> None:
    events, refused = heard(f"uevent.send({MODULE})")

    assert refused == []
    assert MODULE in [{name: event.get(name) for name in MODULE} for event in events]


@needs_namespaces
def test_message_of_a_process_is_refused() -> None:
    """CVE-2009-1185: udev trusted every sender on its socket."""
    events, refused = heard(f"uevent.send({MODULE}, forged=True)")

    assert [event for event in events if event["DEVPATH"] == "/module/nvidia"] == []
    assert len(refused) == 1
    assert refused[0].endswith("sent, not the kernel")


@needs_namespaces
def test_events_that_do_not_fit_are_noticed() -> None:
    """A lost event may have concerned GPUs."""
    events, _ = heard(
        "import socket; listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)\n"
        f"for _ in range(200): uevent.send({MODULE})"
    )

    assert uevents.LOST in events


CONCERNING = {
    "the driver's module": MODULE,
    "a module beside it": {**MODULE, "DEVPATH": "/module/nvidia_uvm"},
    "the driver that goes": {**MODULE, "ACTION": "remove"},
    "a GPU that is bound to its driver": {
        "ACTION": "bind",
        "SUBSYSTEM": "pci",
        "DEVPATH": "/devices/pci0000:00/0000:00:05.0",
        "PCI_ID": "10DE:2330",
        "DRIVER": "nvidia",
    },
    "a GPU that is unplugged": {"ACTION": "remove", "SUBSYSTEM": "pci", "PCI_ID": "10DE:1EB8"},
    "a DRM device": {
        "ACTION": "add",
        "SUBSYSTEM": "drm",
        "DEVPATH": "/devices/pci0000:00/0000:00:05.0/drm/card1",
        "DEVNAME": "/dev/dri/card1",
    },
    "a node by name": {"ACTION": "add", "SUBSYSTEM": "nvidia-fs", "DEVNAME": "nvidia-fs0"},
    "a paravirtual GPU": {"ACTION": "add", "SUBSYSTEM": "misc", "DEVNAME": "dxg"},
    "events that were lost": uevents.LOST,
}
OTHER = {
    "another module": {**MODULE, "DEVPATH": "/module/nvme"},
    "a disk": {"ACTION": "add", "SUBSYSTEM": "block", "DEVNAME": "nvme0n1"},
    "another vendor's device": {"ACTION": "add", "SUBSYSTEM": "pci", "PCI_ID": "8086:1572"},
    "a screen that was plugged in": {
        "ACTION": "change",
        "SUBSYSTEM": "drm",
        "DEVNAME": "/dev/dri/card1",
        "HOTPLUG": "1",
    },
    "a connector": {"ACTION": "add", "SUBSYSTEM": "drm", "DEVPATH": "/x/drm/card1/card1-DP-1"},
    "nothing": {},
}


@pytest.mark.parametrize("event", CONCERNING.values(), ids=CONCERNING)
def test_event_that_concerns_gpus(event: uevents.Uevent) -> None:
    assert uevents.concerns_gpus(event)


@pytest.mark.parametrize("event", OTHER.values(), ids=OTHER)
def test_event_that_does_not(event: uevents.Uevent) -> None:
    assert not uevents.concerns_gpus(event)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (MODULE, "add module nvidia"),
        (CONCERNING["a DRM device"], "add drm /dev/dri/card1"),
        (uevents.LOST, "more uevents than the socket could hold"),
        ({}, "? ? "),
    ],
    ids=["by its path", "by its node", "lost", "empty"],
)
def test_describe(event: uevents.Uevent, says: str) -> None:
    assert uevents.describe(event) == says
