# SPDX-License-Identifier: Apache-2.0
"""Stand-ins on a node for cri-o, which Debian has not, and for systemctl.

This cri-o has the files of its package, says its version and configuration, and listens.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import shim
import waiting

from .node import Node

FILES = shim.TREE / "tests/engines/files/golden/crio-package/before/etc/crio"
SOCKET, STARTS = "/run/crio/crio.sock", "/run/crio.starts"
PROGRAM = f"""#!/usr/bin/perl
use IO::Socket::UNIX;
if ("@ARGV" eq "--version") {{ print "crio version 1.34.1\\n"; exit }}
if ("@ARGV" eq "status config") {{ exec "cat", "/etc/crio/crio.conf.d/10-crio.conf" }}
die "@ARGV" if @ARGV;
unlink "{SOCKET}";
my $server = IO::Socket::UNIX->new(Local => "{SOCKET}", Listen => 5) or die;
open my $starts, ">>", "{STARTS}" or die;
print $starts "$$\\n";
close $starts;
while (my $client = $server->accept) {{ close $client }}
"""
SYSTEMCTL = f"""#!/bin/sh
[ "$*" = 'restart crio' ] || exit 1
count=$(wc -l <{STARTS})
kill "$(tail -n 1 {STARTS})"
while [ "$(wc -l <{STARTS})" = "$count" ]; do sleep 0.1; done
"""
SERVICE = "while :; do crio || :; done"


@contextmanager
def standing_in(site: Node) -> Iterator[None]:
    """Keep the stand-in running on a node, as a service."""
    shutil.copytree(FILES, site.path("/etc/crio"))
    for name, text in (("crio", PROGRAM), ("systemctl", SYSTEMCTL)):
        site.path(f"/usr/bin/{name}").write_text(text)
        site.path(f"/usr/bin/{name}").chmod(0o755)
    site.succeed("mkdir", "-p", "/run/crio")
    service = subprocess.Popen([*site.enter, "sh", "-c", SERVICE], stdin=subprocess.DEVNULL)
    try:
        waiting.eventually(lambda: starts(site) == 1, "cri-o listens")
        yield
    finally:
        service.kill()
        service.wait()


def starts(site: Node) -> int:
    """Count how often it was started."""
    file = site.path(STARTS)
    return file.read_text().count("\n") if file.exists() else 0


def runtimes(site: Node) -> dict[str, Any]:
    """Read the runtimes of the drop-in."""
    document = tomllib.loads(site.path("/etc/crio/crio.conf.d/99-nvidia.toml").read_text())
    entries: dict[str, Any] = document["crio"]["runtime"]["runtimes"]
    return entries
