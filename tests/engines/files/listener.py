# SPDX-License-Identifier: Apache-2.0
"""A daemon that does nothing but to be found: a process of any name that listens on a socket.

As a program: listener.py FD SOCKET [ARGUMENT...], the descriptor being of a socket that listens
already, or -1.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def main() -> None:
    """Listen until it is ended; note each SIGHUP beside the socket."""
    fd, path = int(sys.argv[1]), sys.argv[2]
    server = socket.socket(socket.AF_UNIX) if fd < 0 else socket.socket(fileno=fd)
    signal.signal(signal.SIGHUP, lambda *_: Path(f"{path}.reloaded").touch())
    if fd < 0:
        Path(path).unlink(missing_ok=True)
        server.bind(path)
        server.listen()
    Path(f"{path}.ready").write_text(str(os.getpid()))
    while True:
        signal.pause()


@contextmanager
def running(
    name: str, path: Path, *arguments: str, fd: int = -1, enter: tuple[str, ...] = ()
) -> Iterator[int]:
    """Keep a listener running, in another namespace if words lead into one; yield its pid."""
    ready = Path(f"{path}.ready")
    ready.unlink(missing_ok=True)
    words = [__file__, str(fd), str(path), *arguments]
    process = subprocess.Popen(
        [*enter, sys.executable, *words] if enter else [name, *words],
        executable=None if enter else sys.executable,
        stdin=subprocess.DEVNULL,
        pass_fds=() if fd < 0 else (fd,),
    )
    try:
        end = time.monotonic() + 10
        while not (ready.exists() and ready.read_text()) and time.monotonic() < end:
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
